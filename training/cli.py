"""`wardstream train TASK --data PATH`: from a public data set to a model folder that the server reads.

One process: `wardstream train fusion --data DATA`. Several: `torchrun --nproc-per-node 2 -m training.cli fusion
--data DATA`; the network's minibatches are then shared out, with the same result within rounding.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from services.local.stack import MODEL_REPOSITORY
from training.fusion import plans
from training.fusion.choose import Gains, Tables
from training.fusion.controls import controls
from training.fusion.figures import figures, transfer_figures
from training.fusion.fit import Fitted, Plan, fit, lesson_of
from training.fusion.folds import row_folds
from training.fusion.publish import publish
from training.fusion.train import world
from training.fusion.transfer import transfer

HOME = Path(".wardstream") / "training"


def parser() -> argparse.ArgumentParser:
    """The options behind the task and its data."""
    made = argparse.ArgumentParser(prog="wardstream train TASK --data PATH", description=__doc__)
    made.add_argument("--out", type=Path, default=None, help="folder for the trained models (default: below --home)")
    made.add_argument("--publish", action="store_true", help="write into model_repository/ (task fusion alone)")
    made.add_argument("--home", type=Path, default=HOME, help="caches and checkpoints; a stopped run resumes from them")
    made.add_argument("--seed", type=int, default=0, help="added to the seeds of the models that are averaged")
    made.add_argument("--epochs", type=int, default=None)
    made.add_argument("--quick", action="store_true", help="a miniature run to see that everything works")
    return made


def command(args: argparse.Namespace) -> int:
    """Train; returns the exit status. Tasks of other rooms are handed on to them."""
    if args.task not in plans.TASKS:
        return _elsewhere(args)
    options = parser().parse_args(args.rest)
    try:
        places = plans.locate(args.task, args.data)
        tables = {name: plans.DATA_SETS[name](place, options.home / "tables") for name, place in places.items()}
    except (FileNotFoundError, KeyError) as error:
        print(f"wardstream train: {error}", file=sys.stderr)
        return 1
    return _train(args.task, tables, options)


def _train(task: str, tables: Tables, options: argparse.Namespace) -> int:
    plan = plans.quick(plans.FULL) if options.quick else plans.FULL
    epochs = options.epochs or plan.network.epochs
    plan = replace(
        plan, network=replace(plan.network, epochs=epochs), seeds=tuple(s + options.seed for s in plan.seeds)
    )
    gained = plans.gains(tables)
    home = options.home / f"{task}-{options.seed}{'-quick' if options.quick else ''}"
    fitted = fit(tables, gained, plan, home)
    if world()[0] == 0:
        published = options.publish and task == "fusion"
        target = MODEL_REPOSITORY if published else options.out or options.home / "models" / task
        _report(fitted, publish(fitted, tables, _figures(fitted, tables, gained, plan, home), target))
    return 0


def _figures(fitted: Fitted, tables: Tables, gained: Gains, plan: Plan, home: Path) -> dict[str, Any]:
    """The model's figures, those of the controls, and what trees of one unit reach in the other."""
    checks: dict[str, Any] = {}
    moved: dict[str, Any] = {}
    for name, table in tables.items():
        for outcome in table.labels:
            alone = {name: table}
            lesson = lesson_of(alone, gained, {name: row_folds(table)}, outcome)
            checks[f"{outcome} on {name}"] = controls(lesson, f"{outcome} {name}", plan.trees[outcome][0].keep, home)
            if name in gained:
                found = transfer(lesson, plan.trees[outcome], home)
                moved |= transfer_figures(fitted, table, name, gained[name], outcome, found)
    made = figures(fitted, tables, gained, checks)
    return {**made, "transfer": moved} if moved else made


def _report(fitted: Fitted, folder: Path) -> None:
    print(f"wrote {folder}; epochs of the fold networks: {fitted.epochs}")
    for k, outcome in enumerate(fitted.outcomes):
        share = float(fitted.choice.calibration.trees[k])
        print(f"{outcome}: blend of network {1 - share:.2f} and trees {share:.2f}; figures: the card in that folder")


def _elsewhere(args: argparse.Namespace) -> int:
    """The encoders have their own training programs."""
    import importlib

    modules = {"cxr-pneumonia": "training.images.train", "notes": "training.notes.train"}
    return int(importlib.import_module(modules[args.task]).main(["--data", str(args.data), *args.rest]))


def main(words: Sequence[str] | None = None) -> int:
    """`python -m training.cli TASK --data PATH …`, for torchrun."""
    made = argparse.ArgumentParser(prog="training.cli")
    made.add_argument("task")
    made.add_argument("--data", type=Path, required=True)
    args, rest = made.parse_known_args(words)
    args.rest = rest
    return command(args)


if __name__ == "__main__":
    sys.exit(main())
