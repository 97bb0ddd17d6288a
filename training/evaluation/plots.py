"""Plots of the evaluation as inline SVG: nothing is loaded from elsewhere, and they print as they look."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import floor, log10
from typing import Any

Points = Sequence[tuple[float, float]]
Band = Sequence[Any]
"""A point of a curve: x, y, its number of rows or its rival's y, and the interval of y, None where there is none."""

BLUE, PALE, GREY, RED = "#1f5fa8", "#a9c4e4", "#8a8f98", "#b3372f"
WIDTH, HEIGHT = 420, 320
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 34, 46  # margins, px


@dataclass(frozen=True)
class Line:
    """One line of a plot; `marks` draws its points too, `ends` (low, high) are their intervals."""

    name: str
    colour: str
    points: Points
    marks: bool = False
    dashed: bool = False
    ends: Sequence[tuple[float | None, float | None]] = ()


def plots(found: dict[str, Any]) -> str:
    """Reliability, ROC, precision-recall and decision curve of what `evaluate_scores` found."""
    drawn, prevalence = found["curves"], found["prevalence"]
    return "".join(
        [
            _reliability(drawn["reliability"]),
            plot(
                "ROC",
                "1 − specificity",
                "sensitivity",
                [
                    Line("chance", GREY, [(0, 0), (1, 1)], dashed=True),
                    Line("model", BLUE, drawn["roc"]),
                    Line("shipped threshold", RED, _operating(found), marks=True),
                ],
                "lower right",
            ),
            plot(
                "Precision-recall",
                "recall",
                "precision",
                [
                    Line("prevalence", GREY, [(0, prevalence), (1, prevalence)], dashed=True),
                    Line("model", BLUE, drawn["precision_recall"]),
                ],
                "upper right",
            ),
            _decision(drawn["decision"]),
        ]
    )


def _operating(found: dict[str, Any]) -> Points:
    """(1 - specificity, sensitivity) at the shipped threshold, where there is one and rows of both classes."""
    sensitivity, specificity = found.get("sensitivity"), found.get("specificity")
    return [] if sensitivity is None or specificity is None else [(1 - specificity, sensitivity)]


def _reliability(bins: Sequence[Band]) -> str:
    points = [(risk, share) for risk, share, *_ in bins]
    ends = [(low, high) for *_, low, high in bins]
    most = max([0.05, *(max(pair) for pair in points), *(high for _, high in ends if high is not None)])
    lines = [
        Line("ideal", GREY, [(0, 0), (most, most)], dashed=True),
        Line("model, by tenth", BLUE, points, marks=True, ends=ends),
    ]
    return plot("Reliability (bars: 95 % interval)", "mean risk", "observed share", lines, "upper left")


def _decision(curve: Sequence[Band]) -> str:
    lowest = -max([0.001, *(benefit for _, benefit, *_ in curve)]) / 4
    known = [band for band in curve if band[3] is not None]
    lines = [
        Line("alert for nobody", GREY, [(curve[0][0], 0), (curve[-1][0], 0)] if curve else [], dashed=True),
        Line("alert for all", RED, [(t, all_) for t, _, all_, *_ in curve if all_ >= lowest]),
        Line("95 % interval", PALE, [(t, max(low or 0, lowest)) for t, *_, low, _ in known]),
        Line("", PALE, [(t, max(high or 0, lowest)) for t, *_, high in known]),
        Line("model", BLUE, [(t, max(benefit, lowest)) for t, benefit, *_ in curve]),
    ]
    return plot(
        "Decision curve", "risk threshold", "net benefit per row", [x for x in lines if x.points], "upper right"
    )


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from `low` to `high`, at most so many.

    >>> ticks(0, 0.13)
    [0.0, 0.05, 0.1]
    """
    rough = (high - low) / (most - 1) or 1.0
    size = 10.0 ** floor(log10(rough))
    step = next(size * m for m in (1, 2, 5, 10) if size * m >= rough * 0.999)
    first = -floor(-low / step + 1e-9)
    return [round(step * n, 10) + 0.0 for n in range(first, floor(high / step + 1e-9) + 1)]


def plot(title: str, x_name: str, y_name: str, lines: Sequence[Line], legend: str) -> str:
    """One figure with grid, axes and legend (in a corner: 'upper left' ...); the axes span the points, and 0."""
    points = [point for line in lines for point in line.points] or [(0.0, 0.0)]
    left, right = min(0.0, *(x for x, _ in points)), max(x for x, _ in points) or 1.0
    low, high = min(0.0, *(y for _, y in points)), max(y for _, y in points) or 1.0

    def across(x: float) -> float:
        return round(LEFT + (x - left) / (right - left or 1) * (WIDTH - LEFT - RIGHT), 1)

    def down(y: float) -> float:
        kept = min(max(y, low), high)
        return round(HEIGHT - BOTTOM - (kept - low) / (high - low or 1) * (HEIGHT - TOP - BOTTOM), 1)

    grid = [
        f'<line class="grid" x1="{across(x)}" x2="{across(x)}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        f'<text x="{across(x)}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{x:g}</text>'
        for x in ticks(left, right)
    ] + [
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{down(y)}" y2="{down(y)}"/>'
        f'<text x="{LEFT - 6}" y="{down(y) + 4}" text-anchor="end">{y:g}</text>'
        for y in ticks(low, high)
    ]
    drawn = []
    for line in lines:
        places = [(across(x), down(y)) for x, y in line.points]
        dash = ' stroke-dasharray="5 4"' if line.dashed else ""
        path = " ".join(f"{x},{y}" for x, y in places)
        drawn.append(f'<polyline fill="none" stroke="{line.colour}" stroke-width="1.8"{dash} points="{path}"/>')
        for (x, _), (bottom, top) in zip(places, line.ends, strict=False):
            if bottom is None or top is None:
                continue
            drawn.append(f'<line stroke="{line.colour}" x1="{x}" x2="{x}" y1="{down(bottom)}" y2="{down(top)}"/>')
        drawn += [f'<circle cx="{x}" cy="{y}" r="3" fill="{line.colour}"/>' for x, y in places if line.marks]
    return (
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f'<text class="title" x="{LEFT}" y="20">{escape(title)}</text>{"".join(grid)}{"".join(drawn)}'
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">{escape(x_name)}</text>'
        f'<text transform="translate(14 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_name)}</text>{_legend(lines, legend)}</svg></figure>"
    )


def _legend(every: Sequence[Line], corner: str) -> str:
    lines = [line for line in every if line.name and line.points]
    x = LEFT + 10 if "left" in corner else WIDTH - RIGHT - 126
    y = TOP + 14 if "upper" in corner else HEIGHT - BOTTOM - 16 * len(lines)
    behind = (
        f'<rect fill="#fff" fill-opacity="0.8" x="{x - 4}" y="{y - 13}" width="130" height="{16 * len(lines) + 3}"/>'
    )
    return behind + "".join(
        f'<line x1="{x}" x2="{x + 20}" y1="{y + 16 * n - 4}" y2="{y + 16 * n - 4}" stroke="{line.colour}" '
        f'stroke-width="1.8"{" stroke-dasharray=" + chr(34) + "5 4" + chr(34) if line.dashed else ""}/>'
        f'<text x="{x + 26}" y="{y + 16 * n}">{escape(line.name)}</text>'
        for n, line in enumerate(lines)
    )
