"""What alerts at a threshold would mean on the ward: how many, how often right, how early, how many after snoozing."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from training.evaluation.metrics import interval
from training.evaluation.utility import OPTIMAL, runs

SNOOZE_HOURS = 6.0
"""After an alert somebody has seen the patient: none for this long."""

HORIZON_HOURS = 12.0
"""An alert counts as right from this long before onset (and until 3 h after, when it is too late to help)."""

LATE_HOURS = 3.0


def snoozed(alert: NDArray[np.bool_], hours: NDArray[np.float64], snooze: float = SNOOZE_HOURS) -> NDArray[np.bool_]:
    """The alerts of one patient that are shown: each silences those less than `snooze` hours after it."""
    shown = np.zeros(len(alert), dtype=bool)
    quiet_until = -np.inf
    for row in np.flatnonzero(alert):
        if hours[row] >= quiet_until:
            shown[row] = True
            quiet_until = hours[row] + snooze
    return shown


def alert_burden(
    label: ArrayLike, alert: ArrayLike, hours: ArrayLike, patient: ArrayLike, *, repeats: int = 500, seed: int = 0
) -> dict[str, Any]:
    """Figures of hourly alerts for an event whose label is 1 from 6 h before onset, each with its interval by patient.

    `alerts_per_patient_day` and `ppv` count every hour's alert; `shown_*` count after snoozing. `false_alarms_per_
    patient_hour` (snoozed) counts alerts that are not within HORIZON_HOURS before onset to LATE_HOURS after.
    `sensitivity_by_patient` is the share of septic patients alerted in that window before onset; `lead_hours` is
    the median time from the first such alert to onset, with its interval and the quartiles (`lead_hours_iqr`).
    """
    y, a = np.asarray(label).astype(bool), np.asarray(alert).astype(bool)
    t = np.asarray(hours, dtype=np.float64)
    found_of = [_patient(y[rows], a[rows], t[rows]) for rows in runs(patient)]
    table = np.array([tally for tally, _ in found_of], dtype=np.float64).reshape(-1, 7)
    leads = np.array([lead for _, lead in found_of], dtype=np.float64)
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(repeats if len(table) else 0):
        drawn = rng.integers(0, len(table), len(table))
        draws.append(_figures(table[drawn], leads[drawn]))
    found: dict[str, Any] = {}
    for name, value in _figures(table, leads).items():
        found[name], found[f"{name}_ci"] = value, interval([draw[name] for draw in draws])
    return {**found, "lead_hours_iqr": [_quantile(leads, q) for q in (0.25, 0.75)], "snooze_hours": SNOOZE_HOURS}


def _patient(y: NDArray[np.bool_], alert: NDArray[np.bool_], hours: NDArray[np.float64]) -> tuple[list[float], float]:
    """[hours, alerts, right alerts (label 1), shown, shown in the window, septic, caught before onset], lead time.

    The lead time is NaN in a patient who is not alerted before an onset.
    """
    shown = snoozed(alert, hours)
    onset = hours[int(np.argmax(y))] - OPTIMAL if y.any() else np.inf
    window = (hours >= onset - HORIZON_HOURS) & (hours <= onset + LATE_HOURS)
    early = alert & window & (hours < onset)
    lead = float(onset - hours[int(np.argmax(early))]) if early.any() else float("nan")
    counts = [len(y), alert.sum(), (alert & y).sum(), shown.sum(), (shown & window).sum(), y.any(), early.any()]
    return [float(c) for c in counts], lead


def _figures(table: NDArray[np.float64], leads: NDArray[np.float64]) -> dict[str, float]:
    hours, alerts, right, shown, timely, septic, caught = table.sum(axis=0)
    return {
        "alerts_per_patient_day": _ratio(alerts, hours) * 24,
        "ppv": _ratio(right, alerts),
        "shown_per_patient_day": _ratio(shown, hours) * 24,
        "shown_ppv": _ratio(timely, shown),
        "false_alarms_per_patient_hour": _ratio(shown - timely, hours),
        "sensitivity_by_patient": _ratio(caught, septic),
        "lead_hours": _quantile(leads, 0.5),
    }


def _quantile(leads: NDArray[np.float64], share: float) -> float:
    known = leads[~np.isnan(leads)]
    return float(np.quantile(known, share)) if len(known) else float("nan")


def _ratio(a: float, b: float) -> float:
    return float(a / b) if b else float("nan")
