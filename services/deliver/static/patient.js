// One patient: risks over time, what drove them, what is missing or stale, series, images, notes' titles.

import { lineChart } from "./chart.js";
import { el, hint, load } from "./dom.js";
import { originBadge, riskBar } from "./ward.js";
import { clock, clockAndZone, hours, LONG, outcome, percent, short, trim } from "./words.js";

const HOUR_MS = 3600e3;
const SPANS = [["12 h", 12], ["24 h", 24], ["72 h", 72], ["all", Infinity]];
const FIRST_DRIVERS = 6;
const GROUPS = [["vitals", "Vital signs"], ["labs", "Laboratory and blood gases"], ["other", "Other"]];

let span = 72; // hours shown, for every patient
let latest = ""; // the patient asked for last: a slower answer for another one is dropped

// Draws the patient into `place`. `moved(key)` is called when the record now goes by another key.
export async function drawPatient(patient, place, moved) {
  latest = patient;
  if (place.dataset.patient !== patient) {
    place.dataset.patient = patient;
    place.scrollTop = 0;
    place.replaceChildren(hint("Loading…"));
  }
  let view;
  try {
    view = await load(`/api/patients/${encodeURIComponent(patient)}`);
  } catch (error) {
    if (latest !== patient) return;
    place.replaceChildren(back(), hint(error.status === 404 ? "This patient has left the board." : error.message));
    return;
  }
  if (latest !== patient) return;
  if (view.patient !== patient) moved(view.patient);
  else {
    try {
      show(view, place);
    } catch (error) {
      place.replaceChildren(back(), hint("This patient cannot be shown: reload the page; if that does not help, tell whoever runs it."));
      throw error;
    }
  }
}

function show(view, place) {
  const scrolled = place.scrollTop;
  const open = new Set([...place.querySelectorAll("details[open]")].map((node) => node.dataset.name));
  place.replaceChildren(...sections(view, () => show(view, place)).filter(Boolean));
  for (const node of place.querySelectorAll("details")) if (open.has(node.dataset.name)) node.open = true;
  place.scrollTop = scrolled;
}

function sections(view, redraw) {
  const about = [view.age === null ? null : `${view.age} years`, view.sex, [view.unit, view.bed].filter(Boolean).join(" "), view.present ? null : view.left];
  const domain = domainOf(view);
  return [
    back(),
    el("h2", {}, el("span", { class: "key" }, short(view.patient)), " ", originBadge(view), el("small", { class: "origin" }, view.origin)),
    el("p", { class: "about" }, `${about.filter(Boolean).join(" · ")} · data until ${clockAndZone(view.as_of)}`),
    el("h3", {}, "Risks"),
    view.risks.length ? el("div", { class: "risks" }, view.risks.map((risk) => riskBar(risk, view, true))) : hint("Not scored yet."),
    spans(domain, redraw),
    el("div", { class: "charts", id: "courses" }, courses(view, domain)),
    drivers(view),
    el("h3", {}, "What there is, what is missing or stale"),
    view.modalities.length ? dataTable(view.modalities) : hint("No model has looked yet."),
    ...series(view, domain),
    ...images(view.images),
    ...list("Notes", view.notes, (note) => [noteTitle(note, view.patient), `${clock(note.time)}${note.encoded ? "" : " · not read by a model"}`]),
    ...list("Allergies", view.allergies, (one) => [one.name, [one.category, one.degree].filter(Boolean).join(" · ")]),
    ...list("Diagnoses", view.conditions, (item) => [item.name, clock(item.time)]),
    ...list("Medication", view.medications, (item) => [item.name, clock(item.time)]),
    trace(view),
  ];
}

// What came as a file (a PDF, an image) is a link to it.
function noteTitle(note, patient) {
  const title = note.title || "Note";
  if (!note.file) return title;
  const kind = note.content_type.split("/")[1].toUpperCase();
  return el("a", { href: `/api/patients/${patient}/documents/${note.file}`, download: true }, `${title} (${kind})`);
}

