// The pipeline's health: the monitor's newest figures, grouped by what an operator asks.

import { spark } from "./chart.js";
import { el, hint, load } from "./dom.js";
import { clockAndZone, hours, MODALITIES, number, outcome, percent } from "./words.js";

const STEPS = ["normalize", "assemble", "encode", "score", "fallback"];
const MODEL_ROWS = [
  ["labelled_predictions", "Outcomes known, predictions", number],
  ["outcome_share", "Share with the outcome", percent],
  ["auroc", "AUROC", fixed(3)],
  ["brier", "Brier score", fixed(3)],
  ["calibration_slope", "Calibration slope (ideal 1)", fixed(2)],
  ["calibration_intercept", "Calibration intercept (ideal 0)", fixed(2)],
  ["alert_share", "Share that alerts", percent],
  ["score_psi", "Drift of the risk (PSI)", fixed(2)],
];
const JUDGED_FROM = 5000; // as the alarm on calibration has it
const KNOWN = new Set([
  ...MODEL_ROWS.map(([name]) => name), "predictions", "predictions_per_second", "group_lag_messages", "latency_seconds", "data_age_seconds",
  "dead_letters", "filtered", "modality_missing_share", "modality_stale_share", "input_psi", "score_quantile",
]);

// Draws into `place` when it shows; returns the problems in any case.
export async function drawPipeline(place) {
  let health;
  try {
    health = await load("/api/health");
  } catch (error) {
    if (!place.hidden) place.replaceChildren(hint(error.message));
    return [];
  }
  if (!place.hidden) place.replaceChildren(...sections(health));
  return health.problems;
}

function sections({ figures, courses, drift, at, browsers, patients }) {
  if (!at) return [hint("No figures yet: is the monitor running? (wardstream run monitor)")];
  const get = (name) => figures[name] ?? [];
  return [
    el("p", { class: "hint flat" }, `Figures of ${clockAndZone(at)} from the topic monitoring.metrics. ${patients} patients on the board, ${browsers} browser${browsers === 1 ? "" : "s"} connected.`),
    el("div", { class: "tiles" },
      tile("Predictions a second", sum(get("predictions_per_second")), fixed(1), courses.predictions_per_second),
      tile("Acknowledged to prediction, p95", quantile(get("latency_seconds"), "0.95"), seconds, courses.latency_seconds),
      tile("Backlog, messages", get("group_lag_messages").length ? sum(get("group_lag_messages")) : null, number, courses.group_lag_messages),
      tile("Dead letters", sum(get("dead_letters")), number, courses.dead_letters, sum(get("dead_letters")) > 0),
    ),
    el("div", { class: "panels" },
      panel("Risks by state", throughput(get)),
      panel("Latency, acknowledged to readable prediction", table(get("latency_seconds").map((f) => [`p${Math.round(100 * f.quantile)}`, seconds(f.value)]))),
      panel("Backlog by step", table([...get("group_lag_messages")].sort((a, b) => STEPS.indexOf(a.group) - STEPS.indexOf(b.group)).map((f) => [f.group, number(f.value)]))),
      panel("Newest message by format", table(get("data_age_seconds").map((f) => [f.format, `${hours(f.value / 3600) === "0 min" ? `${Math.round(f.value)} s` : hours(f.value / 3600)} ago`]))),
      panel("Dead letters by reason", table(get("dead_letters").map((f) => [words(f.reason), number(f.value)]), "None.")),
      panel("Set aside by reason", table(get("filtered").map((f) => [words(f.reason), number(f.value)]), "None.")),
      panel("Data the models went without", shares(get("modality_missing_share"), get("modality_stale_share"))),
      ...models(figures, drift),
      panel("Input drift against training (PSI)", drifts(get("input_psi"), drift)),
      ...others(figures),
    ),
  ];
}

function throughput(get) {
  const counts = get("predictions");
  const rows = counts.map((f) => [`${f.model} ${f.version}, ${words(f.state)}`, number(f.value)]);
  return table(rows, "No predictions yet.");
}

