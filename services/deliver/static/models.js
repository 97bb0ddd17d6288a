// The models: what their manifests state, and their cards.

import { el, hint, load } from "./dom.js";
import { markdown } from "./markdown.js";
import { LONG, MODALITIES, percent } from "./words.js";

export async function drawModels(place) {
  let models;
  try {
    ({ models } = await load("/api/models"));
  } catch (error) {
    place.replaceChildren(hint(error.message));
    return;
  }
  place.replaceChildren(...(models.length ? models.map(model) : [hint("The model repository holds no model.")]));
}

function model(facts) {
  const rows = [
    ["Version", facts.version],
    ["Reads", facts.modalities_in_use.map((name) => MODALITIES[name] ?? name).join("; ")],
    ["Findings", facts.findings.join(", ")],
    ["Feature code", facts.feature_version || facts.preprocessing],
    ["Weights (SHA-256)", facts.weights_sha256],
  ].filter(([, value]) => value);
  return el(
    "article", { class: "panel model", "data-model": facts.model },
    el("h2", {}, facts.model),
    el("dl", { class: "pairs" }, rows.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])),
    facts.outcomes.length ? outcomes(facts.outcomes) : null,
    facts.card ? el("details", { open: true }, el("summary", {}, "Model card"), el("div", { class: "card" }, markdown(facts.card))) : hint("No model card beside this model."),
  );
}

function outcomes(list) {
  const head = ["Risk of", "Alert from", "Not judged between", "Stated coverage"];
  return el("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "Thresholds" }, el("table", {},
    el("thead", {}, el("tr", {}, head.map((cell) => el("th", {}, cell)))),
    el("tbody", {}, list.map((one) => el("tr", {},
      el("td", {}, LONG[one.name] ?? one.name),
      el("td", {}, percent(one.threshold)),
      el("td", {}, one.indeterminate ? `${percent(one.indeterminate[0])} and ${percent(one.indeterminate[1])}` : "–"),
      el("td", {}, percent(one.coverage)))))));
}
