/** The console's HTTP: one function per request, and the stream of a session's events. */

/** A refusal of the server: its sentence, its status, and the frame that came with it. */
export class Refusal extends Error {
  constructor(status, { detail, frame } = {}) {
    super(typeof detail === "string" ? detail : `The server answers ${status}.`);
    this.status = status;
    this.frame = frame;
  }
}

/** Send a request under /api/v1 and return what the answer holds; raise Refusal for every other answer. */
export async function request(method, path, body) {
  let answer;
  try {
    answer = await fetch(`/api/v1${path}`, {
      method,
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new Refusal(0, { detail: "The console does not answer. Is `pef console` running?" });
  }
  const text = await answer.text();
  let content;
  try { content = text && JSON.parse(text); } catch { content = { detail: text.slice(0, 200) }; }
  if (!answer.ok) throw new Refusal(answer.status, content || {});
  return content;
}

/** Return the octets of the whole-VM map: `cells` of the Hypervisor, of the Ultravisor, and of both. */
export async function mapOctets(session, cells, tag) {
  const answer = await fetch(`/api/v1/sessions/${session}/map?cells=${cells}`, {
    headers: tag ? { "If-None-Match": tag } : {},
  });
  if (answer.status === 304) return null;
  if (!answer.ok) throw new Refusal(answer.status, await answer.json().catch(() => ({})));
  return { octets: new Uint8Array(await answer.arrayBuffer()), tag: answer.headers.get("ETag") };
}

const NAMES = ["frame", "page", "map", "lesson", "bye"];
const PAUSE = { first: 250, longest: 4000 }; // milliseconds between two attempts

/**
 * Follow the events of a session until the returned function is called.
 * A stream that drops is opened again; the server begins each one with the newest frame.
 */
export function follow(session, onEvent, onState) {
  let source, timer, pause = PAUSE.first, over = false;

  const open = () => {
    source = new EventSource(`/api/v1/sessions/${session}/events`);
    source.onopen = () => { pause = PAUSE.first; onState("connected"); };
    source.onerror = () => { if (!over) again(); };
    for (const name of NAMES) {
      source.addEventListener(name, (event) => {
        onEvent(name, event.data ? JSON.parse(event.data) : null);
        if (name === "bye") stop();
      });
    }
  };
  const again = () => {
    source.close();
    onState("reconnecting");
    clearTimeout(timer);
    timer = setTimeout(open, pause);
    pause = Math.min(2 * pause, PAUSE.longest);
  };
  const stop = () => { over = true; clearTimeout(timer); source.close(); };

  open();
  return stop;
}
