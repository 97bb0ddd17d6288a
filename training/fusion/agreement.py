"""How near the served trees' path contributions come to exact TreeSHAP (Lundberg et al., Nat Mach Intell 2020).

    python -m training.fusion.agreement --data DATA    # after `wardstream train fusion --data DATA`

Both explain the boosters that ship, on the same rows of the data sets that they were trained on. LightGBM's
`pred_contrib` gives a value for each column; a variable's is the sum over its columns, shared out as the served graph
shares them.
"""

import argparse
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from scipy.stats import rankdata

from training.fusion import plans
from training.fusion.boost import Field, Grown, Lesson, kinds_of, matrix
from training.fusion.choose import Gains, Tables
from training.fusion.export import export_trees
from training.fusion.folds import row_folds
from training.fusion.trees import CREDIT, READ, WHOLE
from training.fusion.workshop import Plan, lesson_of

Float = NDArray[np.float64]
ROWS = 2000


def contributions(lesson: Lesson, boosters: list[Grown], rows: NDArray[np.intp]) -> tuple[Float, Float]:
    """By path and by TreeSHAP, [rows, variables] each, in the raw score."""
    graph = export_trees([boosters])
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    inputs = {name: lesson.table.read(name, rows) for name in READ}
    trees: Float = session.run(["trees"], inputs)[0].astype(np.float64)
    exact = np.zeros((len(rows), CREDIT.shape[1]))
    for booster, weight, columns in boosters:
        of_columns = booster.predict(matrix(lesson.table, rows, columns), pred_contrib=True)[:, :-1]
        exact += weight * of_columns @ CREDIT[columns]
    return trees[:, WHOLE + 1 :], exact


def agreement(one: Float, other: Float) -> dict[str, float]:
    """Over rows of variables' contributions: Spearman's rank correlation, mean over the rows; how often the largest
    by size is the same; what share of the three largest is."""
    ranks = [rankdata(x, axis=1) for x in (one, other)]
    order = [np.argsort(-np.abs(x), axis=1) for x in (one, other)]
    common = [len(set(a) & set(b)) / 3 for a, b in zip(order[0][:, :3], order[1][:, :3], strict=True)]
    return {
        "rank correlation": float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(*ranks, strict=True)])),
        "same first": float(np.mean(order[0][:, 0] == order[1][:, 0])),
        "of the first three": float(np.mean(common)),
    }


def measured(tables: Tables, gained: Gains, plan: Plan, home: Path, outcome: str, rows: int) -> dict[str, float]:
    """`agreement` on so many rows drawn for the outcome, by the boosters that training has kept below `home`."""
    lesson = lesson_of(tables, gained, {n: row_folds(t) for n, t in tables.items()}, outcome)
    kinds = plan.trees[outcome]
    boosters = [
        grown._replace(weight=grown.weight / len(plan.seeds))
        for seed in plan.seeds
        for name, kind in zip(kinds_of(kinds), kinds, strict=True)
        for grown in (Field(lesson, kind, seed, f"trees {name} {outcome} {seed}", home).whole(),)
    ]
    drawn = np.random.default_rng(0).choice(lesson.rows, min(rows, len(lesson.rows)), replace=False)
    return agreement(*contributions(lesson, boosters, np.sort(drawn)))


def main() -> None:
    parser = argparse.ArgumentParser(description="Path contributions of the served trees against exact TreeSHAP.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--home", type=Path, default=Path(".wardstream") / "training")
    parser.add_argument("--run", default=plans.run_folder("fusion"), help="folder of the training run below --home")
    parser.add_argument("--rows", type=int, default=ROWS, help="of each outcome")
    options = parser.parse_args()
    places = plans.locate("fusion", options.data)
    tables = {n: plans.DATA_SETS[n](place, options.home / "tables") for n, place in places.items()}
    gained = plans.gains(tables)
    for outcome in plans.FULL.trees:
        found = measured(tables, gained, plans.FULL, options.home / options.run, outcome, options.rows)
        print(outcome, ", ".join(f"{name} {value:.3f}" for name, value in found.items()))


if __name__ == "__main__":
    main()
