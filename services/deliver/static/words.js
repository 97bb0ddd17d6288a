// How the page says things: outcomes, reasons, numbers, times.

export const OUTCOMES = { "sepsis-6h": "Sepsis 6 h", mortality: "Death", deterioration: "NEWS2" };
export const LONG = { "sepsis-6h": "sepsis within 6 h", mortality: "death in this stay", deterioration: "NEWS2" };
export const REASONS = {
  too_little_data: "too little data",
  out_of_distribution: "unlike the training data",
  low_confidence: "the model is not sure",
  invalid_answer: "the model's answer failed its checks",
  no_encounter: "no current stay",
  model_unavailable: "model server away",
};
export const MODALITIES = { series: "vitals, labs", static: "age, stay", note: "notes", image: "images", genomic: "genomics" };

export const outcome = (name) => OUTCOMES[name] ?? name;
export const reason = (name) => REASONS[name] ?? name.replaceAll("_", " ");
export const short = (key) => key.slice(0, 8);

export function percent(p) {
  if (p === null || p === undefined) return "–";
  return `${(100 * p).toFixed(p < 0.0995 ? 1 : 0)} %`;
}

export function trim(v) {
  if (typeof v !== "number") return String(v);
  const size = Math.abs(v);
  if (Number.isInteger(v)) return String(v);
  return size >= 100 ? v.toFixed(0) : size >= 10 ? v.toFixed(1) : v.toFixed(2);
}

let zone = "UTC";
let local = null; // writes a moment in that zone as `2026-03-01 12:34`

// Times show in this zone from now on: the hospital's. Returns whether that is a change.
export function showIn(name) {
  if (name === zone) return false;
  try {
    local = new Intl.DateTimeFormat("sv-SE", { timeZone: name, year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit" });
  } catch {
    return false; // a zone that this browser does not know
  }
  zone = name;
  return true;
}

export const zoneName = () => zone;

export function clock(ms) {
  if (!ms) return "–";
  return local ? local.format(ms) : new Date(ms).toISOString().slice(0, 16).replace("T", " ");
}

export const clockAndZone = (ms) => `${clock(ms)} ${zone}`;

export const dayAndTime = (ms) => clock(ms).slice(5);

export function hours(h) {
  if (h === null || h === undefined) return "";
  if (h < 1) return `${Math.round(h * 60)} min`;
  return h < 48 ? `${h.toFixed(h < 10 ? 1 : 0)} h` : `${(h / 24).toFixed(0)} d`;
}

export function number(v) {
  if (Number.isInteger(v)) return v.toLocaleString("en");
  const size = Math.abs(v);
  if (size > 0 && size < 0.001) return "< 0.001";
  return size >= 1000 ? Math.round(v).toLocaleString("en") : Number(v.toPrecision(3)).toString();
}
