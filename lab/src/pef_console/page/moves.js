/** What can happen now: the moves of each actor, numbered; those that are not possible, with the reason. */

import { element, fill } from "./dom.js";

const byActor = (moves) => Map.groupBy(moves, ({ actor }) => actor);

/** Return the short name of a move within its actor's group. */
function nameOf({ actor, action, gfn, fault, label }) {
  if (label?.startsWith(`${actor}: `)) return label.slice(actor.length + 2);
  return [action, gfn ?? "", fault ? `(${fault})` : ""].join(" ").trim();
}

function button(move, refused, tabbed, onMove) {
  const mine = refused && refused.n === move.n ? refused.reason : "";
  const reason = move.why_not || mine;
  const id = `why-${move.n}`;
  return element("li", { class: move.why_not ? "not-possible" : "" },
    element("button", {
      "data-testid": `move-${move.n}`, "data-key": `move-${move.n}`, tabindex: tabbed ? 0 : -1,
      "aria-disabled": move.why_not ? "true" : null, "aria-describedby": reason ? id : null,
      class: move.action === "go on" && !move.fault ? "go-on" : "", onclick: () => onMove(move),
    }, element("span", { class: "number" }, move.n), " ", nameOf(move)),
    mine && !move.why_not ? element("span", { class: "why", id }, mine) : "");
}

/** One reason for several moves stands once, behind all of them. */
function refusals(moves, refused, onMove) {
  return [...Map.groupBy(moves, ({ why_not }) => why_not)].map(([reason, group]) => element("li", { class: "group" },
    element("ul", {}, group.map((move) => button(move, refused, false, onMove))),
    group.map((move, at) => element("span", { class: "why", id: `why-${move.n}`, hidden: at > 0 }, reason))));
}

/** Draw all moves. `options`: the refused move, if any, and what to do when one is chosen. */
export function drawMoves(container, frame, { refused, onMove }) {
  const moves = frame.moves ?? [];
  const first = moves.find((move) => !move.why_not);
  const groups = [...byActor(moves)].map(([actor, all]) => element("div", { class: "actor" },
    element("h3", {}, actor),
    element("ul", {},
      all.filter((move) => !move.why_not).map((move) => button(move, refused, move === first, onMove)),
      refusals(all.filter((move) => move.why_not), refused, onMove))));
  const branches = (frame.children ?? []).length > 1
    ? element("p", { class: "branches" }, "recorded ways from here: ", frame.children.map((node) =>
      element("button", { "data-goto": node, "data-key": `branch-${node}` }, `node ${node}`)))
    : null;
  const omitted = frame.moves_left_out
    ? element("p", { class: "branches" }, `${frame.moves_left_out} more are not possible now.`) : null;
  fill(container, branches, ...groups, omitted,
    moves.length ? null : element("p", { class: "empty" }, "No move is possible in this stage: step through what is recorded."));
}
