"""The pipeline's health as the page shows it: the newest monitoring figures, grouped, with what is out of bounds."""

from typing import Any

from services.bus.messages import MetricEvent

PREFIX = "wardstream_monitor_"
STALE_FACTOR = 6  # figures older than this many monitor intervals mean that the monitor is away


class HealthView:
    """Keeps the newest figure of each (name, labels)."""

    def __init__(self) -> None:
        self._figures: dict[tuple[str, tuple[tuple[str, str], ...]], MetricEvent] = {}

    def take(self, figure: MetricEvent) -> None:
        self._figures[figure.name, tuple(sorted(figure.labels.items()))] = figure

    def view(self) -> dict[str, Any]:
        """Figures by short name, the time of the newest, and the problems found in them."""
        groups: dict[str, list[dict[str, Any]]] = {}
        newest = max((f.at for f in self._figures.values()), default=0)
        for figure in self._figures.values():
            short = figure.name.removeprefix(PREFIX)
            if figure.at == newest:  # a figure that is no longer given is no longer true
                groups.setdefault(short, []).append({"value": figure.value, **figure.labels})
        return {"at": newest, "figures": dict(sorted(groups.items())), "problems": _problems(groups)}


def _problems(groups: dict[str, list[dict[str, Any]]]) -> list[str]:
    problems = []
    for figure in groups.get("group_lag_messages", []):
        if figure["value"] > 1000:
            problems.append(f"{figure['group']} is {figure['value']:.0f} messages behind")
    for figure in groups.get("input_psi", []):
        if figure["value"] > 0.25:
            problems.append(f"{figure['feature']} has drifted from the training data (PSI {figure['value']:.2f})")
    for figure in groups.get("dead_letters", []):
        problems.append(f"{figure['value']:.0f} dead letter(s): {figure['reason']}")
    return problems
