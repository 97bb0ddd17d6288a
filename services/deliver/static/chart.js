// Line charts as SVG: time along, value up. One time axis for all charts of a patient, so that they read across.

import { el, svg } from "./dom.js";
import { clock, dayAndTime, trim } from "./words.js";

const WIDTH = 320, LEFT = 4, RIGHT = 40, TOP = 7, BOTTOM = 14;

// points: [epoch ms, value, flag or alert]. low, high: fixed ends of the value axis. rule: a dashed line (a threshold).
// band: {low, high, source}, shaded. domain: [from, to] in epoch ms.
export function lineChart({ name, unit, points, domain, height = 78, low, high, rule, band, format = trim, code, alerts = false }) {
  const shown = points.filter((p) => p[0] >= domain[0] && p[0] <= domain[1]);
  const readout = el("span", { class: "readout" });
  const figure = el("figure", { "data-code": code, class: "chart" }, el("figcaption", {}, el("span", {}, name), readout));
  const say = (point, moment = false) => {
    readout.replaceChildren(el("b", {}, format(point[1])), unit ? ` ${unit}` : "", moment ? el("small", {}, ` ${dayAndTime(point[0])}`) : "");
  };
  const last = points.at(-1);
  if (last) say(last);
  if (!shown.length) {
    figure.append(el("small", {}, last ? `nothing in this span; last ${clock(last[0])}` : "no values"));
    return figure;
  }
  const values = shown.map((p) => p[1]);
  const [bottom, top] = ends(values, low, high, rule);
  const x = (t) => LEFT + ((t - domain[0]) / (domain[1] - domain[0] || 1)) * (WIDTH - LEFT - RIGHT);
  const y = (v) => TOP + (1 - (v - bottom) / (top - bottom || 1)) * (height - TOP - BOTTOM);
  const label = `${name} over time: ${shown.length} value${shown.length > 1 ? "s" : ""}, last ${format(values.at(-1))}, lowest ${format(Math.min(...values))}, highest ${format(Math.max(...values))}${unit ? ` ${unit}` : ""}`;
  const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": label });
  if (band) drawing.append(...shade(band, bottom, top, y));
  drawing.append(svg("line", { class: "axis", x1: LEFT, x2: WIDTH - RIGHT, y1: height - BOTTOM, y2: height - BOTTOM }));
  if (rule !== undefined && rule !== null) drawing.append(svg("line", { class: "rule", x1: LEFT, x2: WIDTH - RIGHT, y1: y(rule), y2: y(rule) }));
  if (shown.length > 1) drawing.append(svg("polyline", { class: "line", points: shown.map((p) => `${x(p[0]).toFixed(1)},${y(p[1]).toFixed(1)}`).join(" ") }));
  for (const p of shown) {
    const marked = alerts ? p[2] : Boolean(p[2]) && p[2] !== "N";
    if (shown.length < 60 || marked) drawing.append(svg("circle", { class: marked ? "dot alert" : "dot", cx: x(p[0]), cy: y(p[1]), r: marked ? 2.4 : 1.6 }));
  }
  drawing.append(text(WIDTH - RIGHT + 4, TOP + 4, format(top)), text(WIDTH - RIGHT + 4, height - BOTTOM, format(bottom)));
  drawing.append(text(LEFT, height - 3, dayAndTime(domain[0])), text(WIDTH - RIGHT, height - 3, dayAndTime(domain[1]), "end"));
  follow(drawing, shown, x, y, height, say, () => say(last));
  figure.append(drawing);
  return figure;
}

function ends(values, low, high, rule) {
  const bottom = low ?? Math.min(...values), top = high ?? Math.max(...values, rule ?? -Infinity);
  if (top > bottom) return [bottom, low === undefined || high === undefined ? top + (high === undefined && low !== undefined ? (top - bottom) * 0.12 : 0) : top];
  const room = Math.abs(bottom) * 0.05 || 1;
  return [low ?? bottom - room, high ?? top + room];
}

function shade(band, bottom, top, y) {
  const from = Math.max(bottom, band.low ?? bottom), to = Math.min(top, band.high ?? top);
  if (to <= from) return [];
  const box = svg("rect", { class: "band", x: LEFT, width: WIDTH - LEFT - RIGHT, y: y(to), height: y(from) - y(to) });
  return [box];
}

// The value nearest to the pointer shows in the caption.
function follow(drawing, points, x, y, height, say, rest) {
  const mark = svg("line", { class: "cursor", y1: TOP, y2: height - BOTTOM, visibility: "hidden" });
  drawing.append(mark);
  drawing.addEventListener("pointermove", (event) => {
    const box = drawing.getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width) * WIDTH;
    const nearest = points.reduce((best, p) => (Math.abs(x(p[0]) - at) < Math.abs(x(best[0]) - at) ? p : best));
    for (const end of ["x1", "x2"]) mark.setAttribute(end, x(nearest[0]));
    mark.setAttribute("visibility", "visible");
    say(nearest, true);
  });
  drawing.addEventListener("pointerleave", () => {
    mark.setAttribute("visibility", "hidden");
    rest();
  });
}

function text(x, y, content, anchor = "start") {
  const node = svg("text", { x, y, "text-anchor": anchor });
  node.textContent = content;
  return node;
}

// A small curve without axes; `rule` is dashed where it lies within. points: [x, value].
export function spark(points, { width = 64, height = 16, rule = null, label = "" } = {}) {
  const drawing = svg("svg", { class: "spark", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label, preserveAspectRatio: "none" });
  if (points.length < 2) return drawing;
  const values = points.map((p) => p[1]);
  const bottom = rule === null ? Math.min(...values) : 0, top = Math.max(...values, rule === null ? -Infinity : rule * 1.1);
  const [t0, t1] = [points[0][0], points.at(-1)[0]];
  const x = (t) => 1 + ((t - t0) / (t1 - t0 || 1)) * (width - 2);
  const y = (v) => 1 + (1 - (v - bottom) / (top - bottom || 1)) * (height - 2);
  if (rule !== null) drawing.append(svg("line", { class: "rule", x1: 0, x2: width, y1: y(rule), y2: y(rule), "vector-effect": "non-scaling-stroke" }));
  drawing.append(svg("polyline", { class: "line", points: points.map((p) => `${x(p[0]).toFixed(1)},${y(p[1]).toFixed(1)}`).join(" "), "vector-effect": "non-scaling-stroke" }));
  return drawing;
}
