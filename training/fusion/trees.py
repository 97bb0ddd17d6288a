"""LightGBM to ONNX: the same trees as a TreeEnsembleRegressor that reads the serving inputs.

LightGBM compares a double with `x <= threshold`; the graph compares float32. A float32 `x` is at most the double
threshold exactly when it is at most the largest float32 that is not above it, so thresholds are rounded down and
every row takes the same path: the two differ only by the rounding of the leaves' sum (a test holds them to 1e-5).

The same pass explains the score by path contributions (Saabas 2014; Lundberg et al., Nat Mach Intell 2020, compare
TreeSHAP with them): each split on a row's way down moves what the tree expects of it, the mean over its leaves by the
number of training rows in each, and the move is credited to the variables that the split reads. A leaf's contributions
are therefore constants, and leaves carry them beside their value.
"""

from collections.abc import Container, Iterable, Sequence
from itertools import count
from math import isnan
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

from services.domain.features.derived import DERIVED, SOURCES
from services.domain.features.inputs import ARRAYS, MODALITIES, NOTE_SIZE, model_inputs
from services.domain.features.series import SHAPE
from services.domain.features.static import STATIC
from services.domain.features.variables import INDEX
from services.domain.record import PatientRecord

TABULAR = ("series", "static", "derived")
READ = (*TABULAR, "note", "presence")
"""The inputs that trees read."""
EXPECTED = NOTE_SIZE - 1
"""The direction of a note's vector that says what risk of death a published score expects (`training.eicu.targets`)."""
NOTE_COLUMN = sum(int(np.prod(ARRAYS[name])) for name in TABULAR)
WIDTH = NOTE_COLUMN + 1
VARIABLES, STATISTICS = SHAPE
STATIC_COLUMNS = range(VARIABLES * STATISTICS, VARIABLES * STATISTICS + len(STATIC))
FIXED_COLUMNS = {name: VARIABLES * STATISTICS + n for n, name in enumerate((*STATIC, *DERIVED, "note_expected"))}
"""The column of the flat input by the name of a static or derived value, or of what notes let expect."""

SERIES, STATIC_DATA, NOTE = (MODALITIES.index(name) for name in ("series", "static", "note"))
OWN = {
    SERIES: frozenset(range(NOTE_COLUMN)) - frozenset(STATIC_COLUMNS),
    STATIC_DATA: frozenset((*STATIC_COLUMNS, FIXED_COLUMNS["age_shock_index"])),
    NOTE: frozenset((NOTE_COLUMN,)),
}
"""The columns of the flat input that know nothing where a modality is absent."""
WHOLE = sum(1 << modality for modality in OWN)
"""The bits of a modality pattern that trees depend on."""

Node = dict[str, Any]
"""A split or a leaf, as `Booster.dump_model` gives it."""
SIDES = ("left_child", "right_child")


def _credit() -> NDArray[np.float64]:
    of_series = np.repeat(np.eye(VARIABLES), STATISTICS, axis=0)
    of_derived = np.zeros((len(SOURCES), VARIABLES))
    for row, names in zip(of_derived, SOURCES, strict=True):
        row[[INDEX[name] for name in names]] = 1 / max(1, len(names))
    return np.concatenate([of_series, np.zeros((len(STATIC), VARIABLES)), of_derived, np.zeros((1, VARIABLES))])


CREDIT = _credit()
"""[WIDTH, VARIABLES]: what share of a flat column's effect is each clinical variable's. A derived value's is shared
equally among those it is made of; static data, notes, and what is made of whatever is known, are no variable's."""


def flat(inputs: dict[str, NDArray[np.float32]], rows: Any = slice(None)) -> NDArray[np.float32]:
    """[N, WIDTH]: series (variable by variable), static, derived and what notes let expect, as the graph joins them."""
    parts = [np.asarray(inputs[n][rows]).reshape(-1, int(np.prod(ARRAYS[n]))) for n in TABULAR]
    return np.concatenate([*parts, _expected_by_notes(inputs, rows)], axis=1)


def _expected_by_notes(inputs: dict[str, NDArray[np.float32]], rows: Any) -> NDArray[np.float32]:
    """[N, 1]; NaN where there is no note."""
    here = np.asarray(inputs["presence"][rows])[:, NOTE : NOTE + 1] > 0
    unknown = np.full(here.shape, np.nan, np.float32)
    return np.where(here, np.asarray(inputs["note"][rows])[:, EXPECTED:], unknown) if "note" in inputs else unknown


