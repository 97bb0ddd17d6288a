"""How each task is trained: the data sets it reads, and settings that were chosen on validation folds."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from services.domain.features import FEATURE_VERSION
from training.datasets import cinc2012, cinc2019
from training.datasets.table import Table, load_or_build
from training.evaluation import utility
from training.fusion.boost import Aim, TreeSettings
from training.fusion.choose import Gains, Tables
from training.fusion.eicu import load_or_build_eicu
from training.fusion.network import Sizes
from training.fusion.train import Settings
from training.fusion.workshop import Plan, Workshop

_SEPSIS = {
    "learning_rate": 0.05,
    "num_leaves": 15,
    "min_data_in_leaf": 200,
    "feature_fraction": 0.15,
    "bagging_fraction": 0.4,
    "bagging_freq": 1,
    "lambda_l2": 50.0,
}
SEPSIS_TREES = (
    TreeSettings(240, _SEPSIS, Aim.WORTH, weight=1 / 4, keep=0.25),
    # A gain lies within [-0.05, 3]: 25 brings its trees' scores to the spread that the others' log-odds have.
    TreeSettings(240, {**_SEPSIS, "extra_trees": True}, Aim.GAIN, weight=25 / 4, keep=0.25),
    TreeSettings(300, {**_SEPSIS, "extra_trees": True, "num_leaves": 31}, Aim.WORTH, weight=1 / 4, keep=0.25),
    TreeSettings(
        300,
        {**_SEPSIS, "num_leaves": 31, "learning_rate": 0.04, "feature_fraction": 0.1},
        Aim.CHANCE,
        weight=1 / 4,
        keep=0.25,
    ),
)
"""Kinds that err differently, in equal parts; how they were compared: docs/models.md."""

_MORTALITY = {
    "learning_rate": 0.06,
    "num_leaves": 15,
    "min_data_in_leaf": 60,
    "feature_fraction": 0.08,
    "bagging_fraction": 0.5,
    "bagging_freq": 1,
    "lambda_l2": 5.0,
}
MORTALITY_TREES = (
    TreeSettings(300, _MORTALITY, weight=1 / 4),
    TreeSettings(
        300,
        {**_MORTALITY, "extra_trees": True, "num_leaves": 31, "feature_fraction": 0.15},
        Aim.COURSE,
        weight=1 / 4,
    ),
    TreeSettings(300, {**_MORTALITY, "num_leaves": 7, "min_data_in_leaf": 40, "lambda_l2": 2.5}, weight=1 / 4),
    TreeSettings(
        150,
        {**_MORTALITY, "learning_rate": 0.05, "num_leaves": 3, "feature_fraction": 1.0},
        weight=1 / 4,
        rising_with=("age_years", "aps_partial", "note_expected"),
    ),
)
"""The last kind knows a score, an age and the notes' score alone: where deaths are few they are worth more so than
among all."""


Load = Callable[[Path, Path], Table]
"""(where the data set is, where tables are kept) -> its table."""

DATA_SETS: dict[str, Load] = {
    "cinc2019": partial(load_or_build, "cinc2019", cinc2019.read),
    "cinc2012": partial(load_or_build, "cinc2012", cinc2012.read),
    "eicu": load_or_build_eicu,
}
"""By the name of the folder that each has below a folder of several."""

TASKS: dict[str, tuple[str, ...]] = {
    "sepsis-6h": ("cinc2019",),
    "mortality-48h": ("cinc2012",),
    "mortality-24h": ("eicu",),
    "fusion": ("cinc2019", "cinc2012", "eicu"),
}
"""Task -> the data sets that it is trained on."""

HOURLY: dict[str, str] = {"cinc2019": "sepsis-6h"}
"""Data sets whose outcome is asked about each hour, with the gain of an alert (`training.evaluation.utility`)."""

FULL = Plan(
    network=Settings(epochs=6, patience=3, batch=512, weight_decay=0.2, sizes=Sizes(dropout=0.5)),
    trees={"sepsis-6h": SEPSIS_TREES, "mortality": MORTALITY_TREES},
    repeat={"cinc2019": 0.03},
)


def quick(plan: Plan) -> Plan:
    """The same in miniature, to see that everything runs: the model it gives is not for use."""

    def small(kind: TreeSettings) -> TreeSettings:
        return replace(kind, trees=20, keep=1.0, parameters={**kind.parameters, "min_data_in_leaf": 20})

    return replace(
        plan,
        network=replace(plan.network, epochs=2, batch=64),
        trees={outcome: tuple(map(small, kinds)) for outcome, kinds in plan.trees.items()},
        seeds=plan.seeds[:2],
    )


def locate(task: str, path: Path) -> dict[str, Path]:
    """Data set name -> where it is: `path` itself for a task with one data set, else its sub-folders.

    Raises FileNotFoundError naming what is missing.
    """
    names = TASKS[task]
    found: dict[str, Path] = {}
    for name in names:
        below = path / name
        found[name] = below if below.exists() else path
        if len(names) > 1 and not below.exists():
            raise FileNotFoundError(f"{task} needs the folder {name}/ in {path.name}/")
    return found


def run_folder(task: str, seed: int = 0, quick: bool = False) -> str:
    """Where a run keeps its finished parts: those of other features are never taken up."""
    return f"{task}-features-{FEATURE_VERSION}-{seed}{'-quick' if quick else ''}"


def opened(places: dict[str, Path], kept: Path, plan: Plan, home: Path) -> Workshop:
    """The workshop of the data sets at these places, whose tables are `kept` (computed where they are not)."""
    tables = {name: DATA_SETS[name](place, kept) for name, place in places.items()}
    return Workshop(tables, gains(tables), plan, home)


def gains(tables: Tables) -> Gains:
    """By hourly data set: what an alert gains over silence in each row, float64 [rows]."""
    hourly = {name: table for name, table in tables.items() if name in HOURLY}
    return {name: utility.gains(table.labels[HOURLY[name]] > 0, table.stay)[0] for name, table in hourly.items()}
