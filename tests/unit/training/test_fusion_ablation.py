"""The ablation of the served model takes away what it says and nothing else."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.unit.training.support_fusion import table
from training.datasets.table import Table
from training.fusion.ablation import risks
from training.fusion.boost import TreeSettings
from training.fusion.folds import FOLDS
from training.fusion.network import OUTCOMES, FusionNet
from training.fusion.workshop import Plan

PLAN = Plan(trees={"mortality": (TreeSettings(5, {"min_data_in_leaf": 5}),)}, seeds=(1, 2))


def hospitals(seed: int) -> Table:
    made = table(seed=seed, outcomes=("mortality",))
    made.inputs["presence"][:] = 1
    return replace(made, groups=[f"eicu-{name}" for name in made.patients])


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for seed in PLAN.seeds:
        for fold in range(FOLDS):
            torch.manual_seed(10 * seed + fold)
            net = FusionNet(PLAN.network.sizes, OUTCOMES)
            torch.save({"best": net.state_dict(), "outcomes": net.outcomes}, tmp_path / f"network-{seed}-{fold}.pt")
    return tmp_path


def test_a_set_depends_on_its_own_modalities_alone(home: Path) -> None:
    tables = {"cinc2012": table(outcomes=("mortality",)), "eicu": hospitals(1)}
    before = risks(tables, PLAN, home, (0.7, 0.4))
    assert before["all"].shape == (2, 200)
    rng = np.random.default_rng(5)
    for modality, name in (("series", "series"), ("text", "note"), ("static", "static")):
        values = rng.normal(size=tables["eicu"].inputs[name].shape).astype(np.float32)
        eicu = replace(tables["eicu"], inputs={**tables["eicu"].inputs, name: values})
        after = risks({**tables, "eicu": eicu}, PLAN, home, (0.7, 0.4))
        for other in ("series", "text", "static"):
            changed = not np.array_equal(before[other], after[other])
            assert changed == (other == modality), (modality, other)
        assert np.array_equal(before[f"all but {modality}"], after[f"all but {modality}"])
        assert not np.array_equal(before["all"], after["all"])