NOTHING = flat({name: array[None] for name, array in model_inputs(PatientRecord(patient=""), 0).arrays.items()})[0]
"""The flat input [WIDTH] of an empty record: what a column holds where its modality is absent."""


def lacking(pattern: int) -> NDArray[np.intp]:
    """The columns that hold `NOTHING` in rows of this modality pattern."""
    return np.array(sorted(_lost(set(OWN) - _modalities(pattern))), np.intp)


def read_by(columns: NDArray[np.intp]) -> int:
    """The bits of a modality pattern that trees on these columns depend on."""
    return sum(1 << modality for modality, own in OWN.items() if not own.isdisjoint(columns.tolist()))


def _modalities(pattern: int) -> set[int]:
    return {modality for modality in OWN if pattern >> modality & 1}


def _lost(modalities: Iterable[int]) -> frozenset[int]:
    return frozenset().union(*(OWN[modality] for modality in modalities))


def float32_below(threshold: float) -> float:
    """The largest float32 that is not above the threshold.

    >>> float32_below(0.1) <= 0.1 < float(np.nextafter(np.float32(float32_below(0.1)), np.float32(1)))
    True
    """
    with np.errstate(over="ignore"):
        near = np.float32(threshold)
    return float(near if float(near) <= threshold else np.nextafter(near, np.float32(-np.inf)))


class _Ensemble:
    """The attributes of one TreeEnsembleRegressor, filled tree by tree."""

    def __init__(self) -> None:
        names = ("treeids", "nodeids", "featureids", "values", "modes", "missing_value_tracks_true")
        self._nodes: dict[str, list[Any]] = {f"nodes_{n}": [] for n in (*names, "truenodeids", "falsenodeids")}
        self._leaves: dict[str, list[Any]] = {f"target_{n}": [] for n in ("treeids", "nodeids", "ids", "weights")}
        self._trees = 0

    def add(self, root: Node, columns: Sequence[int], scale: float, targets: Sequence[int], first: int = 0) -> None:
        """Adds a tree in depth-first order. A leaf adds its value to each of the targets, and what it says that was
        `moved` to the targets from `first` on; both times `scale`."""
        numbers = count()

        def visit(node: Node) -> int:
            number = next(numbers)
            if "leaf_value" in node:
                _append(self._nodes, self._trees, number, 0, 0.0, "LEAF", 0, 0, 0)
                for target in targets:
                    _append(self._leaves, self._trees, number, target, node["leaf_value"] * scale)
                for v, change in enumerate(node.get("moved", ())):
                    if change:
                        _append(self._leaves, self._trees, number, first + v, change * scale)
                return number
            column, cut = columns[node["split_feature"]], float32_below(node["threshold"])
            _append(self._nodes, self._trees, number, column, cut, "BRANCH_LEQ", _missing_goes_left(node), 0, 0)
            place = len(self._nodes["nodes_values"]) - 1
            self._nodes["nodes_truenodeids"][place] = visit(node["left_child"])
            self._nodes["nodes_falsenodeids"][place] = visit(node["right_child"])
            return number

        visit(root)
        self._trees += 1

    def node(self, source: str, output: str, targets: int) -> NodeProto:
        attributes: dict[str, Any] = self._nodes | self._leaves
        return helper.make_node(
            "TreeEnsembleRegressor",
            [source],
            [output],
            domain="ai.onnx.ml",
            n_targets=targets,
            aggregate_function="SUM",
            post_transform="NONE",
            **attributes,
        )


def _append(lists: dict[str, list[Any]], *values: Any) -> None:
    for one, value in zip(lists.values(), values, strict=True):
        one.append(value)


def _missing_goes_left(split: Node) -> int:
    """1 or 0; with missing type None LightGBM reads NaN as 0. Raises ValueError for splits that cannot be exported."""
    kind, missing = split["decision_type"], split["missing_type"]
    if kind != "<=" or missing not in ("NaN", "None"):
        raise ValueError(f"cannot export a {kind} split with missing type {missing}")
    return int(split["default_left"] if missing == "NaN" else split["threshold"] >= 0)


def _expected(node: Node) -> tuple[float, int]:
    """(mean over the leaves by their number of training rows, number of training rows)."""
    if "leaf_value" in node:
        return node["leaf_value"], node.get("leaf_count", 0)
    (left, here), (right, there) = _expected(node["left_child"]), _expected(node["right_child"])
    return (left * here + right * there) / (here + there), here + there


