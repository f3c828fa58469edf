/** The part of Markdown that lessons use, as elements: headings, paragraphs, lists, tables, blocks of code. */

import { element } from "./dom.js";

const INLINE = /`([^`]+)`|\*\*([^*]+)\*\*|\*([^*]+)\*|\[([^\]]+)\]\([^)]*\)/g;

/** Return a text with code, strong and emphasised words; of a link its words stay. */
export function inline(text) {
  const made = [];
  let end = 0;
  for (const found of text.matchAll(INLINE)) {
    const [all, code, strong, emphasis, link] = found;
    made.push(text.slice(end, found.index));
    made.push(code ? element("code", {}, code) : strong ? element("strong", {}, strong)
      : emphasis ? element("em", {}, emphasis) : link);
    end = found.index + all.length;
  }
  return [...made, text.slice(end)];
}

const cells = (line) => line.split("|").slice(1, -1).map((cell) => cell.trim());

function table([head, , ...rows]) {
  const row = (line, tag) => element("tr", {}, cells(line).map((cell) => element(tag, {}, inline(cell))));
  return element("table", {}, element("thead", {}, row(head, "th")), element("tbody", {}, rows.map((line) => row(line, "td"))));
}

/** Return the items of a list: a line that starts with no marker belongs to the item before. */
function items(lines, marker) {
  const texts = [];
  for (const line of lines) {
    if (marker.test(line)) texts.push(line.replace(marker, ""));
    else texts[texts.length - 1] += ` ${line.trim()}`;
  }
  return texts.map((text) => element("li", {}, inline(text)));
}

function block(text) {
  const lines = text.split("\n");
  if (text.startsWith("```")) return element("pre", {}, lines.slice(1, -1).join("\n"));
  if (text.startsWith("## ")) return element("h3", {}, inline(text.slice(3)));
  if (text.startsWith("|")) return table(lines);
  if (text.startsWith("- ")) return element("ul", {}, items(lines, /^- /));
  if (/^\d+\. /.test(text)) return element("ol", {}, items(lines, /^\d+\. /));
  return element("p", {}, inline(lines.join(" ")));
}

/** Return the blocks of a text; an empty line ends a block, but not within a block of code. */
export const blocks = (text) =>
  (text.match(/```[\s\S]*?\n```|(?:(?!```)[^\n]+\n?)+/g) ?? []).map((each) => block(each.trimEnd()));
