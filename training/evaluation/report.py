"""The evaluation as a table for the terminal and as one self-contained HTML page with plots (inline SVG)."""

from collections.abc import Sequence
from html import escape
from typing import Any

HEADLINE = ("auroc", "auprc", "min_se_ppv", "brier", "calibration_slope", "calibration_intercept", "utility")
Line = tuple[str, str, Sequence[tuple[float, float]]]  # name, colour, points
BLUE, GREY, RED = "#1f5fa8", "#8a8f98", "#b3372f"

_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}
table{border-collapse:collapse;margin:.5rem 0 1.5rem}td,th{padding:.25rem .8rem;border-bottom:1px solid #d8dce1;
text-align:right}td:first-child,th:first-child{text-align:left}svg{margin:0 1rem 1rem 0}.plots{display:flex;
flex-wrap:wrap}text{font:11px system-ui,sans-serif;fill:#444}"""


def text_table(found: dict[str, Any]) -> str:
    """The headline figures with intervals, and the controls, for a terminal."""
    lines = [
        f"{found['task']}: {found['n_patients']} patients, {found['n']} scores, prevalence {found['prevalence']:.4f}; "
        f"model {found['model'].get('name')} {found['model'].get('version')}"
    ]
    lines += [f"  {name:<24}{with_interval(found, name)}" for name in HEADLINE if found.get(name) is not None]
    for name, value in found.get("alerts", {}).items():
        if not name.endswith(("_ci", "_iqr")):
            lines.append(f"  {name:<34}{number(value)}")
    lines += [
        f"  against {name}: AUROC {row['auroc']:.3f}, model better by {row['model_auroc_minus']:.3f} "
        f"[{row['model_auroc_minus_ci'][0]:.3f}, {row['model_auroc_minus_ci'][1]:.3f}]"
        for name, row in found["controls"].items()
    ]
    return "\n".join(lines)


def html_report(found: dict[str, Any]) -> str:
    """The page. Nothing in it is loaded from elsewhere."""
    title = f"Evaluation: {escape(found['task'])}"
    model = found["model"]
    return "\n".join(
        [
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>',
            f"<h1>{title}</h1>",
            f"<p>Model {escape(str(model.get('name')))} version {escape(str(model.get('version')))}, weights "
            f"<code>{escape(str(model.get('sha256', ''))[:16])}</code>. {found['n_patients']} patients, {found['n']} "
            f"scores, {found['n_positive']} positive ({found['prevalence']:.2%}). Intervals: 95 %, bootstrap by "
            "patient. The threshold was chosen on other patients. On the patients of the training set the figures "
            "say nothing.</p>",
            "<h2>Figures</h2>",
            _table(["", "value", "95 % interval"], _headline(found)),
            f'<div class="plots">{_plots(found)}</div>',
            *_alerts(found),
            "<h2>Against simple controls</h2>",
            _table(["control", "n", "AUROC", "AUPRC", "model better by (AUROC)", "(AUPRC)"], _control_rows(found)),
            "<h2>Subgroups</h2>",
            _table(
                ["", "n", "positive", "mean risk", "observed", "AUROC", "AUPRC", "calibration in the large"],
                _subgroup_rows(found),
            ),
            "</html>",
        ]
    )


def with_interval(found: dict[str, Any], name: str) -> str:
    """`0.871 [0.852, 0.889]`"""
    limits = found.get(f"{name}_ci")
    return number(found.get(name)) + (f" [{number(limits[0])}, {number(limits[1])}]" if limits else "")


def number(value: Any) -> str:
    """Three decimals; a dash where there is no number."""
    return "–" if value is None or value != value else f"{value:.3f}"


def _headline(found: dict[str, Any]) -> list[list[str]]:
    rows = []
    for name in (*HEADLINE, "sensitivity", "specificity", "ppv", "alert_share"):
        if found.get(name) is not None:
            limits = found.get(f"{name}_ci")
            shown = f"{number(limits[0])} to {number(limits[1])}" if limits else ""
            rows.append([name.replace("_", " "), number(found[name]), shown])
    return rows


def _alerts(found: dict[str, Any]) -> list[str]:
    if "alerts" not in found:
        return []
    alerts = found["alerts"]
    rows = [
        [name.replace("_", " "), with_interval(alerts, name)] for name in alerts if not name.endswith(("_ci", "_iqr"))
    ]
    return ["<h2>Alerts at the threshold</h2>", _table(["", "value"], rows)]


def _control_rows(found: dict[str, Any]) -> list[list[str]]:
    return [
        [
            name,
            str(row["n"]),
            number(row["auroc"]),
            number(row["auprc"]),
            with_interval(row, "model_auroc_minus"),
            with_interval(row, "model_auprc_minus"),
        ]
        for name, row in found["controls"].items()
    ]


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


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{body}</table>"


def _plots(found: dict[str, Any]) -> str:
    drawn = found["curves"]
    diagonal = [(0.0, 0.0), (1.0, 1.0)]
    reliability = [(risk, share) for risk, share, _ in drawn["reliability"]]
    most = max([0.05, *(max(pair) for pair in reliability)])
    decision = drawn["decision"]
    best = max([0.001, *(b for _, b, _ in decision)])
    benefit = [(t, max(b, -best / 4)) for t, b, _ in decision]
    everyone = [(t, b) for t, _, b in decision if b >= -best / 4]
    return "".join(
        [
            plot(
                "Reliability",
                "mean risk",
                "observed share",
                [("ideal", GREY, [(0, 0), (most, most)]), ("model", BLUE, reliability)],
            ),
            plot("ROC", "1 - specificity", "sensitivity", [("chance", GREY, diagonal), ("model", BLUE, drawn["roc"])]),
            plot("Precision-recall", "recall", "precision", [("model", BLUE, drawn["precision_recall"])]),
            plot(
                "Decision curve", "threshold", "net benefit", [("treat all", RED, everyone), ("model", BLUE, benefit)]
            ),
        ]
    )


def plot(title: str, x_name: str, y_name: str, lines: Sequence[Line], width: int = 300, height: int = 250) -> str:
    """One line plot as SVG; the axes span the points, and 0."""
    points = [point for _, _, line in lines for point in line] or [(0.0, 0.0)]
    left, right = min(0.0, *(x for x, _ in points)), max(x for x, _ in points) or 1.0
    low, high = min(0.0, *(y for _, y in points)), max(y for _, y in points) or 1.0

    def place(x: float, y: float) -> str:
        across = 48 + (x - left) / (right - left or 1) * (width - 60)
        return f"{across:.1f},{height - 38 - (y - low) / (high - low or 1) * (height - 66):.1f}"

    frame = f'<polyline fill="none" stroke="#333" points="{place(left, high)} {place(left, low)} {place(right, low)}"/>'
    paths = "".join(
        f'<polyline fill="none" stroke="{colour}" stroke-width="1.8" points="{" ".join(place(x, y) for x, y in line)}">'
        f"<title>{escape(name)}</title></polyline>"
        for name, colour, line in lines
    )
    legend = "".join(
        f'<text x="{width - 90}" y="{height - 62 + 14 * n}" style="fill:{colour}">{escape(name)}</text>'
        for n, (name, colour, _) in enumerate(lines)
    )
    ticks = (
        f'<text x="4" y="{height - 36}">{low:.2g}</text><text x="4" y="34">{high:.2g}</text>'
        f'<text x="46" y="{height - 22}">{left:.2g}</text><text x="{width - 30}" y="{height - 22}">{right:.2g}</text>'
    )
    names = (
        f'<text x="{width / 2 - 20}" y="{height - 8}">{escape(x_name)}</text><text x="4" y="14">{escape(y_name)}</text>'
    )
    return (
        f'<svg width="{width}" height="{height}" role="img" aria-label="{escape(title)}">'
        f'<text x="{width / 2 - 30}" y="14" font-weight="bold">{escape(title)}</text>'
        f"{frame}{ticks}{names}{paths}{legend}</svg>"
    )
