"""What evaluation works on: risks of the shipped model, what happened, and whom it was about."""

import csv
import importlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from gzip import BadGzipFile
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from services.domain.features import ModelInputs, inputs_at
from services.domain.features.derived import DERIVED
from services.domain.features.static import STATIC
from services.score.offline import Asked, OfflineModel, repository

Float = NDArray[np.float64]
T = TypeVar("T")

CONTROLS: dict[str, Callable[[ModelInputs], float]] = {
    "hours in unit": lambda inputs: float(inputs.arrays["static"][STATIC.index("hours_in_unit")]),
    "variables measured": lambda inputs: float(inputs.n_variables),
    "age": lambda inputs: float(inputs.arrays["static"][STATIC.index("age_years")]),
    "NEWS2 (partial)": lambda inputs: float(inputs.arrays["derived"][DERIVED.index("news2_partial")]),
    "SOFA (partial)": lambda inputs: float(inputs.arrays["derived"][DERIVED.index("sofa_partial")]),
}
"""What a score must beat to be worth anything; computed where their inputs are there, unknown counts as lowest."""

OUTCOME_AT = {
    "sepsis-6h": "CinC 2019 has it in the column SepsisLabel",
    "mortality-48h": "CinC 2012 has it in Outcomes-*.txt, in the folder of the data or beside it",
    "mortality-24h": "eICU has it in the table patient",
}
"""Where a data set says what happened."""

UNITS = ("medical", "surgical", "cardiac", "cardiac_surgery")


@dataclass
class Scores:
    """N rows, those of a patient together and in time order."""

    task: str
    label: NDArray[np.bool_]
    risk: Float
    patient: NDArray[Any]
    hours: Float  # after admission to the unit
    groups: dict[str, NDArray[np.object_]] = field(default_factory=dict)  # subgroup variable -> value of each row
    controls: dict[str, Float] = field(default_factory=dict)
    threshold: float | None = None
    band: tuple[float, float] | None = None  # open interval of risks that are published as indeterminate
    model: dict[str, Any] = field(default_factory=dict)
    hourly: bool = False  # one row an hour, scored with the utility; else one row a stay
    unlabelled: int = 0  # stays that were not asked about, since their outcome is not known
    left_out: dict[str, str] = field(default_factory=dict)  # controls that could not be worked out, and why


@dataclass(frozen=True)
class Question:
    """One patient's record, the moments asked about (epoch ms), their labels, and subgroups besides the common ones."""

    asked: Asked
    label: Sequence[float]  # 1 positive, 0 negative, NaN not known
    hours: Sequence[float]
    groups: dict[str, str] = field(default_factory=dict)
    controls: dict[str, float] = field(default_factory=dict)
    cluster: str = ""  # what the bootstrap draws: the patient, where a stay is not one; empty: asked.patient


class Unreadable(ValueError):
    """A data set that is broken somewhere. Says where, and nothing of what stands there."""


def readable(read: Callable[[], Iterable[T]]) -> Iterator[T]:
    """What `read` gives. Raises Unreadable where it stumbles; FileNotFoundError and KeyError (a column) as they are."""
    done = 0
    try:
        for stay in read():
            yield stay
            done += 1
    except (ValueError, TypeError, IndexError, OverflowError, EOFError, BadGzipFile, csv.Error) as error:
        raise Unreadable(
            f"after {done} patients, in the order of files and rows, comes a broken file or line, or a value that is "
            f"none ({type(error).__name__})"
        ) from error


def score(task: str, outcome: str, questions: Iterable[Question], *, hourly: bool) -> Scores:
    """The shipped `risk_fusion` on every question whose labels are known, and the controls beside it.

    Raises ManifestError when the model is not there or cannot be used, ValueError when no outcome is known.
    """
    model = OfflineModel(repository())
    place = model.outcomes.index(outcome)
    refitting, lacking = _refitting()
    gathered, unlabelled = _Gathered(refitting), 0
    for question in questions:
        if np.isnan(question.label).any():
            unlabelled += 1
            continue
        inputs = inputs_at(question.asked.record, question.asked.as_of_ms)
        if inputs:
            gathered.add(question, inputs, _risks(model, inputs, place))
    if unlabelled and not gathered.label:
        raise ValueError(f"the outcome of all {unlabelled} patients is missing: {OUTCOME_AT[task]}")
    spec = model.manifest.outcomes[place]
    label, patient = np.asarray(gathered.label, dtype=bool), np.asarray(gathered.patient, dtype=object)
    fitted = refitting.refitted(gathered.tabular, label, patient) if refitting else {}
    return Scores(
        task=task,
        label=label,
        risk=np.asarray(gathered.risk, dtype=np.float64),
        patient=patient,
        hours=np.asarray(gathered.hours, dtype=np.float64),
        groups={name: np.asarray(values, dtype=object) for name, values in gathered.groups.items()},
        controls={name: np.asarray(values, np.float64) for name, values in gathered.controls.items()} | fitted,
        threshold=spec.threshold,
        band=spec.indeterminate,
        model={
            "name": model.manifest.model,
            "version": model.manifest.version,
            "sha256": model.manifest.weights_sha256,
        },
        hourly=hourly,
        unlabelled=unlabelled,
        left_out={} if fitted else {"refitted here": refitting.FEW if refitting else lacking},
    )


def _refitting() -> tuple[ModuleType | None, str]:
    """`training.evaluation.refitted`; None where its packages are not installed, and what is lacking."""
    try:
        return importlib.import_module("training.evaluation.refitted"), ""
    except ModuleNotFoundError as error:
        return None, f"needs {error.name}, which the development environment has (`make .venv-dev`)"


class _Gathered:
    """Rows of the patients asked about so far."""

    def __init__(self, refitting: ModuleType | None) -> None:
        self.refitting = refitting
        self.label: list[float] = []
        self.risk: list[float] = []
        self.patient: list[str] = []
        self.hours: list[float] = []
        self.groups: dict[str, list[str]] = {}
        self.controls: dict[str, list[float]] = {}
        self.tabular: list[NDArray[np.float32]] = []

    def add(self, question: Question, inputs: Sequence[ModelInputs], risk: Float) -> None:
        rows = len(inputs)
        self.label += question.label
        self.risk += risk.tolist()
        self.patient += [question.cluster or question.asked.patient] * rows
        self.hours += question.hours
        if self.refitting:
            self.tabular.append(self.refitting.tabular(inputs))
        for group, value in {**common_groups(inputs[-1].arrays["static"]), **question.groups}.items():
            self.groups.setdefault(group, []).extend([value] * rows)
        for name, control in CONTROLS.items():
            values = [control(one) for one in inputs]
            self.controls.setdefault(name, []).extend(v if v == v else -1.0 for v in values)
        for name, number in question.controls.items():
            self.controls.setdefault(name, []).extend([number] * rows)


def _risks(model: OfflineModel, inputs: Sequence[ModelInputs], place: int) -> Float:
    parts = [model.score(inputs[n : n + 256])[0][:, place] for n in range(0, len(inputs), 256)]
    return np.concatenate(parts).astype(np.float64)


def common_groups(values: NDArray[np.float32]) -> dict[str, str]:
    """The subgroups that every data set has, of an input `static`."""
    static = dict(zip(STATIC, values.tolist(), strict=True))
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
