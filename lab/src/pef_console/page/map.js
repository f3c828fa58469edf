/** The whole VM as cells: a row per side and one for both. A cell has the rarest state of its GFNs. */

import { count } from "./dom.js";
import { classOf, HYPERVISOR_STATES, jointClass, JOINTS, letterOf, ULTRAVISOR_STATES } from "./states.js";

const HEIGHT = 22; // pixels of a row
const GAP = 5;
const HATCHED = /paged|shared|implicit|pseudo|changing|in-flight|differs/;

/** Return the colour that a class has in the theme of this moment. */
function colours() {
  const probe = document.createElement("span");
  document.body.append(probe);
  const kept = new Map();
  const colour = (classes) => {
    if (!kept.has(classes)) {
      probe.className = classes;
      const { backgroundColor, color } = getComputedStyle(probe);
      kept.set(classes, [backgroundColor, color]);
    }
    return kept.get(classes);
  };
  return { colour, done: () => probe.remove() };
}

/** Count the pages of a frame's runs in each cell and keep the rarest state (rarest in the whole VM). */
export function cellsOf(runs, cells) {
  const last = runs.at(-1);
  const pages = last ? last.first + last.count : 0;
  const size = Math.max(1, Math.ceil(pages / cells));
  const made = Math.ceil(pages / size);
  const rows = ["hypervisor", "ultravisor", "joint"].map((name) => {
    const total = new Map();
    for (const run of runs) total.set(run[name], (total.get(run[name]) ?? 0) + run.count);
    const row = Array(made).fill(undefined);
    for (const run of runs) {
      const end = Math.floor((run.first + run.count - 1) / size);
      for (let cell = Math.floor(run.first / size); cell <= end; cell += 1) {
        if (row[cell] === undefined || total.get(run[name]) < total.get(row[cell])) row[cell] = run[name];
      }
    }
    return row;
  });
  return { rows, size, pages };
}

/** Read the map endpoint's octets: as many cells of each row, one after the other. */
export function cellsOfOctets(octets, pages) {
  const made = Math.floor(octets.length / 3);
  const names = [HYPERVISOR_STATES, ULTRAVISOR_STATES, JOINTS];
  const rows = names.map((known, at) => Array.from(octets.subarray(at * made, (at + 1) * made), (value) => known[value]));
  return { rows, size: Math.max(1, Math.ceil(pages / Math.max(1, made))), pages };
}

function hatch(pen, x, y, width, height, ink) {
  pen.save();
  pen.beginPath();
  pen.rect(x, y, width, height);
  pen.clip();
  pen.strokeStyle = ink;
  pen.globalAlpha = 0.45;
  pen.beginPath();
  for (let at = x - height; at < x + width; at += 5) { pen.moveTo(at, y + height); pen.lineTo(at + height, y); }
  pen.stroke();
  pen.restore();
}

/** Draw the rows on the canvas, and say in words what they show. */
export function drawMap(canvas, { rows, size, pages }, gfn) {
  const width = canvas.clientWidth, height = 3 * HEIGHT + 2 * GAP, scale = devicePixelRatio || 1;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  pen.font = "600 12px ui-monospace, 'DejaVu Sans Mono', monospace";
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  const { colour, done } = colours();
  const usual = rows.map((row) => mostOf(row));
  const cells = rows[0].length, wide = width / Math.max(1, cells);
  const gap = wide > 6 ? 2 : 0;
  rows.forEach((row, at) => {
    const y = at * (HEIGHT + GAP);
    for (let begin = 0; begin < cells;) {
      let end = begin + 1;
      while (gap === 0 && end < cells && row[end] === row[begin]) end += 1;
      const value = row[begin];
      const classes = at === 2 ? jointClass(value ?? "agrees") : classOf(value);
      const [fill, ink] = colour(`${classes} painted`);
      const x = begin * wide, across = (end - begin) * wide - gap;
      const odd = gap === 0 && value !== usual[at]; // a thin cell of another state is dark, or nobody would see it
      pen.fillStyle = odd && across < 6 && at < 2 ? ink : fill;
      pen.fillRect(x, y, odd ? Math.max(2, across) : across, HEIGHT);
      if (HATCHED.test(classes) && across >= 6) hatch(pen, x, y, across, HEIGHT, ink);
      if (across > (gap ? 14 : 36)) {
        pen.fillStyle = ink;
        const letter = at === 2 ? { differs: "≠", "in flight": "…" }[value] ?? "" : letterOf(value);
        pen.fillText(letter, x + across / 2, y + HEIGHT / 2 + 1);
      }
      begin = end;
    }
  });
  if (pages && gfn < pages) {
    const cell = Math.floor(gfn / size);
    pen.strokeStyle = colour("cell-cursor")[1];
    pen.lineWidth = 2;
    pen.strokeRect(cell * wide + 1, 1, Math.max(3, wide - gap - 2), height - 2);
  }
  done();
  canvas.setAttribute("aria-label", inWords(rows, size, pages));
}

function mostOf(row) {
  const groups = [...Map.groupBy(row, (value) => value)];
  return groups.sort(([, some], [, others]) => others.length - some.length)[0]?.[0];
}

function inWords([hypervisor, ultravisor, joint], size, pages) {
  const tally = (row) => [...Map.groupBy(row, (value) => value ?? "none")]
    .map(([value, all]) => `${all.length} ${value}`).join(", ");
  return `${count(pages, "GFN")} in ${count(hypervisor.length, "cell")} of ${size}. Hypervisor: ${tally(hypervisor)}. `
    + `Ultravisor: ${tally(ultravisor)}. Together: ${tally(joint)}.`;
}