const back = () => el("a", { class: "back", href: "#ward" }, "← Ward list");

function domainOf(view) {
  const times = [...view.series.filter((s) => s.points.length > 1).flatMap((s) => s.points), ...view.courses.flatMap((c) => c.points.filter((p) => p[1] !== null || p[2] !== null))].map((p) => p[0]);
  const to = view.as_of;
  const first = times.reduce((least, t) => Math.min(least, t), to);
  return { first, to, shown: [Math.max(first, to - span * HOUR_MS), to === first ? first + HOUR_MS : to] };
}

function spans(domain, redraw) {
  const length = (domain.to - domain.first) / HOUR_MS;
  const offered = SPANS.filter(([, h]) => h < length || h === Infinity);
  if (offered.length < 2) return null;
  const pressed = span >= length ? Infinity : span;
  return el(
    "div", { class: "spans", role: "group", "aria-label": "Time shown" },
    offered.map(([name, h]) =>
      el("button", {
        type: "button",
        "aria-pressed": h === pressed ? "true" : "false",
        onclick: () => {
          span = h;
          redraw();
        },
      }, name)),
  );
}

function courses(view, domain) {
  return view.courses.map((course) => {
    const judged = course.points.filter((p) => p[1] !== null);
    const scored = course.points.filter((p) => p[2] !== null);
    const rule = view.risks.find((risk) => risk.outcome === course.outcome && risk.model === course.model)?.threshold;
    const name = `${outcome(course.outcome)} · ${course.model}`;
    const common = { name, domain: domain.shown, height: 96, alerts: true };
    if (judged.length) return lineChart({ ...common, points: judged.map((p) => [p[0], p[1], p[3]]), low: 0, rule, format: percent });
    return scored.length ? lineChart({ ...common, unit: "points", points: scored.map((p) => [p[0], p[2], p[3]]), low: 0, high: 20 }) : null;
  });
}

function drivers(view) {
  const told = view.explanations.filter((why) => why.modalities.length || why.features.length);
  return el(
    "div", { id: "drivers" },
    told.map((why) => {
      const scale = why.scale === "points" ? "points of the score" : "log-odds: right of the line raises the risk";
      return [
        el("h3", {}, `What drove ${LONG[why.outcome] ?? why.outcome}`, " ", el("small", {}, `${scale}; data until ${clock(why.as_of)}`)),
        bars(`${outcome(why.outcome)} by kind of data`, why.modalities),
        bars(`${outcome(why.outcome)} by variable`, why.features),
      ];
    }),
  );
}

function bars(title, items) {
  if (!items.length) return null;
  const most = Math.max(...items.map((bar) => Math.abs(bar.value)), 0.01);
  const rows = items.map((bar) => driver(bar, most));
  const rest = rows.slice(FIRST_DRIVERS);
  return el(
    "div", { class: "why-bars", role: "list", "aria-label": title },
    rows.slice(0, FIRST_DRIVERS),
    rest.length ? el("div", { role: "listitem" }, el("details", { "data-name": `more ${title}` }, el("summary", {}, `${rest.length} more`), el("div", { role: "list" }, rest))) : null,
  );
}

function driver(bar, most) {
  const width = `${((50 * Math.abs(bar.value)) / most).toFixed(1)}%`;
  const observed = bar.observed === undefined || bar.observed === null ? "" : `${trim(bar.observed)}${bar.unit && typeof bar.observed === "number" ? ` ${bar.unit}` : ""}`;
  const age = bar.age_hours ? `${hours(bar.age_hours)} before` : "";
  const note = [observed, age].filter(Boolean).join(", ");
  const name = bar.code ? el("button", { type: "button", class: "link", onclick: () => reveal(bar.code) }, bar.label) : bar.label;
  return el(
    "div", { class: "driver", role: "listitem" },
    el("span", { class: "name" }, name),
    el("span", { class: "bar" }, el("i", { class: bar.value >= 0 ? "up" : "down", style: { width } })),
    el("b", {}, `${bar.value >= 0 ? "+" : "−"}${Math.abs(bar.value).toFixed(2)}`),
    el("small", {}, note),
  );
}

