// Small helpers for building elements. Text is always set as text: nothing from the stream is parsed as HTML.

export function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

const NS = "http://www.w3.org/2000/svg";

export function svg(name, attributes = {}, ...children) {
  const node = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children.flat());
  return node;
}

export const OUTCOMES = { "sepsis-6h": "Sepsis 6 h", mortality: "Death", deterioration: "NEWS2" };
export const REASONS = {
  too_little_data: "too little data",
  out_of_distribution: "unlike the training data",
  low_confidence: "the model is not sure",
  invalid_answer: "the model's answer failed its checks",
  no_encounter: "no current stay",
  model_unavailable: "model server away",
};

export const percent = (p) => (p === null || p === undefined ? "–" : `${(100 * p).toFixed(p < 0.0995 ? 1 : 0)} %`);

export function clock(ms) {
  if (!ms) return "–";
  return new Date(ms).toISOString().slice(0, 16).replace("T", " ");
}

export function hours(h) {
  if (h === null || h === undefined) return "";
  return h < 1 ? `${Math.round(h * 60)} min` : h < 48 ? `${h.toFixed(h < 10 ? 1 : 0)} h` : `${(h / 24).toFixed(0)} d`;
}

export const short = (key) => key.slice(0, 8);
