"""LightGBM to ONNX: the same trees as a TreeEnsembleRegressor that reads the serving inputs.

LightGBM compares a double with `x <= threshold`; the graph compares float32. A float32 `x` is at most the double
threshold exactly when it is at most the largest float32 that is not above it, so thresholds are rounded down and
every row takes the same path: the two differ only by the rounding of the leaves' sum (a test holds them to 1e-5).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper

from services.domain.features.inputs import ARRAYS

TABULAR = ("series", "static", "derived")
WIDTH = sum(int(np.prod(ARRAYS[name])) for name in TABULAR)


def flat(inputs: dict[str, NDArray[np.float32]], rows: Any = slice(None)) -> NDArray[np.float32]:
    """[N, WIDTH]: series (variable by variable), static, derived, as the graph joins them."""
    return np.concatenate([np.asarray(inputs[n][rows]).reshape(-1, int(np.prod(ARRAYS[n]))) for n in TABULAR], axis=1)


def float32_below(threshold: float) -> float:
    """The largest float32 that is not above the threshold.

    >>> float32_below(0.1) <= 0.1 < float(np.nextafter(np.float32(float32_below(0.1)), np.float32(1)))
    True
    """
    with np.errstate(over="ignore"):
        near = np.float32(threshold)
    return float(near if float(near) <= threshold else np.nextafter(near, np.float32(-np.inf)))


class _Attributes:
    def __init__(self) -> None:
        names = ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids", "missing")
        self.nodes: dict[str, list[Any]] = {name: [] for name in names}
        self.leaves: dict[str, list[Any]] = {k: [] for k in ["treeids", "nodeids", "ids", "weights"]}

    def add(self, tree: int, node: int, **values: Any) -> None:
        self.nodes["treeids"].append(tree)
        self.nodes["nodeids"].append(node)
        for name in ("featureids", "values", "modes", "truenodeids", "falsenodeids", "missing"):
            self.nodes[name].append(values[name])

    def leaf(self, tree: int, node: int, target: int, weight: float) -> None:
        self.add(tree, node, featureids=0, values=0.0, modes="LEAF", truenodeids=0, falsenodeids=0, missing=0)
        for name, value in zip(self.leaves, (tree, node, target, weight), strict=True):
            self.leaves[name].append(value)


def _walk(
    found: _Attributes, tree: int, target: int, node: dict[str, Any], columns: Sequence[int], scale: float
) -> int:
    """Adds the subtree in depth-first order and returns the number of its root."""
    numbers = iter(range(1 << 30))

    def visit(part: dict[str, Any]) -> int:
        number = next(numbers)
        if "leaf_value" in part:
            found.leaf(tree, number, target, part["leaf_value"] * scale)
            return number
        if part["decision_type"] != "<=" or part["missing_type"] not in ("NaN", "None"):
            raise ValueError(f"cannot export a {part['decision_type']} split with missing type {part['missing_type']}")
        place = len(found.nodes["values"])
        found.add(
            tree,
            number,
            featureids=columns[part["split_feature"]],
            values=float32_below(part["threshold"]),
            modes="BRANCH_LEQ",
            truenodeids=0,
            falsenodeids=0,
            missing=_missing_goes_left(part),
        )
        found.nodes["truenodeids"][place] = visit(part["left_child"])
        found.nodes["falsenodeids"][place] = visit(part["right_child"])
        return number

    return visit(node)


def _missing_goes_left(part: dict[str, Any]) -> int:
    """With missing type None LightGBM reads NaN as 0."""
    if part["missing_type"] == "NaN":
        return int(part["default_left"])
    return int(part["threshold"] >= 0)


def ensemble_nodes(
    grown: Sequence[Sequence[tuple[Any, float]]], columns: Sequence[Sequence[int]], output: str
) -> list[NodeProto]:
    """ONNX nodes that compute `output` [B, len(grown)]: for each target the weighted sum of its boosters' raw scores.

    `grown[k]` are target k's boosters with their weights, `columns[k]` the columns of the flat input that they read.
    """
    found = _Attributes()
    tree = 0
    for target, group in enumerate(grown):
        for booster, weight in group:
            for info in booster.dump_model()["tree_info"]:
                _walk(found, tree, target, info["tree_structure"], columns[target], weight)
                tree += 1
    n, leaves = found.nodes, found.leaves
    return [
        helper.make_node("Flatten", ["series"], [f"{output}_series"], axis=1),
        helper.make_node("Concat", [f"{output}_series", "static", "derived"], [f"{output}_flat"], axis=1),
        helper.make_node(
            "TreeEnsembleRegressor",
            [f"{output}_flat"],
            [output],
            domain="ai.onnx.ml",
            n_targets=len(grown),
            aggregate_function="SUM",
            post_transform="NONE",
            nodes_treeids=n["treeids"],
            nodes_nodeids=n["nodeids"],
            nodes_featureids=n["featureids"],
            nodes_values=n["values"],
            nodes_modes=n["modes"],
            nodes_truenodeids=n["truenodeids"],
            nodes_falsenodeids=n["falsenodeids"],
            nodes_missing_value_tracks_true=n["missing"],
            target_treeids=leaves["treeids"],
            target_nodeids=leaves["nodeids"],
            target_ids=leaves["ids"],
            target_weights=leaves["weights"],
        ),
    ]
