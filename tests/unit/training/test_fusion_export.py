"""The exported graph is the trained model, and its explanation is of it."""

from functools import cache
from typing import Any

import lightgbm as lgb
import numpy as np
import onnxruntime as ort
import pytest
import torch

from services.domain.features import ARRAYS, MODALITIES, VARIABLE_NAMES
from services.domain.features.series import STATISTIC
from tests.unit.training.support_fusion import inputs, table
from training.fusion.boost import Grown
from training.fusion.export import export_explain, export_served
from training.fusion.network import OUTCOMES, FusionNet, Together
from training.fusion.served import PATTERNS, Alter, Blend, Calibration, Explain, shapley_weights
from training.fusion.trees import WIDTH, flat, float32_below

ROWS = 7


@cache
def boosters(seed: int = 1) -> tuple[Any, Any]:
    made = table(600, seed=seed)
    data = flat(made.inputs)
    settings = {"objective": "binary", "num_leaves": 15, "verbose": -1, "num_threads": 1, "seed": seed}
    return tuple(lgb.train(settings, lgb.Dataset(data, made.labels[o]), 12) for o in OUTCOMES)  # type: ignore[return-value]


def blend(seed: int = 0) -> Blend:
    torch.manual_seed(seed)
    net = Together([FusionNet(), FusionNet()])
    made = Calibration.none(len(OUTCOMES))
    rng = np.random.default_rng(seed)
    made.trees[:] = 0.6
    made.network[:] = 0.4
    made.slope[:] = rng.uniform(0.5, 1.5, made.slope.shape)
    made.intercept[:] = rng.uniform(-1, 1, made.intercept.shape)
    return Blend(net, made).eval()


@cache
def sessions() -> tuple[ort.InferenceSession, ort.InferenceSession]:
    trees = [[Grown(b, 0.7), Grown(b, 0.3)] for b in boosters()]
    columns = [range(WIDTH)] * len(OUTCOMES)
    graphs = (export_served(blend(), trees, columns), export_explain(blend(), trees, columns))
    served, explain = (ort.InferenceSession(g.SerializeToString()) for g in graphs)
    return served, explain


def run(session: ort.InferenceSession, rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    numbers = np.arange(100, 100 + len(rows["series"]), dtype=np.int64)[:, None]
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, {**rows, "row_id": numbers}), strict=True))


