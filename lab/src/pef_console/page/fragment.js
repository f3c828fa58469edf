/** The URL's fragment: which session, node and GFN are shown, so that a link is an exercise. */

const NAMES = ["s", "n", "g", "file", "lesson", "stage", "memory", "design"];

/** Return what a fragment says, by name. */
export const parse = (hash) => Object.fromEntries(new URLSearchParams(hash.replace(/^#/, "")));

/** Return the fragment that says what `parts` has. */
export function format(parts) {
  const kept = NAMES.filter((name) => parts[name] !== undefined && parts[name] !== null && parts[name] !== "");
  return kept.length ? `#${new URLSearchParams(kept.map((name) => [name, parts[name]]))}` : "";
}

/** Write the fragment without an entry in the browser's history. */
export function write(parts) {
  const url = `${location.pathname}${location.search}${format(parts)}`;
  if (url !== `${location.pathname}${location.search}${location.hash}`) history.replaceState(null, "", url);
}

/** Return the secret of the fragment, and remove it from the URL at once. */
export function takeSecret() {
  const { secret, ...rest } = parse(location.hash);
  if (secret) history.replaceState(null, "", `${location.pathname}${format(rest)}`);
  return secret;
}
