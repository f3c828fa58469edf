/** The page: enters, opens what the URL says, draws each pane when its part changes, and takes commands. */

import { byId, count, element, fill, rove } from "./dom.js";
import { close, showHelp, showLink, showOpen } from "./dialogs.js";
import { explain } from "./explain.js";
import { parse, takeSecret } from "./fragment.js";
import { listen } from "./keys.js";
import { drawLesson } from "./lesson.js";
import { cellsOf, cellsOfOctets, drawMap } from "./map.js";
import { drawMoves } from "./moves.js";
import { drawPage } from "./page_view.js";
import { drawOpenCalls, drawSequence } from "./sequence.js";
import { mapOctets, request } from "./server.js";
import { command, copy, fail, inOrder, mergedLesson, onChange, open, openLink, show, shown } from "./session.js";
import { alignRows, drawTable } from "./tables.js";
import { drawBanner, drawCost, drawVerdicts } from "./verdicts.js";

const scheme = matchMedia("(prefers-color-scheme: dark)");
let octets = null;

const COMMANDS = {
  start: () => command("goto", { node: 0 }),
  back: () => command("back"),
  step: () => command("forward"),
  end: () => command("run", { until: "end" }),
  fork: () => copy(shown.frame.node, byId("design").value),
  open: () => showOpen(open, fail),
  link: () => showLink(shown),
  help: showHelp,
  close: () => { close(); show({ error: "" }); },
  next: () => select(1),
  before: () => select(-1),
  theme: () => {
    const root = document.documentElement;
    root.dataset.theme = (root.dataset.theme || (scheme.matches ? "dark" : "light")) === "dark" ? "light" : "dark";
    localStorage.setItem("theme", root.dataset.theme);
    paint();
  },
};

function run(name) {
  if (name === "close" || name === "help" || name === "theme" || name === "open" || shown.frame) COMMANDS[name]?.();
}

function select(by) {
  const firsts = shown.frame.gfns.map(({ first }) => first);
  if (!firsts.length) return;
  const at = firsts.findLastIndex((first) => first <= shown.gfn);
  onSelect(firsts[(at + by + firsts.length) % firsts.length]);
}

const onSelect = (gfn) => { if (gfn !== shown.gfn) show({ gfn }); };

function onMove(move) {
  const { n, actor, action, gfn, fault, why_not: reason } = move;
  if (reason) show({ error: `${move.label ?? action}: ${reason}`, refused: { n, reason } });
  else command("move", { actor, action, gfn, fault }, { n });
}

const onObserve = (gfn) => inOrder(async () =>
  show({ page: await request("POST", `/sessions/${shown.id}/look`, { gfn }), error: "" }));

const onHeld = (held, action) => command(`held/${held}`, { action });

const onLesson = (path) => inOrder(async () => {
  const { answers, given } = shown.lesson;
  const body = path === "check" ? { answers } : { n: given.length + 1 };
  show({ lesson: mergedLesson(await request("POST", `/sessions/${shown.id}/${path}`, body)), error: "" });
});

/** A frame only names its lesson: what it says comes from the list of all lessons, once. */
async function describeLesson({ number }) {
  const lessons = await request("GET", "/lessons").catch(() => []);
  const found = lessons.find((each) => each.number === number);
  if (found && shown.lesson?.number === number) show({ lesson: mergedLesson(found) });
}

function paint() {
  const { frame, gfn } = shown;
  if (!frame) return;
  const width = byId("map").clientWidth;
  const slots = frame.map?.slots ?? [];
  const cells = octets ? cellsOfOctets(octets, frame.map?.gfns ?? 0) : cellsOf(frame.gfns, width);
  drawMap(byId("map"), cells, positionOf(gfn, slots));
  byId("map-scale").textContent = cells.size > 1 ? `${count(cells.size, "GFN")} per cell, the rarest state of each`
    : "one cell per GFN";
}

/** Return where a GFN lies if all slots are laid one after another. */
function positionOf(gfn, slots) {
  let before = 0;
  for (const [first, pages] of slots) {
    if (gfn >= first && gfn < first + pages) return before + gfn - first;
    before += pages;
  }
  return gfn;
}

/** A live VM is too large for a frame: its map comes as octets, again whenever it has changed. */
async function fetchMap() {
  const answer = await mapOctets(shown.id, byId("map").clientWidth).catch(() => null);
  octets = answer?.octets ?? null;
  paint();
}