function shares(missing, stale) {
  const rows = missing.map((f) => {
    const old = stale.find((s) => s.modality === f.modality && s.model === f.model)?.value;
    return [MODALITIES[f.modality] ?? f.modality, percent(f.value), old === undefined ? "–" : percent(old)];
  });
  return table(rows, "No predictions yet.", ["Data", "missing", "stale"]);
}

// One panel for each model: its outcomes side by side.
function models(figures, drift) {
  const all = Object.entries(figures).filter(([name]) => MODEL_ROWS.some(([known]) => known === name) || name === "score_quantile").flatMap(([, list]) => list);
  return [...new Set(all.map((f) => f.model))].sort().map((model) => {
    const outcomes = [...new Set(all.filter((f) => f.model === model).map((f) => f.outcome))].sort();
    const value = (name, of, format) => {
      const found = (figures[name] ?? []).find((f) => f.model === model && f.outcome === of);
      return found && (name !== "score_psi" || drift.judged) ? format(found.value) : "–";
    };
    const rows = MODEL_ROWS.map(([name, title, format]) => [title, ...outcomes.map((of) => value(name, of, format))]);
    const quantiles = [...new Set((figures.score_quantile ?? []).map((f) => f.quantile))].sort();
    const spread = quantiles.map((q) => [
      `Risk, ${Math.round(100 * q)}th percentile`,
      ...outcomes.map((of) => percent((figures.score_quantile ?? []).find((f) => f.model === model && f.outcome === of && f.quantile === q)?.value)),
    ]);
    const few = outcomes.filter((of) => ((figures.labelled_predictions ?? []).find((f) => f.model === model && f.outcome === of)?.value ?? 0) < JUDGED_FROM);
    return panel(`Model ${model}: ended stays, and risks now`, el("div", {},
      table([...rows, ...spread], "", ["Figure", ...outcomes.map(outcome)]),
      few.length ? hint(`${few.map(outcome).join(", ")}: below ${number(JUDGED_FROM)} predictions with a known outcome AUROC and calibration say little; no alarm rests on them.`) : null));
  });
}

function drifts(figures, drift) {
  if (!figures.length) return hint("Not enough values yet.");
  const rows = [...figures].sort((a, b) => b.value - a.value).map((f) => [f.feature, fixed(2)(f.value)]);
  if (drift.judged) return el("div", {}, table(rows), el("p", { class: "hint flat" }, `Above ${drift.bound} a variable has shifted.`));
  return el("details", { "data-name": "drift" },
    el("summary", {}, `Not judged: ${drift.patients} of the ${drift.needed} patients that it takes. A few patients never look like the training population.`),
    table(rows));
}

// Figures that this page does not know by name show all the same.
function others(figures) {
  return Object.entries(figures).filter(([name]) => !KNOWN.has(name)).map(([name, list]) =>
    panel(words(name), table(list.map(({ value, ...labels }) => [Object.values(labels).map(words).join(", ") || "all", number(value)]))));
}

function tile(title, value, format, course, bad = false) {
  return el("div", { class: bad ? "tile bad" : "tile", "data-figure": title },
    el("span", {}, title), el("b", {}, value === null || value === undefined ? "–" : format(value)),
    spark(course ?? [], { width: 160, height: 34, label: `${title}, course` }));
}

function panel(title, content) {
  return el("div", { class: "panel", "data-figure": title }, el("h2", {}, title), content);
}

function table(rows, empty = "No figures yet.", head = null) {
  if (!rows.length) return hint(empty);
  return el("table", {},
    head ? el("thead", {}, el("tr", {}, head.map((cell) => el("th", {}, cell)))) : null,
    el("tbody", {}, rows.map((row) => el("tr", {}, row.map((cell) => el("td", {}, cell))))));
}

function fixed(digits) {
  return (v) => v.toFixed(digits);
}

const seconds = (v) => (v < 1 ? `${Math.round(1000 * v)} ms` : `${v.toFixed(v < 10 ? 2 : 0)} s`);
const words = (text) => text.replaceAll("_", " ");
const sum = (list) => list.reduce((total, f) => total + f.value, 0);
const quantile = (list, q) => list.find((f) => f.quantile === q)?.value ?? null;
