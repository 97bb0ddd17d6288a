"""The evaluation as a table for the terminal and as one self-contained HTML page with plots."""

from collections.abc import Sequence
from html import escape
from typing import Any

from training.evaluation.plots import plots

HEADLINE = {
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
    "lead_hours": "median hours from the first such alert to onset, and quartiles",
}

LABELS = {"auroc": "AUROC", "auprc": "AUPRC", "min_se_ppv": "min(Se, PPV)", "brier": "Brier score", "ppv": "PPV"}

_STYLE = """:root{color-scheme:light}body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;
padding:0 1rem;color:#1b1f24;background:#fff}h1{margin-bottom:.2rem}h2{margin-top:2rem}
table{border-collapse:collapse;margin:.5rem 0 1rem;font-variant-numeric:tabular-nums}
td,th{padding:.3rem .8rem;border-bottom:1px solid #d8dce1;text-align:right;vertical-align:top;
white-space:nowrap}th{background:#f4f6f8}td:first-child,th:first-child,td.words,th.words{text-align:left}td.words{color:#555;white-space:normal}
.wide{overflow-x:auto}.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(26rem,1fr));gap:1rem}
figure{margin:0;border:1px solid #d8dce1;border-radius:6px;padding:.4rem}svg{width:100%;height:auto}
svg text{font:11.5px system-ui,sans-serif;fill:#444}svg .title{font-weight:600;font-size:14px;fill:#1b1f24}
svg .grid{stroke:#e6e9ed}.note{color:#555}@media print{figure,table{break-inside:avoid}}"""


def text_table(found: dict[str, Any]) -> str:
    """The headline figures with intervals, alerts and controls, for a terminal."""
    lines = [
        f"{found['task']}: {found['n_patients']} patients, {found['n']} scores, prevalence {found['prevalence']:.4f}; "
        f"model {found['model'].get('name')} {found['model'].get('version')}"
    ]
    for part in (HEADLINE, AT_THRESHOLD, WITHHELD):
        lines += [f"  {name:<32}{with_interval(found, name)}" for name in part if found.get(name) is not None]
    alerts = found.get("alerts", {})
    lines += [f"  {name:<32}{with_interval(alerts, name)}" for name in ALERTS if name in alerts]
    lines += [
        f"  against {name}: AUROC {number(row['auroc'])}, model better by {with_interval(row, 'model_auroc_minus')}; "
        f"AUPRC {number(row['auprc'])}, by {with_interval(row, 'model_auprc_minus')}"
        + (f"; utility at its best {number(row['best_utility'])}" if "best_utility" in row else "")
        for name, row in found["controls"].items()
    ]
    return "\n".join(lines)


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
            f"<code>{escape(str(model.get('sha256', ''))[:16])}</code>. {found['n_patients']} patients, {found['n']} "
            f"scores, {found['n_positive']} positive ({found['prevalence']:.2%}).</p>",
            '<p class="note">Intervals: 95 %, bootstrap by patient. Threshold, calibration and indeterminate band were '
            "chosen on other patients. On the patients that the model was trained on the figures say nothing.</p>",
            "<h2>Figures</h2>",
            _figures(found, HEADLINE),
            f'<div class="plots">{plots(found)}</div>',
            *_at_threshold(found),
            "<h2>Against simple controls</h2>",
            _table(_CONTROL_HEAD, _control_rows(found)),
            '<p class="note">“Refitted here” is fitted on these very patients and cross-fitted among them, which the '
            "model is not. Utility: at the threshold that suits the control best, chosen in hindsight.</p>",
            "<h2>Subgroups</h2>",
            _table(_GROUP_HEAD, _subgroup_rows(found)),
            '<p class="note">Groups with fewer than ten positive or negative rows are counted and not judged.</p>',
            "</body></html>",
        ]
    )


def with_interval(found: dict[str, Any], name: str) -> str:
    """`0.871 [0.852, 0.889]`"""
    limits = found.get(f"{name}_ci") or found.get(f"{name}_iqr")
    return number(found.get(name)) + (f" [{number(limits[0])}, {number(limits[1])}]" if limits else "")


def number(value: Any) -> str:
    """Three decimals, two significant digits below a hundredth; a dash where there is no number."""
    if value is None or value != value:
        return "–"
    return f"{value:.2g}" if 0 < abs(value) < 0.01 else f"{value:.3f}"


def _figures(found: dict[str, Any], names: dict[str, str]) -> str:
    """One row for each figure that there is: its name, value, interval and how to read it."""
    rows = []
    for name, meaning in names.items():
        if found.get(name) is not None:
            value, _, limits = with_interval(found, name).partition(" ")
            rows.append([LABELS.get(name, name.replace("_", " ")), value, limits, meaning])
    return _table(["", "value", "95 % interval", "how to read it"], rows, words=3)


def _at_threshold(found: dict[str, Any]) -> list[str]:
    if found.get("threshold") is None:
        return []
    parts = [f"<h2>At the shipped threshold, {number(found['threshold'])}</h2>", _figures(found, AT_THRESHOLD)]
    if "indeterminate_share" in found:
        parts += ["<h2>What is withheld</h2>", _figures(found, WITHHELD)]
    if "alerts" in found:
        parts += ["<h2>What alerts would mean on the ward</h2>", _figures(found["alerts"], ALERTS)]
    return parts


_CONTROL_HEAD = ["control", "n", "AUROC", "AUPRC", "utility", "model better by (AUROC)", "(AUPRC)"]


def _control_rows(found: dict[str, Any]) -> list[list[str]]:
    return [
        [
            name,
            str(row["n"]),
            number(row["auroc"]),
            number(row["auprc"]),
            number(row.get("best_utility")),
            with_interval(row, "model_auroc_minus"),
            with_interval(row, "model_auprc_minus"),
        ]
        for name, row in found["controls"].items()
    ]


_GROUP_HEAD = ["", "n", "positive", "mean risk", "observed", "AUROC", "AUPRC", "calibration in the large"]


def _subgroup_rows(found: dict[str, Any]) -> list[list[str]]:
    return [
        [
            f"{row['variable']}: {row['value']}",
            str(row["n"]),
            str(row["n_positive"]),
            number(row["mean_risk"]),
            number(row["prevalence"]),
            *(with_interval(row, name) for name in ("auroc", "auprc", "calibration_intercept")),
        ]
        for row in found["subgroups"]
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], words: int | None = None) -> str:
    """A table; the column `words` is text and stands left."""

    def row(tag: str, cells: Sequence[str]) -> str:
        kinds = [' class="words"' if n == words else "" for n in range(len(cells))]
        return "".join(f"<{tag}{k}>{escape(c)}</{tag}>" for k, c in zip(kinds, cells, strict=True))

    body = "".join(f"<tr>{row('td', cells)}</tr>" for cells in rows)
    return f'<div class="wide"><table><tr>{row("th", head)}</tr>{body}</table></div>'
