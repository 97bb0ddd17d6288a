"""What evaluation works on: risks of the shipped model, what happened, and whom it was about."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.domain.features import ModelInputs, inputs_at
from services.domain.features.derived import DERIVED
from services.domain.features.static import STATIC
from services.score.offline import Asked, OfflineModel, repository

Float = NDArray[np.float64]

CONTROLS: dict[str, Callable[[ModelInputs], float]] = {
    "hours in unit (time only)": lambda inputs: float(inputs.arrays["static"][STATIC.index("hours_in_unit")]),
    "variables measured (missingness only)": lambda inputs: float(inputs.n_variables),
    "age": lambda inputs: float(inputs.arrays["static"][STATIC.index("age_years")]),
    "NEWS2 (partial)": lambda inputs: float(inputs.arrays["derived"][DERIVED.index("news2_partial")]),
    "SOFA (partial)": lambda inputs: float(inputs.arrays["derived"][DERIVED.index("sofa_partial")]),
}
"""What a score must beat to be worth anything; computed where their inputs are there, unknown counts as lowest."""

UNITS = ("medical", "surgical", "cardiac", "cardiac_surgery")


@dataclass
class Scores:
    """N rows, those of a patient together and in time order."""

    task: str
    label: NDArray[np.bool_]
    risk: Float
    patient: NDArray[np.object_]
    hours: Float  # after admission to the unit
    groups: dict[str, NDArray[np.object_]] = field(default_factory=dict)  # subgroup variable -> value of each row
    controls: dict[str, Float] = field(default_factory=dict)
    threshold: float | None = None
    model: dict[str, Any] = field(default_factory=dict)
    hourly: bool = False  # one row an hour, scored with the utility; else one row a stay


@dataclass(frozen=True)
class Question:
    """One patient's record, the moments asked about (epoch ms), their labels, and subgroups besides the common ones."""

    asked: Asked
    label: Sequence[bool]
    hours: Sequence[float]
    groups: dict[str, str] = field(default_factory=dict)
    controls: dict[str, float] = field(default_factory=dict)
    cluster: str = ""  # what the bootstrap draws: the patient, where a stay is not one; empty: asked.patient


def score(task: str, outcome: str, questions: Iterable[Question], *, hourly: bool) -> Scores:
    """The shipped `risk_fusion` on every question. Raises ManifestError when it is not there or cannot be used."""
    model = OfflineModel(repository())
    place = model.outcomes.index(outcome)
    rows: dict[str, list[Any]] = {"label": [], "risk": [], "patient": [], "hours": []}
    groups: dict[str, list[str]] = {}
    controls: dict[str, list[float]] = {}
    for question in questions:
        inputs = inputs_at(question.asked.record, question.asked.as_of_ms)
        if not inputs:
            continue
        risk = _risks(model, inputs, place)
        rows["label"] += list(question.label)
        rows["risk"] += risk.tolist()
        rows["patient"] += [question.cluster or question.asked.patient] * len(inputs)
        rows["hours"] += list(question.hours)
        for name, value in {**_common(inputs[-1]), **question.groups}.items():
            groups.setdefault(name, []).extend([value] * len(inputs))
        for name, control in CONTROLS.items():
            controls.setdefault(name, []).extend(float(np.nan_to_num(control(i), nan=-1.0)) for i in inputs)
        for name, number in question.controls.items():
            controls.setdefault(name, []).extend([number] * len(inputs))
    spec = model.manifest.outcomes[place]
    return Scores(
        task=task,
        label=np.asarray(rows["label"], dtype=bool),
        risk=np.asarray(rows["risk"], dtype=np.float64),
        patient=np.asarray(rows["patient"], dtype=object),
        hours=np.asarray(rows["hours"], dtype=np.float64),
        groups={name: np.asarray(values, dtype=object) for name, values in groups.items()},
        controls={name: np.asarray(values) for name, values in controls.items()},
        threshold=spec.threshold,
        model={
            "name": model.manifest.model,
            "version": model.manifest.version,
            "sha256": model.manifest.weights_sha256,
        },
        hourly=hourly,
    )


def _risks(model: OfflineModel, inputs: Sequence[ModelInputs], place: int) -> Float:
    parts = [model.score(inputs[n : n + 256])[0][:, place] for n in range(0, len(inputs), 256)]
    return np.concatenate(parts).astype(np.float64)


def _common(inputs: ModelInputs) -> dict[str, str]:
    static = dict(zip(STATIC, inputs.arrays["static"].tolist(), strict=True))
    age, male = static["age_years"], static["male"]
    unit = next((name for name in UNITS if static[f"unit_{name}"]), "other")
    return {
        "age": age_band(age),
        "sex": {1.0: "male", 0.0: "female"}.get(male, "unknown"),
        "unit": unit.replace("_", " "),
    }


def age_band(age: float) -> str:
    """The subgroup of an age in years."""
    if not age >= 0:
        return "unknown"
    return next(name for top, name in ((45, "<45"), (65, "45-64"), (80, "65-79"), (np.inf, "80+")) if age < top)


Reader = Callable[[Path, int | None], Scores]
