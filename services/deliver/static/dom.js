// Small helpers for building elements. Text is always set as text: nothing from the stream is parsed as HTML.
// Styles are set through the object model, so that the page's policy needs no inline styles.

export function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key === "style") Object.assign(node.style, value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const NS = "http://www.w3.org/2000/svg";

export function svg(name, attributes = {}, ...children) {
  const node = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) if (value !== null && value !== undefined) node.setAttribute(key, value);
  node.append(...children.flat());
  return node;
}

// The answer as JSON; throws an error whose `status` is the HTTP status (0: no answer) and `body` what was said.
export async function load(address) {
  let answer;
  try {
    answer = await fetch(address);
  } catch {
    throw Object.assign(new Error("The server does not answer."), { status: 0, body: {} });
  }
  if (answer.status === 401) location.assign(`/login${location.hash}`);
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw Object.assign(new Error(body.hint ?? `The server said ${answer.status}.`), { status: answer.status, body });
  return body;
}

export const hint = (text) => el("p", { class: "hint" }, text);
