// Wires the views to the addresses and to the live stream.

import { drawPatient } from "./patient.js";
import { drawModels, drawPipeline } from "./pipeline.js";
import { Ward } from "./ward.js";

const views = ["ward", "pipeline", "models"];
const patientPlace = document.getElementById("patient");
const live = document.getElementById("live");
let chosen = "";
let redraw = 0;

const ward = new Ward((patient) => {
  location.hash = `#ward/${patient}`;
});

async function loadWard() {
  ward.load((await (await fetch("/api/ward")).json()).patients);
  sources();
  if (chosen) drawPatient(chosen, patientPlace);
}

function sources() {
  const names = [...new Set([...ward.rows.values()].map((row) => (row.synthetic ? "SYNTHETIC patients" : row.source)).filter(Boolean))];
  document.getElementById("source").textContent = names.length ? `Data: ${names.sort().join(", ")}` : "";
}

function route() {
  const [view, patient] = (location.hash.slice(1) || "ward").split("/");
  for (const name of views) {
    document.getElementById(`view-${name}`).hidden = name !== view;
    document.getElementById(`tab-${name}`).toggleAttribute("aria-current", name === view);
  }
  if (view === "ward") {
    chosen = patient ?? "";
    ward.select(chosen);
    if (chosen) drawPatient(chosen, patientPlace);
  }
  if (view === "models") drawModels(document.getElementById("view-models"));
  refreshHealth();
}

async function refreshHealth() {
  const problems = await drawPipeline(document.getElementById("view-pipeline")).catch(() => []);
  const place = document.getElementById("problems");
  place.hidden = !problems.length;
  place.textContent = problems.join("; ");
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
  };
  events.addEventListener("row", (event) => {
    const row = JSON.parse(event.data);
    ward.put(row);
    sources();
    if (row.patient === chosen && !redraw) {
      redraw = setTimeout(() => {
        redraw = 0;
        if (chosen) drawPatient(chosen, patientPlace);
      }, 400);
    }
  });
  events.addEventListener("gone", (event) => ward.remove(JSON.parse(event.data).patient));
  events.addEventListener("reload", loadWard);
}

window.addEventListener("hashchange", route);
setInterval(refreshHealth, 5000);
route();
listen();