def _explained(node: Node, columns: Sequence[int], moved: NDArray[np.float64]) -> Node:
    """The tree with each leaf's path contributions, `moved` [VARIABLES]."""
    if "leaf_value" in node:
        return {**node, "moved": moved}
    before, credit = _expected(node)[0], CREDIT[columns[node["split_feature"]]]
    children = {
        side: _explained(node[side], columns, moved + credit * (_expected(node[side])[0] - before)) for side in SIDES
    }
    return {**node, **children}


def _given(node: Node, columns: Sequence[int], nothing: Container[int]) -> Node:
    """The tree as it answers where these columns hold `NOTHING`: what remains splits on others."""
    if "leaf_value" in node:
        return node
    if (column := columns[node["split_feature"]]) in nothing:
        return _given(node[_way(node, float(NOTHING[column]))], columns, nothing)
    return {**node, **{side: _given(node[side], columns, nothing) for side in SIDES}}


def _way(split: Node, value: float) -> str:
    left = _missing_goes_left(split) if isnan(value) else value <= split["threshold"]
    return SIDES[0] if left else SIDES[1]


def _columns_of(node: Node, columns: Sequence[int]) -> set[int]:
    """Those that the tree's splits read."""
    if "leaf_value" in node:
        return set()
    return {columns[node["split_feature"]]}.union(*(_columns_of(node[side], columns) for side in SIDES))


def _by_loss(root: Node, columns: Sequence[int]) -> dict[frozenset[int], list[int]]:
    """The modality patterns that are one to the tree, by the columns which it reads and they lack."""
    found: dict[frozenset[int], list[int]] = {}
    read = _columns_of(root, columns)
    for pattern in range(WHOLE + 1):
        found.setdefault(frozenset(read) & _lost(set(OWN) - _modalities(pattern)), []).append(pattern)
    return found


def ensemble_nodes(grown: Sequence[Sequence[tuple[Any, float, Sequence[int]]]]) -> list[NodeProto]:
    """ONNX nodes that compute, for K = len(grown) outcomes from the serving inputs of B rows,

    `trees` [B, (WHOLE + 1) * K + K * VARIABLES]: for each modality pattern and outcome the weighted sum of the raw
    scores of trees that read nothing which the pattern lacks, and the path contributions by variable;
    `trees_lacking` [B, (WHOLE + 1) * K]: the same of the other trees, as they answer of a record that has no more than
    the pattern.

    `grown[k]` are outcome k's boosters, each with its weight and the columns of the flat input that it reads.
    """
    outcomes = len(grown)
    whole, less = _Ensemble(), _Ensemble()
    settled = np.zeros((WHOLE + 1) * outcomes)  # trees that keep no split
    for k, group in enumerate(grown):
        for booster, scale, columns in group:
            for info in booster.dump_model()["tree_info"]:
                root = info["tree_structure"]
                for lost, patterns in _by_loss(root, columns).items():
                    targets = [pattern * outcomes + k for pattern in patterns]
                    pruned = _given(root, columns, lost)
                    if not lost:
                        explained = _explained(root, columns, np.zeros(VARIABLES))
                        whole.add(explained, columns, scale, targets, len(settled) + k * VARIABLES)
                    elif "leaf_value" in pruned:
                        settled[targets] += scale * pruned["leaf_value"]
                    else:
                        less.add(pruned, columns, scale, targets)
    for target, value in enumerate(settled):
        less.add({"leaf_value": value}, (), 1.0, [target])
    return [
        *_joined("trees_flat"),
        whole.node("trees_flat", "trees", len(settled) + outcomes * VARIABLES),
        less.node("trees_flat", "trees_lacking", len(settled)),
    ]


def _joined(output: str) -> list[NodeProto]:
    """`flat` as nodes."""
    constants: dict[str, NDArray[Any]] = {
        "trees_of_note": np.array([NOTE], np.int64),
        "trees_expected": np.array([EXPECTED], np.int64),
        "trees_zero": np.zeros((1, 1), np.float32),
        "trees_unknown": np.full((1, 1), np.nan, np.float32),
    }
    return [
        *(
            helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value, name))
            for name, value in constants.items()
        ),
        helper.make_node("Flatten", ["series"], ["trees_series"], axis=1),
        helper.make_node("Gather", ["presence", "trees_of_note"], ["trees_note"], axis=1),
        helper.make_node("Greater", ["trees_note", "trees_zero"], ["trees_noted"]),
        helper.make_node("Gather", ["note", "trees_expected"], ["trees_direction"], axis=1),
        helper.make_node("Where", ["trees_noted", "trees_direction", "trees_unknown"], ["trees_by_notes"]),
        helper.make_node("Concat", ["trees_series", "static", "derived", "trees_by_notes"], [output], axis=1),
    ]
