// The ward list: patients by risk, updated row by row as the stream brings them. A row that did not change keeps its
// element, so that focus, selection and the reader's eye stay where they are.

import { spark } from "./chart.js";
import { el } from "./dom.js";
import { clockAndZone, dayAndTime, hours, MODALITIES, outcome, percent, reason, short } from "./words.js";

const SHORT = { series: "vitals", static: "age", note: "notes", image: "images", genomic: "genes" };
const MOST = 300; // rows drawn; the filters find the others
const BEHIND_MS = 3600e3; // a risk whose data are older than the record by more says so

export class Ward {
  constructor(choose) {
    this.choose = choose;
    this.rows = new Map();
    this.drawn = new Map(); // patient -> { element, text }
    this.chosen = "";
    this.loaded = false;
    this.caughtUp = true;
    this.touched = new Map(); // patient -> when its row last came by the stream
    this.body = byId("rows");
    this.filters = { unit: byId("unit"), origin: byId("origin"), alerts: byId("alerts"), left: byId("left") };
    for (const control of Object.values(this.filters)) control.addEventListener("change", () => this.draw());
    this.body.addEventListener("keydown", (event) => this.key(event));
    this.waiting = false;
  }

  // All rows are drawn anew when they show next: times read otherwise.
  forget() {
    this.drawn.clear();
  }

  // All rows anew. Those that the stream brought since the question was asked are newer than the answer.
  load({ patients, caught_up: caughtUp }, askedAt) {
    const fresh = new Map(patients.map((row) => [row.patient, row]));
    for (const [patient, at] of this.touched) {
      if (at < askedAt) continue;
      if (this.rows.has(patient)) fresh.set(patient, this.rows.get(patient));
      else fresh.delete(patient);
    }
    this.touched.clear();
    this.rows = fresh;
    this.loaded = true;
    this.caughtUp = caughtUp;
    this.draw();
  }

  put(row) {
    this.rows.set(row.patient, row);
    this.touched.set(row.patient, performance.now());
    this.soon();
  }

  remove(patient) {
    this.rows.delete(patient);
    this.touched.set(patient, performance.now());
    this.soon();
  }

  soon() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.draw();
    });
  }

  select(patient) {
    this.chosen = patient;
    this.draw();
  }

  // Where nobody is present, those who were are what there is to see.
  shown() {
    const { unit, origin, alerts, left } = this.filters;
    const rows = [...this.rows.values()];
    const leftToo = left.checked || !rows.some((row) => row.present);
    return rows
      .filter((row) => (leftToo || row.present) && (!unit.value || row.unit === unit.value) && (!origin.value || origin.value === label(row)))
      .filter((row) => !alerts.checked || row.risks.some((risk) => risk.alert))
      .sort((a, b) => b.present - a.present || b.urgency - a.urgency || (a.patient < b.patient ? -1 : 1));
  }

  draw() {
    options(this.filters.unit, [...this.rows.values()].map((row) => row.unit));
    const origins = options(this.filters.origin, [...this.rows.values()].map(label));
    byId("origin-label").hidden = origins < 2;
    const all = this.shown(), shown = all.slice(0, MOST);
    this.place(shown.map((row) => this.element(row)));
    for (const patient of this.drawn.keys()) if (!this.rows.has(patient)) this.drawn.delete(patient);
    this.say(all.length, shown.length);
  }

  // The elements in this order, moving only what must move.
  place(elements) {
    const focused = this.body.contains(document.activeElement) ? document.activeElement.dataset.patient : "";
    let at = this.body.firstChild;
    for (const element of elements) {
      if (element === at) at = at.nextSibling;
      else this.body.insertBefore(element, at);
    }
    while (at) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
    if (focused && document.activeElement?.dataset?.patient !== focused) this.drawn.get(focused)?.element.focus({ preventScroll: true });
  }

  element(row) {
    const text = JSON.stringify(row);
    const known = this.drawn.get(row.patient);
    const element = known?.text === text ? known.element : this.line(row);
    element.setAttribute("aria-selected", row.patient === this.chosen ? "true" : "false");
    if (known && known.element !== element && known.element.parentNode) {
      const focused = known.element === document.activeElement;
      known.element.replaceWith(element);
      if (focused) element.focus({ preventScroll: true });
    }
    this.drawn.set(row.patient, { element, text });
    return element;
  }

  say(matching, shown) {
    const present = [...this.rows.values()].filter((row) => row.present).length;
    const more = matching > shown ? `; the first ${shown} show` : "";
    byId("count").textContent = this.loaded ? `${present} present, ${this.rows.size} known${more}` : "";
    const empty = byId("empty");
    empty.hidden = matching > 0 && this.caughtUp;
    if (!this.loaded) empty.textContent = "Loading…";
    else if (!this.caughtUp) empty.textContent = "Reading what came before; patients may be missing still…";
    else if (!this.rows.size) empty.textContent = "No patients yet. Send HL7 over MLLP, FHIR over HTTP or DICOM, or run: wardstream replay.";
    else empty.textContent = "No patient fits these filters.";
  }

  key(event) {
    const row = event.target.closest("tr");
    if (!row) return;
    if (event.key === "Enter" || event.key === " ") this.choose(row.dataset.patient);
    else if (event.key === "ArrowDown") row.nextElementSibling?.focus();
    else if (event.key === "ArrowUp") row.previousElementSibling?.focus();
    else return;
    event.preventDefault();
  }

  line(row) {
    const about = [row.age === null ? null : `${row.age} y`, row.sex].filter(Boolean).join(", ");
    return el(
      "tr",
      { class: row.present ? "row" : "row left", tabindex: 0, "data-patient": row.patient, onclick: () => this.choose(row.patient) },
      el("td", {}, el("span", { class: "key" }, short(row.patient)), el("br"), el("small", {}, about)),
      el("td", {}, row.unit || "–", row.present && row.bed ? ` ${row.bed}` : "", el("br"), originBadge(row)),
      el("td", {}, row.risks.length ? row.risks.map((risk) => riskBar(risk, row)) : el("small", {}, "not scored yet")),
      el("td", { class: "data" }, modalities(row.modalities.filter(worthTelling)), el("small", { title: clockAndZone(row.as_of) }, `${row.present ? "until" : row.left} ${dayAndTime(row.as_of)}`)),
    );
  }
}

