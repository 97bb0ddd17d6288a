// A small part of Markdown as elements: headings, paragraphs, lists, tables, code, quotes, bold, emphasis, links' texts.
// Only text nodes are made of what is written: no HTML, no addresses are taken over.

import { el } from "./dom.js";

export function markdown(text) {
  const lines = text.replaceAll("\r\n", "\n").split("\n");
  const blocks = [];
  let at = 0;
  const take = (test) => {
    const taken = [];
    while (at < lines.length && test(lines[at])) taken.push(lines[at++]);
    return taken;
  };
  while (at < lines.length) {
    const line = lines[at];
    if (!line.trim() || /^\s*<!--.*-->\s*$/.test(line)) at += 1;
    else if (line.startsWith("```")) {
      at += 1;
      const code = take((l) => !l.startsWith("```"));
      at += 1;
      blocks.push(el("pre", {}, el("code", {}, code.join("\n"))));
    } else if (/^#{1,6} /.test(line)) {
      const [, marks, title] = /^(#+) +(.*?) *#*$/.exec(line);
      at += 1;
      blocks.push(el(`h${Math.min(6, marks.length + 2)}`, {}, inline(title)));
    } else if (/^\s*\|/.test(line)) blocks.push(table(take((l) => /^\s*\|/.test(l))));
    else if (LIST.test(line)) blocks.push(list(take((l) => LIST.test(l) || (/^\s+\S/.test(l)))));
    else if (line.startsWith(">")) blocks.push(el("blockquote", {}, inline(take((l) => l.startsWith(">")).map((l) => l.replace(/^> ?/, "")).join(" "))));
    else if (/^(-{3,}|\*{3,}|_{3,})\s*$/.test(line)) {
      at += 1;
      blocks.push(el("hr"));
    } else blocks.push(el("p", {}, inline(take((l) => l.trim() && !STARTS.test(l)).join(" ") || lines[at++])));
  }
  return blocks;
}

const LIST = /^\s*([-*+]|\d+[.)]) +/;
const STARTS = /^(#{1,6} |```|>|\s*\|)|^\s*([-*+]|\d+[.)]) +/;

function list(lines) {
  const items = [];
  for (const line of lines) {
    if (LIST.test(line)) items.push(line.replace(LIST, ""));
    else items[items.length - 1] += ` ${line.trim()}`;
  }
  return el(/^\s*\d/.test(lines[0]) ? "ol" : "ul", {}, items.map((item) => el("li", {}, inline(item))));
}

function table(lines) {
  const rows = lines.map((line) => line.trim().replace(/^\||\|$/g, "").split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|")));
  const ruled = rows.length > 1 && rows[1].every((cell) => /^:?-+:?$/.test(cell));
  const body = ruled ? rows.slice(2) : rows;
  const label = `Table: ${rows[0].filter(Boolean).join(", ")}`;
  return el("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": label }, el("table", {},
    ruled ? el("thead", {}, el("tr", {}, rows[0].map((cell) => el(cell ? "th" : "td", {}, inline(cell))))) : null,
    el("tbody", {}, body.map((row) => el("tr", {}, row.map((cell) => el("td", {}, inline(cell))))))));
}

function inline(text) {
  const parts = [];
  const pattern = /`([^`]+)`|\*\*(.+?)\*\*|(?<![\w*])\*([^*\s][^*]*)\*(?!\w)|(?<!\w)_([^_\s][^_]*)_(?!\w)|!?\[([^\]]*)\]\(([^)\s]*)[^)]*\)/g;
  let from = 0;
  for (const match of text.matchAll(pattern)) {
    parts.push(text.slice(from, match.index));
    const [, code, bold, star, under, label, address] = match;
    if (code !== undefined) parts.push(el("code", {}, code));
    else if (bold !== undefined) parts.push(el("b", {}, inline(bold)));
    else if (star !== undefined || under !== undefined) parts.push(el("em", {}, inline(star ?? under)));
    else parts.push(label === address || !address ? label : `${label} (${address})`);
    from = match.index + match[0].length;
  }
  parts.push(text.slice(from));
  return parts.filter((part) => part !== "");
}
