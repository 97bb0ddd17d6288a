"""What each kind of data is worth to the served model on eICU: its fold models, asked with some of it taken away.

    python -m training.fusion.ablation --data DATA --json FILE    # after `wardstream train fusion --data DATA`

The models are those that the card's figures come from: every stay is scored by networks and trees that have not seen
its hospital, in the blend that ships, with each seed. `training.eicu.ablation` does the same with plain models fitted
anew for each set.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from services.domain.features import MODALITIES
from services.local.stack import MODEL_REPOSITORY
from training.datasets.table import Table
from training.eicu.ablation import SETS, as_table, report
from training.eicu.dataset import load_stays
from training.fusion import plans
from training.fusion.boost import Field, kinds_of
from training.fusion.calibrate import sigmoid
from training.fusion.choose import Tables
from training.fusion.data import Source
from training.fusion.folds import FOLDS, row_folds
from training.fusion.network import OUTCOMES, FusionNet
from training.fusion.publish import MODEL
from training.fusion.train import logits
from training.fusion.trees import NOTE, SERIES, STATIC_DATA, WHOLE
from training.fusion.workshop import Plan, lesson_of

EICU, OUTCOME = "eicu", "mortality"
REPEATS = 1000
PLACES = {"series": SERIES, "text": NOTE, "static": STATIC_DATA}

Float = NDArray[np.float64]


def risks(tables: Tables, plan: Plan, home: Path, weights: tuple[float, float]) -> dict[str, Float]:
    """Out-of-fold risk float64 [seeds, stays] of eICU by set of modalities, by the network's weights in the blend
    without series and with.

    Reads the checkpoints of training below `home`. Raises FileNotFoundError where there is none.
    """
    grown = _tree_scores(tables, plan, home)
    found = {}
    for name, members in SETS.items():
        kept = {PLACES[member] for member in members}
        pattern = sum(1 << modality for modality in kept)
        weight = weights[pattern >> SERIES & 1]
        logit = weight * _network_logits(tables[EICU], plan, home, kept) + (1 - weight) * grown[pattern]
        found[name] = sigmoid(logit)
    return found


def _network_logits(table: Table, plan: Plan, home: Path, kept: set[int]) -> Float:
    """float64 [seeds, stays] by the fold networks, without the modalities that are not kept."""
    without = tuple(m for m in range(len(MODALITIES)) if m not in kept)
    source, folds = Source(table, np.arange(len(table)), outcomes=OUTCOMES), row_folds(table)
    found = np.empty((len(plan.seeds), len(table)))
    for n, seed in enumerate(plan.seeds):
        for fold in range(FOLDS):
            saved = torch.load(home / f"network-{seed}-{fold}.pt", weights_only=False)
            net = FusionNet(plan.network.sizes, saved["outcomes"])
            net.load_state_dict(saved["best"])
            rows = np.flatnonzero(folds == fold)
            found[n, rows] = logits(net, source, rows, without)[:, net.outcomes.index(OUTCOME)]
    return found


def _tree_scores(tables: Tables, plan: Plan, home: Path) -> list[Float]:
    """float64 [seeds, stays] by the fold trees, by the bits `WHOLE` of the pattern of what they read."""
    lesson = lesson_of(tables, {}, {n: row_folds(t) for n, t in tables.items()}, OUTCOME)
    rows = np.flatnonzero([group.startswith("eicu-") for group in np.array(lesson.table.groups)[lesson.table.stay]])
    kinds = plan.trees[OUTCOME]
    found = [np.zeros((len(plan.seeds), len(rows))) for _ in range(WHOLE + 1)]
    for n, seed in enumerate(plan.seeds):
        for name, kind in zip(kinds_of(kinds), kinds, strict=True):
            field = Field(lesson, kind, seed, f"trees {name} {OUTCOME} {seed}", home)
            for pattern, scores in enumerate(found):
                scores[n] += kind.weight * field.cross_fit(pattern, rows)[rows]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Ablation of the served model on eICU, whole hospitals left out.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--home", type=Path, default=Path(".wardstream") / "training")
    parser.add_argument("--run", default=plans.run_folder("fusion"), help="folder of the training run below --home")
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    places = plans.locate("fusion", options.data)
    tables = {n: plans.DATA_SETS[n](places[n], options.home / "tables") for n in ("cinc2012", EICU)}
    shipped = json.loads((MODEL_REPOSITORY / MODEL / "manifest.json").read_text())
    spec = next(outcome for outcome in shipped["outcomes"] if outcome["name"] == OUTCOME)
    blend = spec["network_weight_without_series"], spec["network_weight"]
    found = report(load_stays(places[EICU]), risks(tables, plans.FULL, options.home / options.run, blend), REPEATS)
    options.json.write_text(json.dumps(found, indent=1) + "\n")
    print(as_table(found))


if __name__ == "__main__":
    main()
