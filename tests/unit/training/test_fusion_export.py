"""The exported graph is the trained model, and its explanation is of it."""

import json
from functools import cache
from typing import Any

import lightgbm as lgb
import numpy as np
import onnxruntime as ort
import pytest
import torch

from services.domain.features import ARRAYS, MODALITIES, VARIABLE_NAMES
from services.domain.features.derived import SOURCES
from services.domain.features.series import STATISTIC
from services.local.stack import MODEL_REPOSITORY
from tests.unit.training.support_fusion import EMPTY, Rows, as_sent, inputs, table
from training.eicu.targets import EXPECTED as APACHE
from training.fusion.boost import Grown
from training.fusion.explain import NetworkExplanation, gelu
from training.fusion.export import TREES, export_served, export_trees
from training.fusion.network import OUTCOMES, FusionNet, Together
from training.fusion.served import PATTERNS, PLAYERS, Calibration, Served, shapley_weights
from training.fusion.trees import (
    CREDIT,
    EXPECTED,
    NOTE_COLUMN,
    NOTHING,
    READ,
    STATIC_COLUMNS,
    WHOLE,
    WIDTH,
    flat,
    float32_below,
)

ROWS = 7
K, V = len(OUTCOMES), len(VARIABLE_NAMES)


@cache
def boosters(seed: int = 1, leaves: int = 15, only: tuple[int, ...] = tuple(range(WIDTH))) -> tuple[Any, Any]:
    """One for each outcome, that reads the columns `only` of the flat input. The old are ill, and those whose notes
    say so, so that static data and notes count."""
    made = table(600, seed=seed)
    data, old = flat(made.inputs)[:, only], made.inputs["static"][:, 0] > 0.5
    old = old | (np.nan_to_num(made.inputs["note"][:, EXPECTED]) > 0.7)
    settings = {"objective": "binary", "num_leaves": leaves, "verbose": -1, "num_threads": 1, "seed": seed}
    return tuple(lgb.train(settings, lgb.Dataset(data, made.labels[o] + old > 0), 12) for o in OUTCOMES)  # type: ignore[return-value]


@cache
def model(seed: int = 0) -> Served:
    torch.manual_seed(seed)
    made = Calibration.none(K)
    rng = np.random.default_rng(seed)
    made.network[:] = [[0.7], [0.4]]
    made.slope[:] = rng.uniform(0.5, 1.5, made.slope.shape)
    made.intercept[:] = rng.uniform(-1, 1, made.intercept.shape)
    return Served(Together([FusionNet(), FusionNet()]), made).eval()


def session(graph: Any) -> ort.InferenceSession:
    return ort.InferenceSession(graph.SerializeToString())


@cache
def served() -> ort.InferenceSession:
    trees = [[Grown(b, weight, np.arange(WIDTH)) for weight in (0.7, 0.3)] for b in boosters()]
    return session(export_served(model(), trees))


def run(rows: Rows) -> Rows:
    numbers = np.arange(100, 100 + len(rows["series"]), dtype=np.int64)[:, None]
    names = [o.name for o in served().get_outputs()]
    return dict(zip(names, served().run(names, {**rows, "row_id": numbers}), strict=True))


def trees(rows: Rows, grown: tuple[Any, ...], only: tuple[int, ...] = tuple(range(WIDTH))) -> tuple[Any, Any]:
    """What the ensembles' ONNX nodes answer alone."""
    found = session(export_trees([[Grown(b, 1.0, np.array(only))] for b in grown]))
    return tuple(found.run(list(TREES), {name: rows[name] for name in READ}))


def tensors(rows: Rows) -> list[torch.Tensor]:
    return [torch.from_numpy(rows[n]) for n in ARRAYS]


