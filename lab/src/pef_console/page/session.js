/** One session as this browser follows it: the newest frame, the selected GFN, and the commands, in order. */

import { follow, Refusal, request } from "./server.js";
import { parse, write } from "./fragment.js";

/** What is shown now; panes read it, and only this module writes it. */
export const shown = {
  id: null, frame: null, before: null, gfn: 0, origin: {}, page: null, lesson: null, refused: null, error: "",
  connection: "", design: null,
};

const listeners = [];
let stop = () => {};
let line = Promise.resolve();

/** Call a function whenever something else is shown; it gets the names of what changed. */
export const onChange = (listener) => listeners.push(listener);

/** Set what is shown, and call the listeners. */
export function show(changes) {
  Object.assign(shown, changes);
  const names = new Set(Object.keys(changes));
  for (const listener of listeners) listener(names);
  if (shown.id) {
    write({ s: shown.id, n: shown.frame.node, g: shown.gfn || null, ...shown.origin, design: shown.frame.design });
  }
}

/** Return the lesson with what a frame, a check or a hint adds; hints and answers that were given stay. */
export function mergedLesson(more) {
  if (!more) return shown.lesson;
  const added = typeof more === "object" ? more : { number: String(more) };
  const { hint, ...rest } = added;
  const given = shown.lesson?.given ?? [];
  return { answers: {}, ...shown.lesson, ...rest, given: hint && !given.includes(hint) ? [...given, hint] : given };
}

/** Take a frame, unless a newer one of the same session is shown. */
function take(frame) {
  if (!frame || (shown.frame && frame.seq < shown.frame.seq)) return;
  const moved = !shown.frame || frame.node !== shown.frame.node;
  const gfns = frame.gfns.map((run) => [run.first, run.first + run.count]);
  const gfn = gfns.some(([first, end]) => shown.gfn >= first && shown.gfn < end) ? shown.gfn : gfns[0]?.[0] ?? 0;
  show({
    frame, gfn, lesson: mergedLesson(frame.lesson), before: moved ? shown.frame : shown.before,
    ...(moved ? { page: null, refused: null, error: "" } : {}),
  });
}

function onEvent(name, content) {
  if (name === "frame") take(content);
  if (name === "page") show({ page: content });
  if (name === "lesson") show({ lesson: mergedLesson(content) });
  if (name === "map") show({ map: content });
  if (name === "bye") show({ connection: "ended", error: content?.detail ?? "The session has ended." });
}

/** Run tasks one after another, so that each command names the node that the one before has reached. */
export function inOrder(task) {
  line = line.then(task).catch((problem) => fail(problem));
  return line;
}

/** Show a problem in one line; a frame that came with it is newer than ours. */
export function fail(problem, refused = null) {
  if (problem instanceof Refusal && problem.frame) take(problem.frame);
  show({ error: problem.message, refused });
}

/** Follow the session of a frame that the server has just made or found. */
function enter(frame, origin) {
  stop();
  shown.frame = shown.before = shown.lesson = null;
  show({ id: frame.id ?? shown.id, frame, origin, lesson: mergedLesson(frame.lesson), page: null, refused: null, error: "",
    gfn: frame.gfns[0]?.first ?? 0, design: frame.design });
  stop = follow(shown.id, onEvent, async (connection) => {
    show({ connection });
    if (connection !== "reconnecting") return;
    await request("GET", `/sessions/${shown.id}`).then(take, (problem) => {
      if (problem.status !== 404 && problem.status !== 401) return;
      stop();
      show({ connection: "ended", error: "The session has ended. Open another one (o)." });
    });
  });
}

/** Make a session from a body of POST /sessions, and follow it. */
export const open = (body, origin = {}) => inOrder(async () => enter(await request("POST", "/sessions", body), origin));

/** Copy the path to a node onto a design, and follow the copy. */
export const copy = (at, design) =>
  open({ copy: shown.id, at, design }, { ...shown.origin, file: null });

/** Send a command of the session; a refused move is noted, so that the reason can stand beside it. */
export function command(name, body = {}, refused = null) {
  return inOrder(async () => {
    try {
      take(await request("POST", `/sessions/${shown.id}/${name}`, { ...body, if_at: shown.frame.node }));
    } catch (problem) {
      fail(problem, refused && { ...refused, reason: problem.message });
    }
  });
}

/** Open what a fragment says: a session that lives, else a file or a lesson on a design, at a node. */
export async function openLink(hash) {
  const { s, n, g, file, lesson, stage, memory, design } = parse(hash);
  const origin = { file, lesson, stage, memory };
  if (s) {
    const frame = await request("GET", `/sessions/${s}`).catch(() => null);
    if (frame) return inOrder(() => enter({ id: s, ...frame }, origin)).then(() => g && show({ gfn: Number(g) }));
  }
  if (file) {
    await open({ file }, origin);
    const last = shown.frame && (shown.frame.nodes - 1);
    if (shown.frame && design && design !== shown.frame.design) {
      await open({ copy: shown.id, at: last, design }, { file });
      await command("goto", { node: 0 });
    }
  } else if (lesson) await open({ lesson }, origin);
  else if (stage === "live") {
    await open({ stage, design: design ?? "tracked", ...(memory ? { system: { memory: Number(memory) } } : {}) }, origin);
  }
  else await open({ stage: "model", design: design ?? "broken",
    system: { image: ["brought", "unmigrated"], plug: 1, vcpus: 1 } });
  if (n && shown.frame && Number(n) < shown.frame.nodes) await command("goto", { node: Number(n) });
  if (g && shown.frame) show({ gfn: Number(g) });
  return line;
}