function drawToolbar({ frame, connection }) {
  const { keyring = [], replayed } = frame;
  byId("stage").textContent = frame.stage;
  byId("position").textContent = `node ${frame.node} of ${Math.max(0, frame.nodes - 1)}`
    + (replayed ? `, replayed in ${replayed.seconds.toFixed(1)} s` : "");
  byId("keyring").textContent = keyring.map(({ role, given, name }) =>
    (given ? `✓ ${role}'s token` : `✗ no token of the ${role} (${name})`)).join("   ");
  byId("connection").textContent = connection;
  byId("connection").className = `connection ${connection}`;
  const other = byId("design").value !== frame.design;
  fill(byId("fork"), other ? `same moves on ${byId("design").value} ` : "fork ", element("kbd", {}, "f"));
  byId("fork").classList.toggle("primary", other);
}

function drawFrame() {
  const { frame, before, gfn } = shown;
  for (const side of ["hypervisor", "ultravisor"]) drawTable(byId(side), side, frame, { before, gfn, onSelect });
  alignRows(byId("hypervisor"), byId("ultravisor"));
  drawPage(byId("page-view"), byId("page-heading"), frame, gfn, shown.page, onObserve);
}

onChange((names) => {
  const { frame } = shown;
  const any = (...wanted) => wanted.some((name) => names.has(name));
  if (names.has("error")) byId("error").textContent = shown.error;
  if (!frame) return;
  if (names.has("design")) byId("design").value = shown.design;
  if (any("frame", "connection", "design")) drawToolbar(shown);
  if (any("frame", "gfn", "page")) drawFrame();
  if (any("frame", "refused")) drawMoves(byId("moves"), frame, { refused: shown.refused, onMove });
  if (any("lesson", "frame")) {
    if (shown.lesson && !shown.lesson.title) describeLesson(shown.lesson);
    drawLesson(byId("lesson"), shown.lesson, { onCheck: () => onLesson("check"), onHint: () => onLesson("hint") });
  }
  if (names.has("frame")) {
    drawBanner(byId("banner"), frame);
    drawSequence(byId("sequence"), frame, {
      onGo: (node) => command("goto", { node }),
      onExplain: (target, arrow) => explain(target, arrow, frame.arrows),
    });
    drawOpenCalls(byId("open-calls"), frame.calls ?? [], onHeld);
    drawVerdicts(byId("verdicts"), frame.verdicts ?? []);
    drawCost(byId("cost"), frame.cost ?? {});
    document.body.dataset.node = frame.node;
  }
  if (any("frame", "map") && frame.stage === "live") fetchMap();
  else if (any("frame", "gfn", "lesson")) { octets = frame.stage === "live" ? octets : null; paint(); }
});

async function begin() {
  document.documentElement.dataset.theme = localStorage.getItem("theme") ?? "";
  const secret = takeSecret();
  if (secret) await request("POST", "/enter", { secret });
  const designs = await request("GET", "/designs");
  for (const list of [byId("design"), byId("new-design")]) {
    fill(list, designs.map(({ name, sentence }) => element("option", { value: name, title: sentence }, name)));
  }
  await openLink(location.hash);
}

document.addEventListener("click", ({ target }) => {
  const { command: name, goto: node } = target.closest("[data-command], [data-goto]")?.dataset ?? {};
  if (name) run(name);
  else if (node) command("goto", { node: Number(node) });
});
byId("design").addEventListener("change", () => shown.frame && drawToolbar(shown));
addEventListener("resize", paint);
scheme.addEventListener("change", paint);
addEventListener("hashchange", () => { if (parse(location.hash).s !== shown.id) openLink(location.hash).catch(fail); });
rove(byId("moves"), "button");
rove(byId("sequence"), ".rows button");
for (const side of ["hypervisor", "ultravisor"]) rove(byId(side), "button.gfn");
byId("map").addEventListener("keydown", ({ key }) => {
  if (shown.frame && (key === "ArrowRight" || key === "ArrowLeft")) select(key === "ArrowRight" ? 1 : -1);
});
listen({
  onCommand: run,
  onTyped: (typed) => { byId("pending-number").textContent = typed ? `move ${typed}…` : ""; },
  onNumber: (n) => {
    const move = shown.frame?.moves.find((each) => each.n === n);
    if (move) onMove(move);
    else show({ error: `There is no move ${n}.` });
  },
  highest: () => Math.max(0, ...(shown.frame?.moves ?? []).map(({ n }) => n)),
});
begin().catch((problem) => fail(problem.status === 401
  ? new Error("Enter with the URL that `pef console` has printed: it holds a secret.") : problem));
