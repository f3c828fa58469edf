/** Explain a row of the sequence on hover and on focus: the check, its sentence, and the source. */

import { byId, element } from "./dom.js";
import { request } from "./server.js";

const known = new Map(); // by name of the call
let wanted = null;

async function description(name) {
  if (!known.has(name)) known.set(name, await request("GET", `/calls/${encodeURIComponent(name)}`).catch(() => null));
  return known.get(name);
}

/** Return the name of the call that an arrow makes or answers: the last one asked at its depth before it. */
function callOf(arrow, arrows) {
  const before = arrows.slice(0, arrows.indexOf(arrow) + 1).reverse();
  const asked = before.find(({ kind, call, depth }) => kind === "ask" && call === arrow.call && depth === arrow.depth);
  return asked?.text.match(/\b(?:UV|H)_[A-Z_]+/)?.[0];
}

function lines(arrow, call) {
  const code = arrow.code;
  if (arrow.why) return [code, arrow.why.check && `check: ${arrow.why.check}`, arrow.why.sentence, arrow.why.source];
  if (!call) return code ? [code, "No check refused it."] : null;
  const checks = call.checks ?? [];
  const refusing = checks.filter((check) => check.code === code).map(({ check, sentence }) => `${check}: ${sentence}`);
  if (!code) return [call.name, call.sentence, `${checks.length} checks`, call.source];
  return [code, refusing.length ? `One of: ${refusing.join("; ")}.` : `${call.name} passed its ${checks.length} checks.`,
    call.sentence, call.source];
}

/** Explain an arrow beside an element; without an element, stop explaining. */
export async function explain(target, arrow, arrows = []) {
  const box = byId("explain");
  wanted = target;
  box.hidden = true;
  if (!target) return;
  const name = callOf(arrow, arrows);
  const call = !arrow.why && name ? await description(name) : null;
  const [head, ...rest] = lines(arrow, call) ?? [];
  if (!head || wanted !== target || !target.isConnected) return;
  box.replaceChildren(element("strong", {}, head), ...rest.filter(Boolean).map((text) => element("p", {}, text)));
  box.hidden = false;
  const at = target.getBoundingClientRect();
  const below = at.bottom + box.offsetHeight + 8 < innerHeight;
  box.style.left = `${Math.max(8, Math.min(at.left + 24, innerWidth - box.offsetWidth - 8))}px`;
  box.style.top = `${below ? at.bottom + 4 : Math.max(8, at.top - box.offsetHeight - 4)}px`;
}