def directly(rows: dict[str, np.ndarray], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(mixed, calibrated) logits by torch and lightgbm themselves."""
    scores = np.stack([b.predict(flat(rows), raw_score=True) for b in boosters(seed + 1)], 1).astype(np.float32)
    with torch.no_grad():
        mixed, calibrated = blend(seed)([torch.from_numpy(rows[n]) for n in ARRAYS], torch.from_numpy(scores))
    return mixed.numpy(), calibrated.numpy()


def explained(rows: dict[str, np.ndarray], seed: int) -> np.ndarray:
    """The variables' contributions by torch and lightgbm themselves."""
    with torch.no_grad():
        altered = Alter()(*(torch.from_numpy(rows[n]) for n in ARRAYS))
        tabular = {n: x.numpy() for n, x in zip(ARRAYS, altered, strict=True)}
        scores = np.stack([b.predict(flat(tabular), raw_score=True) for b in boosters(seed + 1)], 1)
        numbers = torch.zeros(len(rows["series"]), 1)
        return Explain(blend(seed))(*altered, numbers, torch.from_numpy(scores.astype(np.float32)))[1].numpy()


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("rows", [1, ROWS])
def test_the_served_graph_gives_the_trained_models_probabilities(rows: int) -> None:
    made = inputs(rows)
    answer = run(sessions()[0], made)
    mixed, calibrated = directly(made)
    assert np.abs(answer["risk"] - sigmoid(calibrated)).max() < 1e-6
    assert np.abs(answer["raw"] - sigmoid(mixed)).max() < 1e-6
    assert answer["row_id_out"].tolist() == [[100 + n] for n in range(rows)]


def test_trees_take_the_same_path_as_lightgbm_even_on_a_threshold() -> None:
    made = inputs(40, seed=3)
    booster = boosters()[0]
    cuts = [n["threshold"] for t in booster.dump_model()["tree_info"] for n in _splits(t["tree_structure"])]
    cuts = [c for c in cuts if abs(c) > 1e-30]  # LightGBM reads what is nearer to zero as zero; no input is
    values = np.array([0.0, *map(np.float32, cuts), *map(float32_below, cuts)], np.float32)
    made["series"] = np.random.default_rng(0).choice(values, made["series"].shape).astype(np.float32)
    assert np.abs(run(sessions()[0], made)["raw"] - sigmoid(directly(made)[0])).max() < 1e-6


def _splits(node: dict[str, Any]) -> list[dict[str, Any]]:
    return [node, *_splits(node["left_child"]), *_splits(node["right_child"])] if "left_child" in node else []


def test_the_explanation_of_a_variable_is_what_its_absence_changes() -> None:
    made = inputs(ROWS)
    found = run(sessions()[1], made)["variable_contribution"]
    assert found.shape == (ROWS, len(OUTCOMES), len(VARIABLE_NAMES))
    without = {n: a.copy() for n, a in made.items()}
    without["series"][:, 9, : STATISTIC["hours_with_6h"]] = np.nan  # urine output: no derived value is made of it
    without["series"][:, 9, STATISTIC["hours_with_6h"] :] = 0
    assert np.abs(found[:, :, 9] - (directly(made)[1] - directly(without)[1])).max() < 1e-4


def test_shapley_values_of_the_modalities_share_out_the_whole_difference() -> None:
    made = inputs(ROWS)
    found = run(sessions()[1], made)["modality_contribution"]
    nothing = {n: a.copy() for n, a in made.items()}
    nothing["presence"][:] = 0
    for name in ("series", "static", "derived"):
        nothing[name][:] = np.nan
    nothing["series"][:, :, STATISTIC["hours_with_6h"] :] = 0
    whole = directly(made)[1] - directly(nothing)[1]
    assert np.abs(found.sum(-1) - whole).max() < 1e-4
    absent = made["presence"][:, : len(MODALITIES)] == 0
    assert np.abs(found.transpose(0, 2, 1)[absent]).max() < 1e-6
    assert not found[:, :, MODALITIES.index("genomic")].any()


def test_the_average_of_networks_is_the_mean_of_their_logits() -> None:
    nets = [FusionNet().eval() for _ in range(2)]
    made = [torch.from_numpy(inputs(ROWS)[n]) for n in ARRAYS]
    with torch.no_grad():
        assert torch.allclose(Together(nets)(*made), (nets[0](*made) + nets[1](*made)) / 2)


def test_shapley_weights_are_those_of_the_formula() -> None:
    weights = shapley_weights()
    game = np.random.default_rng(0).normal(size=PATTERNS)
    game[0] = 0
    values = weights @ game
    assert values.sum() == pytest.approx(game[-1], abs=1e-5)
    additive = np.array([sum((1.0, 2.0, 3.0, 4.0)[m] for m in range(4) if p >> m & 1) for p in range(PATTERNS)])
    assert (weights @ additive)[:4].tolist() == pytest.approx([1, 2, 3, 4])


def test_another_model_gives_another_explanation() -> None:
    """Sanity check of Adebayo et al. 2018: an explanation that does not depend on the weights explains nothing."""
    made = inputs(30)
    one, other = explained(made, 0), explained(made, 1)
    assert np.abs(run(sessions()[1], made)["variable_contribution"] - one).max() < 1e-4
    same = [np.corrcoef(a, b)[0, 1] for a, b in zip(one[:, 0], other[:, 0], strict=True)]
    assert np.mean(same) < 0.3


def test_what_is_switched_off_or_absent_changes_nothing() -> None:
    made = inputs(ROWS)
    other = {n: a.copy() for n, a in made.items()}
    other["genomic"] += 1  # shipped switched off
    other["note"][other["presence"][:, 2] == 0] = 9
    assert np.array_equal(run(sessions()[0], made)["risk"], run(sessions()[0], other)["risk"])