function reveal(code) {
  const chart = document.querySelector(`.chart[data-code="${CSS.escape(code)}"]`);
  if (!chart) return;
  chart.scrollIntoView({ block: "center", behavior: "smooth" });
  chart.classList.add("shown");
  setTimeout(() => chart.classList.remove("shown"), 1600);
}

function dataTable(states) {
  return el(
    "div", { class: "states" },
    states.map((state) => {
      const kind = !state.present ? "absent" : state.stale ? "stale" : "there";
      const said = !state.present ? "missing" : `${state.count} item${state.count === 1 ? "" : "s"}${state.age_hours === undefined ? "" : `, ${hours(state.age_hours)} old`}${state.stale ? ": stale" : ""}`;
      return el("div", { class: `state ${kind}` }, el("b", {}, state.label), el("small", {}, said));
    }),
  );
}

function series(view, domain) {
  if (!view.series.length) return [el("h3", {}, "Series"), hint("No measurements yet.")];
  return GROUPS.flatMap(([group, title]) => {
    const items = view.series.filter((one) => one.group === group);
    if (!items.length) return [];
    const many = items.filter((one) => one.points.length > 1), single = items.filter((one) => one.points.length === 1);
    const sources = [...new Set(many.map((one) => one.band?.source).filter(Boolean))];
    const assumed = items.filter((one) => one.time_assumed).map((one) => one.name);
    return [
      el("h3", {}, title, sources.length ? el("small", {}, ` shaded: ${sources.join("; ")}`) : null),
      assumed.length ? hint(`Sent without a time, shown when it was reported: ${assumed.join(", ")}.`) : null,
      many.length ? el("div", { class: "charts", "data-group": group }, many.map((one) => lineChart({ ...one, domain: domain.shown }))) : null,
      single.length ? el("dl", { class: "facts" }, single.map(fact)) : null,
    ];
  });
}

function fact(one) {
  const [time, value] = one.points[0];
  return el("div", { class: "chart", "data-code": one.code, title: clock(time) }, el("dt", {}, one.name), el("dd", {}, el("b", {}, trim(value)), one.unit ? ` ${one.unit}` : ""));
}

function images(items) {
  if (!items.length) return [];
  return [
    el("h3", {}, `Images (${items.length})`),
    el("div", { class: "images" }, items.map((item) =>
      el("figure", {},
        item.thumbnail ? el("img", { src: `/api/images/${item.thumbnail}`, alt: `${item.modality} thumbnail`, loading: "lazy" }) : el("small", { class: "noimage" }, "no thumbnail: not read by a model"),
        el("figcaption", {}, [item.modality, item.view_position, item.body_part].filter(Boolean).join(" "), el("small", {}, clock(item.time))),
        Object.keys(item.findings).length ? el("small", {}, `found by ${item.model}:`) : null,
        Object.entries(item.findings).map(([name, p]) => el("div", { class: "finding" }, el("span", {}, name.replaceAll("_", " ")), el("b", {}, percent(p)))),
      ))),
  ];
}

function list(title, items, words) {
  if (!items.length) return [];
  return [
    el("h3", {}, `${title} (${items.length})`),
    el("ul", { class: "plain" }, items.map((item) => {
      const [left, right] = words(item);
      return el("li", {}, el("span", {}, left), el("small", {}, right));
    })),
  ];
}

function trace(view) {
  return el(
    "details", { class: "trace", "data-name": "trace" },
    el("summary", {}, "Where these figures come from"),
    el("p", {}, `Record ${view.record_version}${view.origin ? `; ${view.origin}` : ""}`),
    view.explanations.map((why) =>
      el("p", {}, `${outcome(why.outcome)}: ${why.model} ${why.model_version}, prediction ${why.prediction_id}${why.weights_sha256 ? `, weights ${why.weights_sha256}` : ""}${why.input_sha256 ? `, inputs ${why.input_sha256}, features v${why.feature_version}` : ""}`)),
  );
}
