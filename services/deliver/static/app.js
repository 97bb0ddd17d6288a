// Wires the views to the addresses and to the live stream.

import { load } from "./dom.js";
import { drawModels } from "./models.js";
import { drawPatient } from "./patient.js";
import { drawPipeline } from "./pipeline.js";
import { Ward } from "./ward.js";
import { showIn, zoneName } from "./words.js";

const VIEWS = ["ward", "pipeline", "models"];
const HEALTH_EVERY_MS = 5000;
const REDRAW_AFTER_MS = 150; // a burst of one patient's rows is one redraw

const byId = (id) => document.getElementById(id);
const patientPlace = byId("patient");
const live = byId("live");
let chosen = "";
let redraw = 0;

const ward = new Ward((patient) => {
  if (location.hash === `#ward/${patient}`) route();
  else location.hash = `#ward/${patient}`;
});

async function loadWard() {
  const askedAt = performance.now();
  try {
    const answer = await load("/api/ward");
    if (showIn(answer.time_zone)) ward.forget();
    byId("zone").textContent = zoneName();
    ward.load(answer, askedAt);
    byId("session").hidden = !answer.caller;
    byId("caller").textContent = answer.caller;
  } catch (error) {
    byId("empty").hidden = false;
    byId("empty").textContent = error.message;
    return;
  }
  sources();
  if (chosen) show();
}

function show() {
  drawPatient(chosen, patientPlace, (key) => location.replace(`#ward/${key}`));
}

function sources() {
  const names = [...new Set([...ward.rows.values()].map((row) => (row.synthetic ? "SYNTHETIC: simulated patients" : row.origin)).filter(Boolean))].sort();
  const place = byId("source");
  const text = names.length > 2 ? `Data of ${names.length} sources` : names.join("; ");
  if (place.textContent !== text) place.textContent = text;
  place.title = names.join("\n");
  place.classList.toggle("synthetic", names.some((name) => name.startsWith("SYNTHETIC")));
}

function route() {
  const [name, patient] = (location.hash.slice(1) || "ward").split("/");
  const view = VIEWS.includes(name) ? name : "ward";
  for (const one of VIEWS) {
    byId(`view-${one}`).hidden = one !== view;
    if (one === view) byId(`tab-${one}`).setAttribute("aria-current", "page");
    else byId(`tab-${one}`).removeAttribute("aria-current");
  }
  if (view === "ward") {
    chosen = patient ?? "";
    byId("view-ward").classList.toggle("chosen", Boolean(chosen));
    ward.select(chosen);
    if (chosen) show();
    else patientPlace.replaceChildren(Object.assign(document.createElement("p"), { className: "hint", textContent: "Choose a patient." }));
  }
  if (view === "models") drawModels(byId("view-models"));
  refreshHealth();
}

async function refreshHealth() {
  const problems = await drawPipeline(byId("view-pipeline"));
  const fallback = [...ward.rows.values()].filter((row) => row.present && row.risks.some((risk) => risk.status === "fallback")).length;
  if (fallback) problems.unshift(`The model server is away: NEWS2 stands in for ${fallback} patient${fallback === 1 ? "" : "s"}`);
  const place = byId("problems");
  const text = problems.join("; ");
  place.hidden = !text;
  if (place.textContent !== text) place.textContent = text;
}

function listen() {
  const events = new EventSource("/events");
  events.onopen = () => {
    live.textContent = "live";
    live.classList.add("on");
    loadWard();
  };
  events.onerror = () => {
    live.textContent = "connection lost, trying again";
    live.classList.remove("on");
    if (events.readyState === EventSource.CLOSED) setTimeout(listen, 5000); // the server said no: it is busy
  };
  events.addEventListener("row", (event) => {
    const row = JSON.parse(event.data);
    ward.put(row);
    sources();
    if (row.patient === chosen && !redraw) {
      redraw = setTimeout(() => {
        redraw = 0;
        if (chosen) show();
      }, REDRAW_AFTER_MS);
    }
  });
  events.addEventListener("gone", (event) => {
    const { patient, into } = JSON.parse(event.data);
    ward.remove(patient);
    if (patient !== chosen) return;
    if (into !== patient) location.replace(`#ward/${into}`);
    else show();
  });
  events.addEventListener("reload", loadWard);
}

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address after # is the view
  byId("main").focus();
});
window.addEventListener("hashchange", route);
setInterval(() => document.visibilityState === "visible" && refreshHealth(), HEALTH_EVERY_MS);
route();
listen();