// In a row, what is nearly always there shows only when it is not, and what is nearly never there only when it is.
const worthTelling = (state) => (state.name === "static" ? !state.present : state.name !== "genomic" || state.present);
const byId = (id) => document.getElementById(id);
const label = (row) => (row.synthetic ? "SYNTHETIC" : row.source);

// Fills a select with the distinct values, keeping the choice; returns how many there are.
function options(select, values) {
  const names = [...new Set(values.filter(Boolean))].sort();
  if (select.dataset.known !== names.join("\n")) {
    const value = select.value;
    select.dataset.known = names.join("\n");
    select.replaceChildren(el("option", { value: "" }, "all"), ...names.map((name) => el("option", { value: name }, name)));
    select.value = names.includes(value) ? value : "";
  }
  return names.length;
}

export function originBadge(row) {
  const text = row.synthetic ? "SYNTHETIC" : row.source;
  return text ? el("span", { class: row.synthetic ? "badge synthetic" : "badge", title: row.origin }, text) : null;
}

// One risk: name, course, bar (its middle is the alert threshold), value. `row` is the patient's, for its time;
// `ruled` writes the threshold beside it.
export function riskBar(risk, row, ruled = false) {
  const name = outcome(risk.outcome);
  const behind = row && row.as_of - risk.as_of > BEHIND_MS ? ` (data until ${dayAndTime(risk.as_of)})` : "";
  if (risk.probability === null && risk.score === null) {
    const why = risk.status === "indeterminate" ? reason(risk.reason) : risk.status;
    const course = risk.trend.length > 1 ? spark(risk.trend, { rule: risk.threshold, label: `${name}, course` }) : null;
    return el("div", { class: course ? "risk" : "risk bare" }, el("span", {}, name), course, el("span", { class: "why" }, `not judged: ${why}${behind}`));
  }
  const points = risk.probability === null;
  const share = points ? risk.score / 20 : risk.threshold ? risk.probability / (2 * risk.threshold) : risk.probability;
  const notes = [ruled && risk.threshold && !points ? `alert from ${percent(risk.threshold)}` : "", behind.trim()].filter(Boolean);
  const tooltip = points ? `${risk.reason}: early-warning score while the model server is away` : `${risk.model}; alert from ${percent(risk.threshold)}`;
  return el(
    "div",
    { class: risk.alert ? "risk alert" : "risk", title: tooltip },
    el("span", {}, name),
    spark(risk.trend, { rule: risk.threshold, label: `${name}, course` }),
    el(
      "span", { class: "track" },
      el("span", { class: "fill", style: { width: `${Math.min(100, 100 * share).toFixed(1)}%` } }),
      risk.threshold && !points ? el("span", { class: "threshold" }) : null,
    ),
    el("b", {}, points ? `${risk.score} pts` : percent(risk.probability)),
    notes.length ? el("span", { class: "why" }, notes.join(" ")) : null,
  );
}

export function modalities(states) {
  return el(
    "div", { class: "mods" },
    states.map((state) => {
      const name = MODALITIES[state.name] ?? state.name;
      const age = hours(state.age_hours);
      const title = !state.present ? `${name}: missing` : `${name}: ${state.count} item(s)${age ? `, newest ${age} old` : ""}${state.stale ? ", stale" : ""}`;
      const kind = !state.present ? "mod absent" : state.stale ? "mod stale" : "mod";
      return el("span", { class: kind, title }, SHORT[state.name] ?? state.name);
    }),
  );
}
