/** The keyboard: one key per command, and numbers for moves. */

const COMMANDS = { j: "step", k: "back", e: "end", f: "fork", o: "open", g: "next", G: "before", "?": "help" };
const SECOND_DIGIT = 450; // milliseconds in which a second digit may follow

/** Listen to keys; `onCommand` gets a command's name, `onNumber` a move's number, `onTyped` what is typed. */
export function listen({ onCommand, onNumber, onTyped, highest }) {
  let typed = "", timer;

  const commit = () => {
    const number = Number(typed);
    clearTimeout(timer);
    typed = "";
    onTyped("");
    if (number) onNumber(number);
  };

  addEventListener("keydown", (event) => {
    const { key, target } = event;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const inDialog = target.closest("dialog[open]"); // focus stays in one that was closed just now
    if (key === "Escape" && inDialog) { // at once: the browser itself would close it only after the next key
      event.preventDefault();
      inDialog.close();
      return;
    }
    if (inDialog || target.closest("input, select, textarea")) return;
    if (/^[0-9]$/.test(key) && (typed || key !== "0")) {
      typed += key;
      onTyped(typed);
      clearTimeout(timer);
      if (typed.length > 1 || Number(typed) * 10 > highest()) commit();
      else timer = setTimeout(commit, SECOND_DIGIT);
    } else if (key === "Enter" && typed) {
      event.preventDefault();
      commit();
    } else if (key === "Escape") {
      clearTimeout(timer);
      typed = "";
      onTyped("");
      onCommand("close");
    } else if (COMMANDS[key]) {
      event.preventDefault();
      onCommand(COMMANDS[key]);
    }
  });
}
