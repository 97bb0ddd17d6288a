// The pipeline's health: the monitor's newest figures, and the models' cards.

import { clock, el } from "./dom.js";

const TITLES = {
  predictions: "Predictions", predictions_per_second: "Predictions a second", alert_share: "Share that alerts",
  group_lag_messages: "Backlog (messages)", latency_seconds: "Acknowledged to prediction (s)", data_age_seconds: "Newest message (s ago)",
  modality_missing_share: "Missing modalities (share)", modality_stale_share: "Stale modalities (share)",
  input_psi: "Input drift (PSI)", score_psi: "Score drift (PSI)", score_quantile: "Score distribution",
  auroc: "AUROC on ended stays", brier: "Brier score", calibration_slope: "Calibration slope", calibration_intercept: "Calibration intercept",
  labelled_predictions: "Predictions with known outcome", outcome_share: "Share with the outcome",
  shadow_pairs: "Shadow: records both scored", shadow_alert_agreement: "Shadow: same alert (share)", shadow_mean_difference: "Shadow: mean difference of risks",
  shadow_correlation: "Shadow: correlation of risks", shadow_labelled: "Shadow: pairs with known outcome", shadow_auroc: "Shadow: AUROC of both",
  shadow_brier: "Shadow: Brier score of both", shadow_calibration_slope: "Shadow: calibration slope of both", shadow_calibration_intercept: "Shadow: calibration intercept of both",
  dead_letters: "Dead letters", filtered: "Filtered messages",
};
const ORDER = Object.keys(TITLES);

export async function drawPipeline(place) {
  const health = await (await fetch("/api/health")).json();
  const names = Object.keys(health.figures).sort((a, b) => ORDER.indexOf(a) - ORDER.indexOf(b));
  place.replaceChildren(
    el("p", { class: "hint" }, health.at ? `Figures of ${clock(health.at)} UTC, from monitoring.metrics` : "No figures yet: is the monitor running?"),
    el("div", { class: "panels" }, ...names.map((name) => panel(TITLES[name] ?? name, health.figures[name]))),
  );
  return health.problems;
}

function panel(title, figures) {
  const rows = figures.map((figure) => {
    const labels = Object.entries(figure).filter(([key]) => key !== "value").map(([, value]) => value);
    return el("tr", {}, el("td", {}, labels.join(" · ") || "all"), el("td", {}, number(figure.value)));
  });
  return el("div", { class: "panel", "data-figure": title }, el("h3", {}, title), el("table", {}, el("tbody", {}, ...rows)));
}

const number = (v) => (Number.isInteger(v) ? v.toLocaleString("en") : Math.abs(v) < 0.001 ? v.toExponential(1) : v.toPrecision(3));

export async function drawModels(place) {
  const { cards } = await (await fetch("/api/models")).json();
  place.replaceChildren(
    el("div", {}, ...Object.entries(cards).map(([name, text]) =>
      el("details", { class: "panel" }, el("summary", {}, el("b", {}, name)), el("pre", { class: "card" }, text)))),
  );
}
