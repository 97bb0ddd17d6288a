// One patient: risks over time, what drove them, what is missing or stale, series, images, notes' titles.

import { lineChart, trim } from "./chart.js";
import { clock, el, hours, OUTCOMES, percent, short } from "./dom.js";
import { modalities, riskBar, sourceBadge } from "./ward.js";

export async function drawPatient(patient, place) {
  const answer = await fetch(`/api/patients/${patient}`);
  if (!answer.ok) {
    place.replaceChildren(el("p", { class: "hint" }, "This patient has left the board."));
    return;
  }
  const view = await answer.json();
  const scrolled = place.dataset.patient === patient ? place.scrollTop : 0;
  place.dataset.patient = patient;
  place.replaceChildren(...sections(view));
  place.scrollTop = scrolled;
}

function sections(view) {
  const about = [view.age === null ? null : `${view.age} years`, view.sex, view.unit, view.bed].filter(Boolean).join(" · ");
  return [
    el("h2", {}, el("span", { class: "key" }, short(view.patient)), " ", sourceBadge(view)),
    el("small", {}, `${about} · record ${view.record_version.slice(0, 8)} as of ${clock(view.as_of)}`),
    el("h3", {}, "Risks"),
    ...view.risks.map(riskBar),
    el("div", { class: "charts" }, ...courses(view)),
    ...drivers(view),
    el("h3", {}, "What there is, what is missing or stale"),
    modalities(view.modalities),
    el("h3", {}, `Series (${view.series.length})`),
    el("div", { class: "charts", id: "series" }, ...view.series.map(lineChart)),
    ...images(view.images),
    ...list("Notes", view.notes, (note) => [note.title || "note", `${clock(note.time)}${note.encoded ? "" : " · not encoded yet"}`]),
    ...list("Diagnoses", view.conditions, (item) => [item.name, clock(item.time)]),
    ...list("Medication", view.medications, (item) => [item.name, clock(item.time)]),
  ];
}

function courses(view) {
  return view.courses
    .map((course) => {
      const judged = course.points.filter((p) => p[1] !== null);
      const scored = course.points.filter((p) => p[2] !== null);
      const rule = view.risks.find((risk) => risk.outcome === course.outcome && risk.model === course.model)?.threshold;
      const name = `${OUTCOMES[course.outcome] ?? course.outcome} (${course.model})`;
      if (judged.length) {
        return lineChart({
          name, points: judged.map((p) => [p[0], p[1]]), low: 0, rule, format: percent, alerts: judged.map((p) => p[3]), height: 92,
        });
      }
      return scored.length ? lineChart({ name, points: scored.map((p) => [p[0], p[2]]), low: 0, high: 20, format: String }) : null;
    })
    .filter(Boolean);
}

function drivers(view) {
  return view.explanations.flatMap((why) => {
    const bars = [...why.modalities, ...why.features];
    if (!bars.length) return [];
    const most = Math.max(...bars.map((bar) => Math.abs(bar.value)), 0.01);
    return [
      el("h3", {}, `What drove ${OUTCOMES[why.outcome] ?? why.outcome}`, " ", el("small", {}, "log-odds; right raises the risk")),
      el("div", { class: "why-bars" }, ...why.modalities.flatMap((bar) => driver(bar, most, true)), ...why.features.flatMap((bar) => driver(bar, most, false))),
      el("p", { class: "trace" },
        `prediction ${why.prediction_id} · ${why.model} ${why.model_version} · weights ${why.weights_sha256.slice(0, 12)} · inputs ${why.input_sha256.slice(0, 12)} · features v${why.feature_version}`),
    ];
  });
}

function driver(bar, most, modality) {
  const width = `${((50 * Math.abs(bar.value)) / most).toFixed(1)}%`;
  const observed = bar.observed === undefined || bar.observed === null ? "" : typeof bar.observed === "number" ? trim(bar.observed) : bar.observed;
  const age = bar.age_hours ? ` ${hours(bar.age_hours)} ago` : "";
  return [
    el(modality ? "b" : "span", {}, bar.name),
    el("span", { class: "bar" }, el("i", { class: bar.value >= 0 ? "up" : "down", style: `width:${width}` })),
    el("span", { class: "note" }, `${bar.value >= 0 ? "+" : ""}${bar.value.toFixed(2)}${observed ? ` · ${observed}${age}` : ""}`),
  ];
}

function images(items) {
  if (!items.length) return [];
  return [
    el("h3", {}, "Images"),
    el("div", { class: "images" }, ...items.map((item) =>
      el("figure", {},
        item.thumbnail ? el("img", { src: `/api/images/${item.thumbnail}`, alt: `${item.modality} thumbnail` }) : el("small", {}, "not encoded yet"),
        el("figcaption", {}, `${item.modality} ${item.view_position}`, el("small", {}, clock(item.time))),
        ...Object.entries(item.findings).map(([name, p]) => el("small", {}, `${name} ${percent(p)}`)),
      ))),
  ];
}

function list(title, items, words) {
  if (!items.length) return [];
  return [
    el("h3", {}, `${title} (${items.length})`),
    el("ul", { class: "plain" }, ...items.map((item) => {
      const [left, right] = words(item);
      return el("li", {}, el("span", {}, left), el("small", {}, right));
    })),
  ];
}
