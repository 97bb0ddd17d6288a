"""The evaluation as a table for the terminal and as one self-contained HTML page with plots."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from training.evaluation.plots import plots
from training.evaluation.reasons import LEAST_PATIENTS

HEADLINE = {
    "prevalence": "share of the rows that are positive",
    "auroc": "0.5 is chance, 1 perfect ranking",
    "auprc": "a risk that knows nothing has the prevalence",
    "min_se_ppv": "largest min(sensitivity, positive predictive value) of any threshold",
    "brier": "mean squared error of the risk; 0 is perfect",
    "calibration_slope": "1 is right; below 1 the risks are too extreme",
    "calibration_intercept": "0 is right; above 0 the risks are too low",
    "utility": "CinC 2019, at the shipped threshold; never alerting has 0, the best possible alerts 1",
}
"""The figures of the contract, in its order, and how to read each."""

AT_THRESHOLD = {
    "sensitivity": "share of the positive rows that are called",
    "specificity": "share of the negative rows that are not called",
    "ppv": "share of the calls that are right",
    "alert_share": "share of the rows that are called",
}
WITHHELD = {
    "indeterminate_share": "share of the scores inside the band that is published as indeterminate",
    "coverage_positive": "share of the positive rows whose conformal set holds the event",
    "coverage_negative": "share of the negative rows whose conformal set holds its absence",
}
ALERTS = {
    "alerts_per_patient_day": "hours with an alert, per patient and day",
    "ppv": "share of those hours that are within 6 h before onset or later",
    "shown_per_patient_day": "alerts shown when each one snoozes the next 6 h",
    "shown_ppv": "share of the shown alerts from 12 h before onset to 3 h after",
    "false_alarms_per_patient_hour": "shown alerts outside that window, per patient and hour",
    "sensitivity_by_patient": "share of septic patients alerted within 12 h before onset",
    "lead_hours": "median hours from the first such alert to onset",
}

_PARTS = (
    ("figures", HEADLINE, ""),
    ("at the shipped threshold, {}", AT_THRESHOLD, ""),
    ("withheld", WITHHELD, ""),
    ("alerts on the ward", ALERTS, "alerts."),
)
"""What the terminal shows: title, figures, and the place of their reasons."""

LABELS = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "min_se_ppv": "min(Se, PPV)",
    "brier": "Brier score",
    "calibration_intercept": "calibration in the large",
    "ppv": "PPV",
    "alert_share": "share called",
    "indeterminate_share": "withheld",
    "coverage_positive": "coverage of the positive",
    "coverage_negative": "coverage of the negative",
    "alerts_per_patient_day": "alerts per patient-day",
    "shown_per_patient_day": "shown alerts per patient-day",
    "shown_ppv": "PPV of shown alerts",
    "false_alarms_per_patient_hour": "false alarms per patient-hour",
    "sensitivity_by_patient": "septic patients alerted in time",
    "lead_hours": "lead time, hours",
}

_STYLE = """:root{color-scheme:light}body{font:15px/1.5 system-ui,sans-serif;max-width:78rem;margin:2rem auto;
padding:0 1rem;color:#1b1f24;background:#fff}h1{margin-bottom:.2rem}h2{margin-top:2rem}
table{border-collapse:collapse;margin:.5rem 0 1rem;font-variant-numeric:tabular-nums}
td,th{padding:.3rem .7rem;border-bottom:1px solid #d8dce1;text-align:right;vertical-align:top;
white-space:nowrap}th{background:#f4f6f8;white-space:normal;vertical-align:bottom}td small{display:block;color:#667}
td:first-child,th:first-child,td.words,th.words{text-align:left}td.words{color:#555;white-space:normal}
.wide{overflow-x:auto}.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(26rem,1fr));gap:1rem}
figure{margin:0;border:1px solid #d8dce1;border-radius:6px;padding:.4rem}svg{width:100%;height:auto}
svg text{font:11.5px system-ui,sans-serif;fill:#444}svg .title{font-weight:600;font-size:14px;fill:#1b1f24}
svg .grid{stroke:#e6e9ed}.note{color:#555}@media print{figure,table{break-inside:avoid}}"""


def text_table(found: dict[str, Any]) -> str:
    """The headline figures with intervals, alerts and controls, for a terminal."""
    lines = [f"{found['task']}: {_asked(found)}; model {found['model'].get('name')} {found['model'].get('version')}"]
    for title, names, place in _PARTS:
        rows = _rows(found, names, place)
        lines += [title.format(number(found["threshold"]))] if rows else []
        lines += [f"  {name:<32}{value} {limits}".rstrip() for name, value, limits in rows]
    lines += ["controls"] if found["controls"] else []
    lines += [f"  {name}: {_against(row)}" for name, row in found["controls"].items()]
    return "\n".join([*lines, *(f"left out: {line}" for line in _left_out(found))])


def _against(row: dict[str, Any]) -> str:
    return "; ".join(
        f"{label(metric)} {with_interval(row, metric)}, model better by " + with_interval(row, f"model_{metric}_minus")
        for metric in _COMPARED
        if metric in row
    )


def _asked(found: dict[str, Any]) -> str:
    """Who was asked about: `300 patients (17 with the event), 11000 scores, 212 positive (1.93%)`."""
    unknown = f"; {found['n_unlabelled']} stays left out, their outcome is not known" if found["n_unlabelled"] else ""
    return (
        f"{found['n_patients']} patients ({found['n_patients_positive']} with the event), {found['n']} scores, "
        f"{found['n_positive']} positive ({found['prevalence']:.2%}){unknown}"
    )


def _left_out(found: dict[str, Any]) -> list[str]:
    reasons = found["reasons"].items()
    return [f"control “{key.removeprefix('controls.')}”: {why}" for key, why in reasons if key.startswith("controls.")]


def _rows(found: dict[str, Any], names: Iterable[str], place: str = "") -> list[tuple[str, str, str]]:
    """Name, value, and interval or the reason that there is none, of the figures that this task has."""
    part, why, rows = found.get("alerts", {}) if place else found, found["reasons"], []
    for name in names:
        if name in part and (name != "utility" or "alerts" in found):
            value, _, limits = with_interval(part, name).partition(" ")
            rows.append((name, value, limits or why.get(place + name) or why.get(f"{place}{name}_ci", "")))
    return rows


def html_report(found: dict[str, Any]) -> str:
    """The page. Nothing in it is loaded from elsewhere."""
    title, model = f"Evaluation: {escape(found['task'])}", found["model"]
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{title}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{title}</h1>",
            f"<p>Model {escape(str(model.get('name')))} version {escape(str(model.get('version')))}, weights "
            f"<code>{escape(str(model.get('sha256', ''))[:16])}</code>. {escape(_asked(found))}.</p>",
            f'<p class="note">Intervals: 95 %, bootstrap by patient, {found["bootstrap_draws"]} draws. Threshold, '
            "calibration and indeterminate band were not chosen on these patients. On the patients that the model was "
            "trained on the figures say nothing.</p>",
            "<h2>Figures</h2>",
            _figures(found, HEADLINE),
            f'<div class="plots">{plots(found)}</div>',
            *_at_threshold(found),
            "<h2>Against simple controls</h2>",
            _controls(found),
            *(f'<p class="note">Left out: {escape(line)}.</p>' for line in _left_out(found)),
            f'<p class="note">“Refitted here” is fitted on these very patients and cross-fitted among them, which the '
            f"model is not.{_HINDSIGHT if 'alerts' in found else ''}</p>",
            "<h2>Subgroups</h2>",
            _table(_GROUP_HEAD, _subgroup_rows(found)),
            f'<p class="note">Sensitivity and PPV: at the shipped threshold. Groups with fewer than {LEAST_PATIENTS} '
            "patients with the event, or without it, are counted and not judged.</p>",
            "</body></html>",
        ]
    )


def with_interval(found: dict[str, Any], name: str) -> str:
    """`0.871 [0.852, 0.889]`"""
    low, high = found.get(f"{name}_ci") or (None, None)
    return number(found.get(name)) + (f" [{number(low)}, {number(high)}]" if low is not None else "")


def label(name: str) -> str:
    """What a reader calls the figure of this key."""
    return LABELS.get(name, name.replace("_", " "))


def number(value: Any) -> str:
    """Three decimals, two significant digits below a hundredth; a dash where there is no number."""
    if value is None or value != value:
        return "–"
    return f"{value:.2g}" if 0 < abs(value) < 0.01 else f"{value:.3f}"


def _figures(found: dict[str, Any], names: Mapping[str, str], place: str = "") -> str:
    """One row for each figure: its name, value, interval and how to read it."""
    rows = [[label(name), value, limits, names[name]] for name, value, limits in _rows(found, names, place)]
    return _table(["", "value", "95 % interval", "how to read it"], rows, words=3)


def _at_threshold(found: dict[str, Any]) -> list[str]:
    if found.get("threshold") is None:
        return []
    parts = [f"<h2>At the shipped threshold, {number(found['threshold'])}</h2>", _figures(found, AT_THRESHOLD)]
    if "indeterminate_share" in found:
        parts += ["<h2>What is withheld</h2>", _figures(found, WITHHELD)]
    if "alerts" in found:
        low, high = found["alerts"]["lead_hours_iqr"]
        parts += [
            "<h2>What alerts would mean on the ward</h2>",
            _figures(found, ALERTS, "alerts."),
            f'<p class="note">Quartiles of the lead time: {number(low)} and {number(high)} h.</p>',
        ]
    return parts


_HINDSIGHT = (
    " A control's utility is that of the threshold that suits it best, chosen in hindsight; the model's is that of its "
    "shipped threshold."
)
_COMPARED = ("auroc", "auprc", "utility")


def _controls(found: dict[str, Any]) -> str:
    compared = _COMPARED if "alerts" in found else _COMPARED[:2]
    head = ["control", "rows", *(word for m in compared for word in (label(m), "model better by"))]
    rows = [
        [
            name,
            str(row["n"]),
            *(with_interval(row, key) for metric in compared for key in (metric, f"model_{metric}_minus")),
        ]
        for name, row in found["controls"].items()
    ]
    return _table(head, rows)


_GROUP_HEAD = [
    *("", "patients", "with the event", "mean risk", "observed", "AUROC", "AUPRC"),
    *("calibration in the large", "sensitivity", "PPV"),
]
_GROUP_FIGURES = ("mean_risk", "prevalence", "auroc", "auprc", "calibration_intercept", "sensitivity", "ppv")


def _subgroup_rows(found: dict[str, Any]) -> list[list[str]]:
    return [
        [
            f"{row['variable']}: {row['value']}",
            str(row["n_patients"]),
            str(row["n_patients_positive"]),
            *(with_interval(row, name) for name in _GROUP_FIGURES),
        ]
        for row in found["subgroups"]
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], words: int | None = None) -> str:
    """A table; the column `words` is text and stands left, an interval stands below its figure."""

    def row(tag: str, cells: Sequence[str]) -> str:
        kinds = [' class="words"' if n == words else "" for n in range(len(cells))]
        return "".join(f"<{tag}{k}>{_cell(c)}</{tag}>" for k, c in zip(kinds, cells, strict=True))

    body = "".join(f"<tr>{row('td', cells)}</tr>" for cells in rows)
    return f'<div class="wide"><table><tr>{row("th", head)}</tr>{body}</table></div>'


def _cell(text: str) -> str:
    value, bracket, limits = escape(text).partition(" [")
    return f"{value}<small>[{limits}</small>" if bracket else value
