/** What each side knows: its VM, its counts, and a row per run of GFNs, in the same order on both sides. */

import { count, element, fill } from "./dom.js";
import { classOf, jointClass, JOINT_SIGNS, letterOf } from "./states.js";

const SIDES = {
  hypervisor: { vm: "VM", marks: "hv_marks", pool: "device_pages", unit: "device page", other: "Ultravisor" },
  ultravisor: { vm: "SVM", marks: "uv_marks", pool: "frames", unit: "frame", other: "Hypervisor" },
};

/** Return the name of a run of GFNs. */
export const runName = ({ first, count: pages }) => (pages === 1 ? `${first}` : `${first}–${first + pages - 1}`);

/** Return the badge of a state: its letter on its colour and hatch. */
export const badge = (state) => element("span", { class: classOf(state), "aria-hidden": "true" }, letterOf(state));

const tags = (marks) => marks.map((mark) => element("span", { class: "mark" }, mark));

function vmLine(side, { vm }, before) {
  const { vm: noun, pool, unit } = SIDES[side];
  const state = vm[side] ?? "none";
  const was = before?.vm[side] ?? state;
  const [used, all] = vm[pool] ?? [0, 0];
  return element("div", { class: "vm" },
    element("p", {}, `${noun} `, was === state ? "" : element("s", {}, `${was}`), was === state ? "" : " → ",
      element("strong", { class: was === state ? "" : "changed" }, state),
 " ", tags(vm.marks?.[side] ?? [])),
    element("p", { class: "pool" },
      element("meter", { max: all || 1, value: used, "aria-label": `${unit}s in use` }),
      ` ${count(used, unit)} of ${all.toLocaleString("en")}`));
}

function row(side, run, { before, selected, onSelect }) {
  const { marks, other } = SIDES[side];
  const state = run[side];
  const was = before?.gfns.find(({ first }) => first === run.first);
  const changed = was && was[side] !== state;
  const key = `gfn-${run.first}`;
  const sign = element("td", {},
    element("span", { class: jointClass(run.joint), "aria-hidden": "true", title: run.joint }, JOINT_SIGNS[run.joint]),
    element("span", { class: "hidden-text" }, run.joint === "agrees" ? `agrees with the ${other}`
      : run.joint === "differs" ? `differs from the ${other}` : `in flight`));
  const cells = [
    element("th", { scope: "row" }, element("button", {
      class: "gfn", "data-key": key, "aria-pressed": String(selected), tabindex: selected ? 0 : -1,
      onclick: () => onSelect(run.first), onfocus: () => selected || onSelect(run.first),
    }, runName(run))),
    element("td", { class: changed ? "value changed" : "value", title: changed ? `was ${was[side] ?? "none"}` : null },
      badge(state), element("span", { class: "state-name" }, state ?? "none"),
      element("div", { class: "marks" }, tags(run[marks] ?? []), side === "hypervisor" && run.part
        ? element("span", { class: "part" }, run.part) : "")),
  ];
  const ordered = side === "hypervisor" ? [...cells, sign] : [sign, ...cells];
  return element("tr", { class: `${run.joint.replace(" ", "-")}${selected ? " selected" : ""}`, "data-gfn": run.first },
    ordered);
}

/** Give the rows of both tables the same heights, so that a GFN stands on one line across the page. */
export function alignRows(one, other) {
  const pairs = [one, other].map((container) => [...container.querySelectorAll("tbody tr")]);
  for (const row of pairs.flat()) row.style.height = "";
  const heights = pairs[0].map((row, at) => Math.max(row.offsetHeight, pairs[1][at].offsetHeight));
  for (const rows of pairs) rows.forEach((row, at) => { row.style.height = `${heights[at]}px`; });
}

/** Draw one side. `options` has the frame before, the selected GFN, and what to do when one is selected. */
export function drawTable(container, side, frame, { before, gfn, onSelect }) {
  const heads = ["GFN", "state and marks"].map((name) => element("th", { scope: "col" }, name));
  const joint = element("th", { scope: "col" }, element("span", { class: "hidden-text" }, "joint"));
  const runs = frame.gfns.map((run) => row(side, run, {
    before, onSelect, selected: gfn >= run.first && gfn < run.first + run.count,
  }));
  fill(container, vmLine(side, frame, before),
    element("table", { class: runs.length < 6 ? "few" : null },
      element("thead", {}, element("tr", {}, side === "hypervisor" ? [...heads, joint] : [joint, ...heads])),
      element("tbody", {}, runs)),
    frame.gfns_left_out ? element("p", { class: "empty" }, `${count(frame.gfns_left_out, "run")} more: see the map`) : null);
}
