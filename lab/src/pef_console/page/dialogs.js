/** The dialogs: open a file, a lesson or a new session; links and exports; help. */

import { byId, element, fill } from "./dom.js";
import { format } from "./fragment.js";
import { request } from "./server.js";
import { badge } from "./tables.js";
import { stateNames } from "./states.js";

const LARGEST = 7 * 2 ** 20; // bytes; the server reads 8 MiB of a request

let files = [], lessons = [];

/** Return the object of a JSON file; the text of any other file, such as one of JSON lines. */
function parsed(text) {
  try {
    const content = JSON.parse(text);
    return content && typeof content === "object" && !Array.isArray(content) ? content : text;
  } catch { return text; }
}

const nameOf = ({ number, name }) => String(number ?? name);

function entries(sought, onOpen) {
  const has = (...texts) => texts.join(" ").toLowerCase().includes(sought.toLowerCase());
  const item = (label, note, body, origin) => element("li", {},
    element("button", { onclick: () => onOpen(body, origin) }, label, element("small", {}, note)));
  const group = (title, items) => (items.length ? [element("h3", {}, title), element("ul", {}, items)] : []);
  return [
    ...group("lessons", lessons.filter((each) => has(nameOf(each), each.title)).map((each) =>
      item(`${nameOf(each)} ${each.title}`, each.goal ?? "", { lesson: nameOf(each) }, { lesson: nameOf(each) }))),
    ...[...Map.groupBy(files.filter((file) => has(file.name, file.title ?? "", file.kind)), ({ kind }) => kind)]
      .flatMap(([kind, all]) => group(kind, all.map(({ name, title }) =>
        item(title || name, name, { file: name }, { file: name })))),
  ];
}

/** Show the dialog of what can be opened; `onOpen` gets a body of POST /sessions and what a link needs. */
export async function showOpen(onOpen, onProblem) {
  const dialog = byId("open-dialog"), find = byId("find-file");
  const choose = (body, origin) => { dialog.close(); onOpen(body, origin); };
  const list = () => fill(byId("files"), entries(find.value, choose));
  byId("new-session").onsubmit = ({ target }) => {
    const image = target.elements.image.value.split(/[\s,]+/).filter(Boolean);
    choose({ stage: "model", design: target.elements.design.value,
      system: { image, plug: Number(target.elements.plug.value), vcpus: Number(target.elements.vcpus.value) } }, {});
  };
  byId("open-live").onclick = () => choose({ stage: "live", design: byId("new-design").value }, { stage: "live" });
  byId("upload").onchange = async ({ target }) => {
    const [file] = target.files;
    target.value = "";
    if (!file) return;
    dialog.close();
    if (file.size > LARGEST) return onProblem(new Error(`${file.name} has ${file.size} bytes: too many for a file of ours.`));
    const text = await file.text();
    onOpen({ upload: parsed(text), name: file.name.slice(0, 200) }, {});
  };
  find.oninput = list;
  dialog.showModal();
  find.focus();
  const answers = await Promise.all(["/files", "/lessons"].map((path) => request("GET", path).catch(() => [])));
  [files, lessons] = answers.map((answer) => (Array.isArray(answer) ? answer : []));
  list();
}

/** Show the links to a session and its exports. */
export function showLink({ id, frame, gfn, origin }) {
  const here = `${location.origin}${location.pathname}`;
  const g = gfn || null;
  byId("link-session").value = here + format({ s: id, g });
  byId("link-exercise").value = here + format({ ...origin, n: frame.node, g, design: frame.design });
  fill(byId("exports"), "export: ", ["counterexample", "mermaid", "json", "curl"].map((kind) => [
    element("a", { href: `/api/v1/sessions/${id}/export?as=${kind}`, target: "_blank", rel: "noopener" }, kind), " "]));
  byId("link-dialog").showModal();
  byId("link-session").select();
}

/** Show the help, with the letter of each state. */
export function showHelp() {
  fill(byId("states"), stateNames().map((name) => element("li", {}, badge(name), " ", name)));
  byId("help-dialog").showModal();
}

/** Close whatever dialog is open. */
export const close = () => { for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close(); };
