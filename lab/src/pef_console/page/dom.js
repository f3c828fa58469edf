/** Make and replace elements without markup in strings: what a server sends is text, never HTML. */

/** Return the element with an id. */
export const byId = (id) => document.getElementById(id);

/** Make an element with properties (`class`, `data-…`, `aria-…`, `on…`, others by name) and children. */
export function element(tag, properties = {}, ...children) {
  const made = tag.startsWith("svg:")
    ? document.createElementNS("http://www.w3.org/2000/svg", tag.slice(4))
    : document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

/** Put children into a container; the focus stays where an element with the same `data-key` comes again. */
export function fill(container, ...children) {
  const active = container.contains(document.activeElement) ? document.activeElement : null;
  const top = container.scrollTop;
  container.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  container.scrollTop = top;
  if (!active) return;
  const again = active.dataset.key && container.querySelector(`[data-key="${CSS.escape(active.dataset.key)}"]`);
  (again ?? container.querySelector("[tabindex='0'], button:not([tabindex='-1'])"))?.focus({ preventScroll: true });
}

/** Give a group one tab stop, and let the arrow keys go through its elements. */
export function rove(container, selector) {
  container.addEventListener("keydown", (event) => {
    const by = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    const all = [...container.querySelectorAll(selector)];
    const at = all.indexOf(document.activeElement);
    const to = event.key === "Home" ? 0 : event.key === "End" ? all.length - 1 : at + by;
    if (at < 0 || !(to >= 0 && to < all.length)) return;
    event.preventDefault();
    all[at].tabIndex = -1;
    all[to].tabIndex = 0;
    all[to].focus();
  });
}

/** Return "1 page", "2 pages". */
export const count = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
