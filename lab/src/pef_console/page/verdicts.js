/** The banner, the verdict on each invariant, and what the path has cost. */

import { count, element, fill } from "./dom.js";

const bytes = (number) => (number >= 2 ** 30 ? `${(number / 2 ** 30).toFixed(1)} GiB`
  : number >= 2 ** 20 ? `${(number / 2 ** 20).toFixed(1)} MiB` : `${Math.round(number / 1024)} KiB`);

const differing = (frame) => frame.gfns.filter(({ joint }) => joint === "differs").map(({ first }) => first);

/** Say in one line where the session stands, worst first; the class of the banner says it by colour. */
export function drawBanner(container, frame) {
  const broken = (frame.verdicts ?? []).filter(({ holds }) => !holds).sort((one, other) => other.node - one.node);
  const differs = differing(frame);
  const open = frame.calls?.length ?? 0;
  const parts = [];
  if (frame.stopped) parts.push(element("span", { class: "stopped" }, frame.stopped));
  for (const { invariant, sentence } of broken) {
    parts.push(element("span", {}, element("strong", { class: "broken" }, "BROKEN"), ` ${invariant}: ${sentence} `));
  }
  if (frame.quiescent) {
    parts.push(differs.length
      ? element("span", { class: "differs" }, `≠ quiescent, and the tables differ at GFN ${differs.join(", ")}`)
      : element("span", { class: "calm" }, "= quiescent: nothing is in flight, and the tables agree"));
  } else parts.push(element("span", { class: "in-flight" }, `… in flight: ${count(open, "call")} open. The tables may differ now.`));
  const last = frame.path?.at(-1);
  if (last?.node) parts.push(element("span", { class: "ended" }, `${last.label}: ${last.outcome ?? frame.ended}`));
  const text = element("div", {}, parts).textContent;
  container.className = `banner ${differs.length && frame.quiescent ? "differs" : frame.quiescent ? "calm" : "in-flight"}`;
  container.classList.toggle("harm", broken.length > 0);
  if (container.textContent !== text) container.replaceChildren(...parts);
}

/** Draw the verdicts: an invariant that was broken on the path stays broken. */
export function drawVerdicts(container, verdicts) {
  const several = verdicts.filter(({ holds }) => !holds).length > 1; // their sentences stand in the banner, too
  const item = ({ invariant, holds, sentence, node }) => element("li", {
    class: holds ? "holds" : "broken", "data-testid": `verdict-${invariant}`, title: sentence,
  }, element("strong", {}, holds ? "✓" : "✗ BROKEN"), ` ${invariant}`,
  holds ? "" : `${several ? "" : `: ${sentence}`}${(node ?? null) === null ? "" : ` (node ${node})`}`);
  const holding = verdicts.filter(({ holds }) => holds);
  const open = container.querySelector("details")?.open;
  fill(container,
    element("ul", { class: "wide-list" }, verdicts.filter(({ holds }) => !holds).map(item)),
    element("details", { open }, element("summary", { "data-key": "holding" },
      `✓ ${count(holding.length, "invariant")} ${holding.length === 1 ? "holds" : "hold"}: `,
      element("small", {}, holding.map(({ invariant }) => invariant).join(", "))),
    element("ul", {}, holding.map(item))));
}

/** Draw the cost of the path: messages, GFNs and bytes. */
export function drawCost(container, cost) {
  const pairs = [["ultracalls", cost.ultracalls], ["hypercalls", cost.hypercalls], ["GFNs named", cost.gfns],
    ["bytes moved", bytes(cost.bytes ?? 0)]];
  fill(container, pairs.map(([name, value]) => element("div", {}, element("dt", {}, name),
    element("dd", {}, value === undefined ? "–" : typeof value === "number" ? value.toLocaleString("en") : value))));
}
