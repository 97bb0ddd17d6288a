"""What a model's answer must be before anything is published from it (invariant 7)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from services.inference.client import Answer


@dataclass(frozen=True)
class Output:
    """One output that is expected: its name, the shape of a row, and whether it is a probability."""

    name: str
    shape: tuple[int, ...]
    probability: bool = False
    dtype: type = np.float32


@dataclass(frozen=True)
class Checked:
    """An answer whose rows may be used, and for each row that may not, why (by row number)."""

    outputs: Mapping[str, np.ndarray]
    bad_rows: Mapping[int, str]


@dataclass(frozen=True)
class Invalid:
    """An answer of which nothing may be used: why (no values)."""

    reason: str


def check(
    answer: Answer, row_ids: np.ndarray, expected: Sequence[Output], *, model: str, version: str
) -> Checked | Invalid:
    """Hold an answer to what was asked: model, version, rows in order, shapes, types; then each row's values.

    `row_ids` is int64 [n, 1] as sent. A row is bad when a value of it is not finite, or a probability is outside
    [0, 1]; the other rows stay good.
    """
    if answer.model != model or (version and answer.version != version):
        return Invalid("another model or version answered")
    if answer.row_id is None or answer.row_id.shape != row_ids.shape:
        return Invalid("the rows were not echoed")
    if not np.array_equal(answer.row_id, row_ids):
        return Invalid("the rows came back in another order")
    for output in expected:
        wrong = _wrong_form(answer, output, len(row_ids))
        if wrong:
            return Invalid(wrong)
    bad: dict[int, str] = {}
    for output in expected:
        for row, why in _bad_values(answer.outputs[output.name], output).items():
            bad.setdefault(row, why)
    return Checked({output.name: answer.outputs[output.name] for output in expected}, bad)


def _wrong_form(answer: Answer, output: Output, count: int) -> str:
    array = answer.outputs.get(output.name)
    if array is None:
        return f"{output.name} is missing"
    if array.dtype != output.dtype:
        return f"{output.name} has another type"
    if array.shape != (count, *output.shape):
        return f"{output.name} has another shape"
    return ""


def _bad_values(array: np.ndarray, output: Output) -> dict[int, str]:
    flat = array.reshape(len(array), -1)
    finite = np.isfinite(flat).all(axis=1)
    bad = {int(row): f"{output.name} is not finite" for row in np.flatnonzero(~finite)}
    if output.probability:
        with np.errstate(invalid="ignore"):
            inside = ((flat >= 0) & (flat <= 1)).all(axis=1)
        bad |= {int(row): f"{output.name} is outside [0, 1]" for row in np.flatnonzero(finite & ~inside)}
    return bad
