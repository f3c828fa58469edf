/** The lesson of a session: its goal, its text and hints, and the check of its end. */

import { element, fill } from "./dom.js";
import { blocks, inline } from "./markdown.js";

/** Return the text of a lesson, open until its goal is reached; what it means is shown from then on. */
function textOf(lesson) {
  const [task, meaning] = lesson.text.split(/\n(?=## What it means)/);
  const onclick = ({ target }) => { lesson.open = !target.closest("details").open; };
  return element("details", { "data-key": "lesson-text", open: lesson.open ?? !lesson.passed },
    element("summary", { onclick }, "text"),
    element("div", { class: "lesson-text" }, blocks(task), lesson.passed && meaning ? blocks(meaning) : ""));
}

function question({ name, text, choices = [] }, answers) {
  const value = answers[name] ?? "";
  const onchange = ({ target }) => { answers[name] = target.value; };
  const options = ["", ...choices].map((choice) => element("option", { value: choice, selected: choice === value }, choice));
  return element("label", {}, `${text} `, choices.length
    ? element("select", { onchange, "data-key": `answer-${name}`, "data-testid": `answer-${name}` }, options)
    : element("input", { value, onchange, "data-key": `answer-${name}`, "data-testid": `answer-${name}` }));
}

/** Draw the lesson, or nothing; it has what the last check and the hints have said, and the person's answers. */
export function drawLesson(container, lesson, { onCheck, onHint }) {
  container.hidden = !lesson;
  if (!lesson) return;
  const { number, title, goal, text, hints, given = [], progress = [], questions = [], passed, sentence } = lesson;
  const left = (hints ?? 0) - given.length;
  fill(container,
    element("h2", {}, `Lesson ${number}: ${title ?? ""}`),
    element("p", { class: "goal" }, inline(goal ?? "")),
    element("p", { class: "actions" },
      element("button", { "data-key": "hint", "data-testid": "hint", onclick: onHint },
        left > 0 ? `hint (${left} left)` : "hint"),
      element("button", { "data-key": "check", "data-testid": "check", class: "primary", onclick: onCheck }, "check")),
    questions.length ? element("p", { class: "questions" }, questions.map((each) => question(each, lesson.answers))) : "",
    progress.length ? element("ul", { class: "progress" }, progress.map(({ label, done }) =>
      element("li", {}, `${done ? "✓" : "○"} ${label}`))) : "",
    given.length ? element("ol", { class: "hints" }, given.map((hint) => element("li", {}, inline(hint)))) : "",
    sentence ? element("p", { class: passed ? "answer passed" : "answer", role: "status" },
      `${passed ? "✓ passed" : "not yet"}: ${sentence}`) : "",
    text ? textOf(lesson) : "");
}