def directly(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """(mixed, calibrated) logits by torch and lightgbm themselves."""
    scores = np.stack([b.predict(flat(rows), raw_score=True) for b in boosters()], 1).astype(np.float32)
    presence = torch.from_numpy(rows["presence"])
    with torch.no_grad():
        mixed = model().blend.mixed(presence, model().net(*tensors(rows)), torch.from_numpy(scores))
        slope, intercept = model().blend.line(presence)
        return mixed.numpy(), (slope * mixed + intercept).numpy()


def with_modalities(rows: Rows, number: int) -> Rows:
    """The rows with the modalities of that pattern alone, as if the others had never been sent."""
    kept = {n: a.copy() for n, a in rows.items()}
    kept["presence"][:, :PLAYERS] *= [number >> m & 1 for m in range(PLAYERS)]
    return as_sent(kept)


def nothing_measured(rows: Rows) -> Rows:
    series = np.full_like(rows["series"], np.nan)
    series[:, :, STATISTIC["hours_with_6h"] :] = 0
    return {"series": series, "derived": np.full_like(rows["derived"], np.nan)}


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("rows", [1, ROWS])
def test_the_served_graph_gives_the_trained_models_probabilities(rows: int) -> None:
    made = inputs(rows)
    answer = run(made)
    mixed, calibrated = directly(made)
    assert np.abs(answer["risk"] - sigmoid(calibrated)).max() < 1e-6
    assert np.abs(answer["raw"] - sigmoid(mixed)).max() < 1e-6
    assert answer["row_id_out"].tolist() == [[100 + n] for n in range(rows)]
    assert answer["modality_contribution"].shape == (rows, K, len(MODALITIES))
    assert answer["variable_contribution"].shape == (rows, K, V)


def test_trees_take_the_same_path_as_lightgbm_even_on_a_threshold() -> None:
    made = inputs(40, seed=3)
    booster = boosters()[0]
    cuts = [n["threshold"] for t in booster.dump_model()["tree_info"] for n in _splits(t["tree_structure"])]
    cuts = [c for c in cuts if abs(c) > 1e-30]  # LightGBM reads what is nearer to zero as zero; no input is
    values = np.array([0.0, *map(np.float32, cuts), *map(float32_below, cuts)], np.float32)
    made["series"] = np.random.default_rng(0).choice(values, made["series"].shape).astype(np.float32)
    assert np.abs(run(made)["raw"] - sigmoid(directly(made)[0])).max() < 1e-6


def _splits(node: dict[str, Any]) -> list[dict[str, Any]]:
    return [node, *_splits(node["left_child"]), *_splits(node["right_child"])] if "left_child" in node else []


def test_path_contributions_of_trees_with_one_split_are_lightgbm_s_exact_shapley_values() -> None:
    made, stumps = inputs(50), boosters(leaves=2)
    found, _ = trees(made, stumps)
    exact = [b.predict(flat(made), pred_contrib=True)[:, :-1] @ CREDIT for b in stumps]
    assert np.abs(found[:, (WHOLE + 1) * K :].reshape(-1, K, V) - np.stack(exact, 1)).max() < 1e-6


def test_path_contributions_add_up_to_what_the_score_is_above_its_expectation() -> None:
    series = tuple(range(STATIC_COLUMNS.start))  # every column of which is one variable's
    made, grown = inputs(50), boosters(only=series)
    found, _ = trees(made, grown, series)
    data = flat(made)[:, series]
    expected = [b.predict(data, pred_contrib=True)[:, -1] for b in grown]
    total = found[:, WHOLE * K : (WHOLE + 1) * K] - np.stack(expected, 1)
    assert np.abs(found[:, (WHOLE + 1) * K :].reshape(-1, K, V).sum(-1) - total).max() < 1e-5


def test_a_column_s_effect_is_shared_among_its_variables_and_static_data_and_notes_are_none_s() -> None:
    assert set(np.round(CREDIT.sum(1), 6)) == {0.0, 1.0}
    assert not CREDIT[[*STATIC_COLUMNS, NOTE_COLUMN]].any()
    for row, names in zip(CREDIT[STATIC_COLUMNS.stop : NOTE_COLUMN], SOURCES, strict=True):
        assert {VARIABLE_NAMES[v] for v in np.flatnonzero(row)} == set(names)


@pytest.mark.parametrize("pattern", range(WHOLE + 1))
def test_trees_that_lack_a_modality_score_as_lightgbm_does_of_a_record_without_it(pattern: int) -> None:
    made = inputs(50)
    made["presence"][:] = 1
    found, lacking = trees(made, boosters())
    scores = (found[:, : (WHOLE + 1) * K] + lacking).reshape(-1, WHOLE + 1, K)
    expected = np.stack([b.predict(flat(with_modalities(made, pattern)), raw_score=True) for b in boosters()], 1)
    assert np.abs(scores[:, pattern] - expected).max() < 1e-5
    assert pattern == WHOLE or np.abs(scores[:, WHOLE] - expected).max() > 1e-3


def test_nothing_is_what_an_empty_record_has() -> None:
    assert np.array_equal(NOTHING, flat({n: a[None] for n, a in EMPTY.items()})[0], equal_nan=True)
    assert np.isnan(NOTHING).any()
    assert (NOTHING == 0).any()


def test_what_trees_read_of_notes_is_the_direction_that_a_published_score_taught() -> None:
    shipped = json.loads((MODEL_REPOSITORY / "note_encoder" / "manifest.json").read_text())
    assert shipped["directions"].index(APACHE) == EXPECTED


def test_a_modality_s_contribution_is_its_shapley_value_over_rows_that_lack_modalities() -> None:
    made = inputs(ROWS)
    made["presence"][0] = 0  # a patient of whom nothing is known
    made["presence"][1, 0] = 0  # one of whom nothing has been measured
    made = as_sent(made)
    values = np.stack([directly(with_modalities(made, number))[1] for number in range(PATTERNS)], 1)
    found = run(made)["modality_contribution"]
    assert np.abs(found - (shapley_weights() @ values).transpose(0, 2, 1)).max() < 1e-4
    absent = made["presence"] == 0
    assert np.abs(found.transpose(0, 2, 1)[absent]).max() < 1e-6
    assert not found[:, :, MODALITIES.index("genomic")].any()


def test_a_network_s_contributions_add_up_to_what_knowing_the_variables_changes() -> None:
    """Completeness of integrated gradients (Sundararajan et al. 2017, proposition 1), by four nodes."""
    made = inputs(50)
    nothing = made | nothing_measured(made)
    ownerless = [not names for names in SOURCES]
    nothing["derived"][:, ownerless] = made["derived"][:, ownerless]
    torch.manual_seed(0)
    net = FusionNet().eval()
    with torch.no_grad():
        net.series.weight *= 6  # a new network is nearly straight, a trained one is not
        _, found = NetworkExplanation(net, torch.ones(1, PLAYERS)).eval()(*tensors(made))
        difference = net(*tensors(made)) - net(*tensors(nothing))
    assert (found.sum(1) - difference).abs().max() < 5e-3
    assert difference.abs().mean() > 0.1


def test_the_gradient_written_out_is_autograd_s() -> None:
    net = FusionNet().eval()
    x = torch.randn(3, net.sizes.width, requires_grad=True)
    found = NetworkExplanation(net, torch.ones(1, PLAYERS))._gradient(x)
    for k in range(K):
        (expected,) = torch.autograd.grad(net.logits(x)[:, k].sum(), x)
        assert torch.allclose(found[:, k], expected, atol=1e-6)
    value, slope = gelu(x)
    (expected,) = torch.autograd.grad(torch.nn.functional.gelu(x).sum(), x)
    assert torch.allclose(value, torch.nn.functional.gelu(x), atol=1e-6)
    assert torch.allclose(slope, expected, atol=1e-6)


def test_the_average_of_networks_is_the_mean_of_their_logits() -> None:
    nets = [FusionNet().eval() for _ in range(2)]
    made = tensors(inputs(ROWS))
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
    assert np.abs(run(made)["variable_contribution"] - one).max() < 1e-4
    same = [np.corrcoef(a, b)[0, 1] for a, b in zip(one[:, 0], other[:, 0], strict=True)]
    assert np.mean(same) < 0.3


def explained(rows: Rows, seed: int) -> np.ndarray:
    """The variables' contributions by torch, on what the trees' nodes answer."""
    numbers = torch.zeros(len(rows["series"]), 1)
    with torch.no_grad():
        of_trees = map(torch.from_numpy, trees(rows, boosters(seed + 1)))
        found: np.ndarray = model(seed)(*tensors(rows), numbers, *of_trees)[3].numpy()
    return found


def test_what_is_switched_off_or_absent_changes_nothing() -> None:
    made = inputs(ROWS)
    other = {n: a.copy() for n, a in made.items()}
    other["genomic"] += 1  # shipped switched off
    other["note"][other["presence"][:, 2] == 0] = 9
    for name, found in run(other).items():
        assert np.array_equal(found, run(made)[name]), name
