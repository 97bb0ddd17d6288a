// The ward list: patients by risk, updated row by row as the stream brings them.

import { clock, el, hours, OUTCOMES, percent, REASONS, short } from "./dom.js";

export class Ward {
  constructor(choose) {
    this.choose = choose;
    this.rows = new Map();
    this.chosen = "";
    this.body = document.getElementById("rows");
    this.unit = document.getElementById("unit");
    this.left = document.getElementById("left");
    this.unit.addEventListener("change", () => this.draw());
    this.left.addEventListener("change", () => this.draw());
    this.waiting = false;
  }

  load(patients) {
    this.rows = new Map(patients.map((row) => [row.patient, row]));
    this.draw();
  }

  put(row) {
    this.rows.set(row.patient, row);
    this.soon();
  }

  remove(patient) {
    this.rows.delete(patient);
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

  draw() {
    this.units();
    const shown = [...this.rows.values()]
      .filter((row) => (this.left.checked || row.present) && (!this.unit.value || row.unit === this.unit.value))
      .sort((a, b) => b.present - a.present || b.urgency - a.urgency || (a.patient < b.patient ? -1 : 1));
    this.body.replaceChildren(...shown.slice(0, 300).map((row) => this.line(row)));
    const present = [...this.rows.values()].filter((row) => row.present).length;
    document.getElementById("count").textContent = `${present} present, ${this.rows.size} known`;
    document.getElementById("empty").hidden = this.rows.size > 0;
  }

  units() {
    const names = [...new Set([...this.rows.values()].map((row) => row.unit).filter(Boolean))].sort();
    if (names.join() === this.known) return;
    this.known = names.join();
    const value = this.unit.value;
    this.unit.replaceChildren(el("option", { value: "" }, "all"), ...names.map((name) => el("option", { value: name }, name)));
    this.unit.value = names.includes(value) ? value : "";
  }

  line(row) {
    const about = [row.age === null ? null : `${row.age} y`, row.sex].filter(Boolean).join(", ");
    return el(
      "tr",
      {
        class: row.present ? "row" : "row left",
        tabindex: 0,
        "data-patient": row.patient,
        "aria-selected": row.patient === this.chosen ? "true" : "false",
        onclick: () => this.choose(row.patient),
        onkeydown: (event) => event.key === "Enter" && this.choose(row.patient),
      },
      el("td", {}, el("span", { class: "key" }, short(row.patient)), el("br"), el("small", {}, about)),
      el(
        "td", {}, row.unit || "–", row.bed ? ` ${row.bed}` : "", el("br"),
        row.present ? sourceBadge(row) : el("small", {}, row.disposition || "discharged"),
      ),
      el("td", {}, ...row.risks.map(riskBar)),
      el("td", {}, modalities(row.modalities)),
      el("td", {}, el("small", {}, clock(row.as_of))),
    );
  }
}

export function sourceBadge(row) {
  const label = row.synthetic ? "synthetic" : row.source;
  return label ? el("span", { class: row.synthetic ? "badge synthetic" : "badge" }, label) : el("small", {}, "");
}

export function riskBar(risk) {
  const name = OUTCOMES[risk.outcome] ?? risk.outcome;
  if (risk.probability === null && risk.score === null) {
    const why = risk.status === "indeterminate" ? REASONS[risk.reason] ?? risk.reason : risk.status;
    return el("div", { class: "risk" }, el("span", {}, name), el("span", { class: "why" }, `not judged: ${why}`));
  }
  const fallback = risk.probability === null;
  const share = fallback ? risk.score / 20 : risk.probability;
  return el(
    "div",
    { class: risk.alert ? "risk alert" : "risk", title: fallback ? "early-warning score while the model is away" : risk.model },
    el("span", {}, name),
    el(
      "span", { class: "track" },
      el("span", { class: "fill", style: `width:${Math.min(100, 100 * share).toFixed(1)}%` }),
      risk.threshold ? el("span", { class: "threshold", style: `left:${(100 * risk.threshold).toFixed(1)}%` }) : null,
    ),
    el("b", {}, fallback ? `${risk.score} pts` : percent(risk.probability)),
  );
}

export function modalities(states) {
  return el(
    "div", { class: "mods" },
    ...states.map((state) => {
      const age = hours(state.age_hours);
      const title = !state.present ? `${state.name}: missing` : `${state.name}: ${state.count} item(s)${age ? `, newest ${age} old` : ""}${state.stale ? ", stale" : ""}`;
      const kind = !state.present ? "mod absent" : state.stale ? "mod stale" : "mod";
      return el("span", { class: kind, title }, state.name);
    }),
  );
}
