/** The calls as they nest: a list of rows that says everything, and beside it the same rows drawn as arrows. */

import { element, fill } from "./dom.js";

const ROW = 22; // pixels; sequence.css has the same
const LANE = { narrowest: 44, widest: 58, part: 0.44 }; // pixels of a lane; how much of the pane all may take
const NAMES = { vmm: "VMM", memory: "mem", ultravisor: "UV", hypervisor: "HV" };

const laneName = (lane) => NAMES[lane] ?? lane;

const laneOf = (actor) => (actor === "guest" ? "guest 0" : actor);

/** Return the lanes in their order: guests, VMM, memory, then the trust boundary between both sides. */
function lanes({ system, arrows }) {
  const guests = Array.from({ length: system?.vcpus ?? 1 }, (_, number) => `guest ${number}`);
  const fixed = ["vmm", "memory", "ultravisor", "hypervisor"];
  const more = arrows.flatMap(({ from, to }) => [laneOf(from), laneOf(to)]).filter((lane) => lane && !fixed.includes(lane));
  return [...new Set([...guests, ...more]), ...fixed];
}

const succeeded = (code) => /SUCCESS|^OK$|^resolved$|as written/.test(code);

function words(arrow) {
  const said = arrow.text ?? "";
  if (!arrow.code) return [said];
  const [before, after] = said.includes(arrow.code) ? said.split(arrow.code, 2) : [`${said} `.trimStart(), ""];
  return [before, element("b", { class: succeeded(arrow.code) ? "code success" : "code refused" }, arrow.code), after];
}

function row(arrow, at, { current, onGo, onExplain }) {
  const direction = arrow.to && arrow.to !== arrow.from ? `${arrow.from} to ${arrow.to}: ` : `${arrow.from}: `;
  const explain = (event) => onExplain(event.currentTarget, arrow);
  return element("li", { class: `row ${arrow.kind}${arrow.node === current ? " current" : ""}`, "data-node": arrow.node },
    element("button", {
      tabindex: "-1", "data-key": `row-${arrow.node}-${at}`, class: `depth-${Math.min(arrow.depth ?? 0, 6)}`,
      "aria-describedby": "explain", onclick: () => onGo(arrow.node), onfocus: explain, onmouseenter: explain,
      onblur: () => onExplain(null), onmouseleave: () => onExplain(null),
    },
    element("span", { class: "number", "aria-hidden": "true" }, arrow.node),
    element("span", { class: "hidden-text" }, direction), ...words(arrow),
    arrow.fault ? element("em", { class: "fault" }, arrow.fault) : ""));
}

function line(arrow, order, wide, y) {
  const from = wide * (order.indexOf(laneOf(arrow.from)) + 0.5);
  const to = wide * (order.indexOf(laneOf(arrow.to ?? arrow.from)) + 0.5);
  if (from === to) {
    return element("svg:rect", { x: from - 4, y: y - 4, width: 8, height: 8, class: "point", rx: 2 });
  }
  const by = Math.sign(to - from);
  const end = arrow.fault === "lost" ? (from + to) / 2 : to - 3 * by;
  return element("svg:g", {},
    element("svg:path", { class: "shaft", d: `M${from} ${y}H${end - 4 * by}` }),
    arrow.fault === "doubled" ? element("svg:path", { class: "shaft", d: `M${from} ${y + 4}H${end - 4 * by}` }) : "",
    arrow.fault === "lost"
      ? element("svg:path", { class: "cross", d: `M${end - 4} ${y - 4}l8 8m0 -8l-8 8` })
      : element("svg:path", { class: "head", d: `M${end} ${y}l${-8 * by} -4v8z` }));
}

/** Draw the calls of a frame. `options`: what to do on a row (go there), and to explain one. */
export function drawSequence(container, frame, { onGo, onExplain }) {
  const order = lanes(frame);
  const arrows = frame.arrows ?? [];
  const fair = Math.floor(container.clientWidth * LANE.part / order.length);
  const wide = Math.max(LANE.narrowest, Math.min(LANE.widest, fair));
  const width = order.length * wide;
  const height = Math.max(1, arrows.length) * ROW + 8;
  const trusted = wide * order.indexOf("ultravisor");
  const drawing = element("svg:svg", { width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" },
    element("svg:rect", { class: "trusted", x: trusted, y: 0, width: wide, height }),
    order.map((_, lane) => element("svg:path", { class: "lane", d: `M${wide * (lane + 0.5)} 0V${height}` })),
    arrows.map((arrow, at) => element("svg:g",
      { class: `${arrow.kind}${arrow.node === frame.node ? " current" : ""}` }, line(arrow, order, wide, at * ROW + ROW / 2))));
  const list = element("ol", { "aria-label": "calls in order, each with who sends it to whom" },
    arrows.map((arrow, at) => row(arrow, at, { current: frame.node, onGo, onExplain })));
  const buttons = list.querySelectorAll("button");
  if (buttons.length) buttons[buttons.length - 1].tabIndex = 0;
  const head = element("div", { class: "lanes" },
    element("span", { class: "before" }, frame.arrows_before ? `${frame.arrows_before} earlier not shown` : ""),
    element("span", { class: "names", "aria-hidden": "true" },
      order.map((lane) => element("span", { class: lane === "ultravisor" ? "name trusted" : "name" }, laneName(lane)))));
  container.style.setProperty("--lane", `${wide}px`);
  fill(container, head, element("div", { class: "rows" }, list, drawing),
    arrows.length ? null : element("p", { class: "empty" }, "No call yet. Choose a move below, or press its number."));
  container.scrollTop = container.scrollHeight;
}

const HELD = ["deliver", "lose", "repeat", "refuse", "busy", "corrupt"];

/** Draw the open calls: the stack of each, what it waits for, and what can be done to a held message. */
export function drawOpenCalls(container, calls, onHeld) {
  fill(container, calls.map((call) => element("li", {},
    element("strong", {}, call.actor), " ",
    (call.stack?.length ? call.stack : [{ side: "", call: call.action }]).map(({ side, call: name }, depth) => [
      depth ? " › " : "", element("span", { class: `frame ${side}` }, name)]),
    call.waits_for ? element("span", { class: "waits" }, ` waits: ${call.waits_for}`) : "",
    call.held ? (call.held.actions ?? HELD).map((action) => element("button", {
      "data-key": `held-${call.held.id ?? call.held}-${action}`, "data-testid": `held-${action}`,
      onclick: () => onHeld(call.held.id ?? call.held, action),
    }, action)) : "")));
}
