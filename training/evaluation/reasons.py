"""Why a figure is not there: never a bare null."""

from typing import Any

import numpy as np

from training.evaluation.scored import Float, Scores

LEAST_PATIENTS = 10
"""With fewer patients there are no intervals; with fewer that have the event, or do not, a subgroup is not judged."""

FEW = f"fewer than {LEAST_PATIENTS} patients: no interval"
FEW_EVENTS = "many bootstrap draws have no such figure: no interval"
WHY = {
    "ppv": "no row is called at the threshold",
    "shown_ppv": "no row is called at the threshold",
    "lead_hours": "nobody is alerted within the 12 h before an onset",
    "utility": "a score of hourly tasks alone",
}


def judged(with_event: int, without: int) -> bool:
    """Whether so many patients with the event (at some time), and without (at some time), bear a subgroup's figures."""
    return min(with_event, without) >= LEAST_PATIENTS


def reasons(found: dict[str, Any], scores: Scores) -> dict[str, str]:
    """A sentence for each figure that is null or left out, by key: `auroc`, `auroc_ci`, `alerts.ppv`, `controls.A`."""
    one_class = {0: "no row is positive", found["n"]: "every row is positive"}.get(found["n_positive"], "")
    told = {f"controls.{name}": why for name, why in scores.left_out.items()}
    for name in scores.controls.keys() - found["controls"].keys():
        told[f"controls.{name}"] = one_class or _why_no_control(scores.controls[name])
    for place, part in (("", found), ("alerts.", found.get("alerts", {}))):
        for name in [name for name in part if f"{name}_ci" in part]:
            if _absent(part[name]):
                told[place + name] = _why(name, scores.hourly) or one_class
            elif _absent(part[f"{name}_ci"][0]):
                told[f"{place}{name}_ci"] = FEW if found["n_patients"] < LEAST_PATIENTS else FEW_EVENTS
    return dict(sorted(told.items()))


def _why(name: str, hourly: bool) -> str:
    """What a figure lacks besides rows of both classes; empty when that alone is it."""
    return "" if hourly and name == "utility" else WHY.get(name, "")


def _why_no_control(values: Float) -> str:
    known = values[np.isfinite(values)]
    if not len(known):
        return "known of nobody"
    return "the same for everybody" if np.ptp(known) == 0 else "known of one class alone"


def _absent(value: float | None) -> bool:
    return value is None or value != value
