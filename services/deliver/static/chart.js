// Line charts as SVG: time along, value up, the last value in the caption.

import { el, svg } from "./dom.js";

const WIDTH = 320;

export function lineChart({ name, unit, points, height = 74, low, high, rule, format = (v) => trim(v), alerts }) {
  const figure = el("figure", { title: `${name}: ${points.length} value(s)` });
  const last = points.at(-1);
  figure.append(
    el("figcaption", {}, el("span", {}, name), el("span", {}, el("b", {}, last ? format(last[1]) : "–"), unit ? ` ${unit}` : "")),
  );
  if (!points.length) return figure;
  const times = points.map((p) => p[0]);
  const values = points.map((p) => p[1]);
  const [t0, t1] = [Math.min(...times), Math.max(...times)];
  const bottom = low ?? Math.min(...values), top = high ?? Math.max(...values, rule ?? -Infinity);
  const x = (t) => 4 + ((t - t0) / (t1 - t0 || 1)) * (WIDTH - 44);
  const y = (v) => 6 + (1 - (v - bottom) / (top - bottom || 1)) * (height - 20);
  const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": `${name} over time` });
  drawing.append(svg("line", { class: "axis", x1: 4, x2: WIDTH - 40, y1: height - 13, y2: height - 13 }));
  if (rule !== undefined && rule !== null) {
    drawing.append(svg("line", { class: "rule", x1: 4, x2: WIDTH - 40, y1: y(rule), y2: y(rule) }));
  }
  drawing.append(svg("polyline", { class: "line", points: points.map((p) => `${x(p[0])},${y(p[1])}`).join(" ") }));
  for (const [n, p] of points.entries()) {
    const alert = alerts?.[n];
    if (points.length < 60 || alert) {
      drawing.append(svg("circle", { class: alert ? "dot alert" : "dot", cx: x(p[0]), cy: y(p[1]), r: alert ? 2.6 : 1.6 }));
    }
  }
  drawing.append(text(WIDTH - 37, 11, format(top)), text(WIDTH - 37, height - 13, format(bottom)));
  drawing.append(text(4, height - 2, stamp(t0)), text(WIDTH - 40, height - 2, stamp(t1), "end"));
  figure.append(drawing);
  return figure;
}

function text(x, y, content, anchor = "start") {
  const node = svg("text", { x, y, "text-anchor": anchor });
  node.textContent = content;
  return node;
}

const stamp = (ms) => new Date(ms).toISOString().slice(5, 16).replace("T", " ");

export function trim(v) {
  const size = Math.abs(v);
  return size >= 100 ? v.toFixed(0) : size >= 10 ? v.toFixed(1) : v.toFixed(2);
}
