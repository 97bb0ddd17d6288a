"""The pipeline's health as the page shows it: the newest monitoring figures, their course, what is out of bounds."""

from collections import OrderedDict, defaultdict, deque
from typing import Any

from services.bus.messages import MetricEvent

PREFIX = "wardstream_monitor_"
KEPT_ROUNDS = 120  # of figures, for the small curves: 20 minutes at the usual interval
SETTLE_MS = 1500  # a round of figures is whole so long after it was made
STALE_MS = 60_000  # older figures mean that the monitor is away
BACKLOG = 1000  # messages that a step may have before it
DRIFTED = 0.25  # PSI (Siddiqi 2006)
DRIFT_PATIENTS = 100
"""Below so many patients drift is not judged: one patient's hourly results repeat each other, so that however many
values there are, a few patients never look like the training population."""

Labels = tuple[tuple[str, str], ...]


class HealthView:
    """Keeps the last rounds of figures; a round is what the monitor said at one time."""

    def __init__(self) -> None:
        self._rounds: OrderedDict[int, dict[tuple[str, Labels], MetricEvent]] = OrderedDict()

    def take(self, figure: MetricEvent) -> None:
        labels = tuple(sorted(figure.labels.items()))
        self._rounds.setdefault(figure.at, {})[figure.name, labels] = figure
        while len(self._rounds) > KEPT_ROUNDS:
            self._rounds.popitem(last=False)

    def view(self, now_ms: int, patients: int) -> dict[str, Any]:
        """Figures by short name, the time they are of, the course of some, and the problems found in them.

        `patients`: how many are on the board. A figure that is no longer given is no longer true, so only the last
        whole round shows.
        """
        settled = [at for at in self._rounds if now_ms - at >= SETTLE_MS] or list(self._rounds)
        at = max(settled, default=0)
        groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for figure in self._rounds.get(at, {}).values():
            groups[figure.name.removeprefix(PREFIX)].append({"value": figure.value, **figure.labels})
        judged = patients >= DRIFT_PATIENTS
        return {
            "at": at,
            "figures": dict(sorted(groups.items())),
            "courses": self._courses(),
            "drift": {"judged": judged, "patients": patients, "needed": DRIFT_PATIENTS, "bound": DRIFTED},
            "problems": _silence(at, now_ms) + _problems(groups, judged),
        }

    def _courses(self) -> dict[str, list[list[float]]]:
        """Short name -> [epoch ms, value] of the headline figures, sums over their labels (latency: its p95)."""
        courses: dict[str, deque[list[float]]] = defaultdict(lambda: deque(maxlen=KEPT_ROUNDS))
        for at, figures in sorted(self._rounds.items()):
            totals: dict[str, float] = defaultdict(float)
            for (name, labels), figure in figures.items():
                short = name.removeprefix(PREFIX)
                if short == "latency_seconds":
                    if ("quantile", "0.95") in labels:
                        totals[short] = figure.value
                elif short in _SUMMED:
                    totals[short] += figure.value
            for short, value in totals.items():
                courses[short].append([at, round(value, 4)])
        return {short: list(points) for short, points in courses.items()}


_SUMMED = frozenset({"predictions_per_second", "group_lag_messages", "dead_letters"})


def _silence(at: int, now_ms: int) -> list[str]:
    if at and now_ms - at > STALE_MS:
        return [f"The monitor has said nothing for {(now_ms - at) // 1000} s"]
    return []


def _problems(groups: dict[str, list[dict[str, Any]]], drift_judged: bool) -> list[str]:
    problems = []
    for figure in groups.get("group_lag_messages", []):
        if figure["value"] > BACKLOG:
            problems.append(f"{figure['group']} is {figure['value']:.0f} messages behind")
    for figure in groups.get("input_psi", []) if drift_judged else []:
        if figure["value"] > DRIFTED:
            problems.append(f"{figure['feature']} has drifted from the training data (PSI {figure['value']:.2f})")
    for figure in groups.get("dead_letters", []):
        count = round(figure["value"])
        problems.append(f"{count} dead letter{'s' if count != 1 else ''}: {figure['reason'].replace('_', ' ')}")
    return problems
