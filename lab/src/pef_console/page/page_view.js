/** One page as the guest sees it and as the host sees it, and what reading it has changed. */

import { element, fill } from "./dom.js";
import { badge } from "./tables.js";

const PER_LINE = 8;

function bytes(hex, other, offset = 0) {
  const pairs = hex.match(/../g) ?? [];
  const others = other?.match(/../g) ?? [];
  const lines = [];
  for (let at = 0; at < pairs.length; at += PER_LINE) {
    lines.push(element("span", { class: "offset" }, (offset + at).toString(16).padStart(4, "0")), " ",
      pairs.slice(at, at + PER_LINE).map((pair, column) =>
        [others.length && others[at + column] !== pair ? element("u", {}, pair) : pair, " "]), "\n");
  }
  return element("pre", { tabindex: 0, "aria-label": "bytes" }, lines);
}

function view(title, words, seen, other) {
  return element("div", { class: "view" },
    element("h3", {}, title),
    element("p", { class: "words" }, seen?.words ?? words ?? "–",
      seen?.by ? element("small", {}, ` asked as ${seen.by}${seen.at ? ` at the ${seen.at}` : ""}`) : "",
      seen?.why ? element("small", {}, ` ${seen.why}`) : ""),
    seen?.bytes_hex ? bytes(seen.bytes_hex, other?.bytes_hex, seen.offset) : "");
}

/** Draw the selected GFN; `page` is the answer of the last observation of it, or null. */
export function drawPage(container, heading, frame, gfn, page, onObserve) {
  const run = frame.gfns.find(({ first, count }) => gfn >= first && gfn < first + count);
  const mine = page && page.gfn === gfn ? page : null;
  heading.replaceChildren("Page of GFN ", element("span", { class: "hex" }, gfn > 9 ? `${gfn} = 0x${gfn.toString(16)}` : gfn));
  if (!run) return fill(container, element("p", { class: "empty" }, "No memory slot has this GFN."));
  const changed = mine?.changed ?? [];
  return fill(container,
    element("div", { class: "views" },
      view("the guest's view", run.guest_page, mine?.guest, mine?.host),
      view("the host's view", run.host_page, mine?.host, mine?.guest)),
    element("p", { class: "observe" },
      element("button", { "data-key": "observe", "data-testid": "observe", onclick: () => onObserve(gfn) }, "read as both"),
      element("span", {}, mine ? (changed.length ? ` Reading changed: ${changed.join("; ")}` : " Reading changed nothing.")
        : " A host's read may page the page out."), " ",
      element("span", { class: "pair" }, "HV ", badge(run.hypervisor), " UV ", badge(run.ultravisor))));
}
