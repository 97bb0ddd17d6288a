"""`wardstream train TASK --data PATH`: from a public data set to a model folder that the server reads.

The trees and networks of a model are made side by side, `--workers` at a time; their files are the same, byte for byte,
for any number. `torchrun --nproc-per-node 2 -m training.cli fusion --data DATA` shares out each network's minibatches
instead, with the same result within rounding.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from services.local.stack import MODEL_REPOSITORY
from training.fusion import plans, workers
from training.fusion.controls import controls
from training.fusion.figures import figures, transfer_figures
from training.fusion.fit import Fitted, fit
from training.fusion.publish import publish
from training.fusion.train import world
from training.fusion.transfer import transfer
from training.fusion.workshop import Plan, Workshop

HOME = Path(".wardstream") / "training"

EXAMPLES = """examples:
  wardstream train fusion --data DATA                the model that ships, on all processors
  wardstream train fusion --data DATA --workers 1    in this process alone: slower, and takes least memory
  wardstream train sepsis-6h --data cinc2019/ --quick --out /tmp/models

A run that was stopped goes on when it is called again, with any number of workers.
"""


def parser() -> argparse.ArgumentParser:
    """The options behind the task and its data."""
    made = argparse.ArgumentParser(
        prog="wardstream train TASK --data PATH",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--out", type=Path, default=None, help="folder for the trained models (default: below --home)")
    made.add_argument("--publish", action="store_true", help="write into model_repository/ (task fusion alone)")
    made.add_argument("--home", type=Path, default=HOME, help="caches and checkpoints; a stopped run resumes from them")
    made.add_argument("--seed", type=int, default=0, help="added to the seeds of the models that are averaged")
    made.add_argument("--epochs", type=int, default=None)
    made.add_argument("--quick", action="store_true", help="a miniature run to see that everything works")
    made.add_argument(
        "--workers",
        type=_number,
        default=processors(),
        metavar="N",
        help="processes that make trees and networks side by side (default: one for each processor that this one may "
        "use, here %(default)s)",
    )
    return made


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _number(word: str) -> int:
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def command(args: argparse.Namespace) -> int:
    """Train; returns the exit status. Tasks of other rooms are handed on to them."""
    if args.task not in plans.TASKS:
        return _elsewhere(args)
    options = parser().parse_args(args.rest)
    home = options.home / plans.run_folder(args.task, options.seed, options.quick)
    try:
        places = plans.locate(args.task, args.data)
        opened = partial(plans.opened, places, options.home / "tables", _plan(options), home)
        shop = opened()
    except (FileNotFoundError, KeyError) as error:
        return _refused(error)
    try:
        if options.workers > 1 and world() == (0, 1):
            workers.prepare(shop, opened, options.workers)
    except workers.Failed as error:
        return _refused(error)
    _finish(args.task, shop, options)
    return 0


def _refused(error: Exception) -> int:
    print(f"wardstream train: {error}", file=sys.stderr)
    return 1


def _finish(task: str, shop: Workshop, options: argparse.Namespace) -> None:
    """Fits what is not made yet, chooses, and writes the model."""
    fitted = fit(shop)
    if world()[0] == 0:
        published = options.publish and task == "fusion"
        target = MODEL_REPOSITORY if published else options.out or options.home / "models" / task
        _report(fitted, publish(fitted, shop.tables, _figures(fitted, shop), target))


def _plan(options: argparse.Namespace) -> Plan:
    plan = plans.quick(plans.FULL) if options.quick else plans.FULL
    epochs = options.epochs or plan.network.epochs
    seeds = tuple(seed + options.seed for seed in plan.seeds)
    return replace(plan, network=replace(plan.network, epochs=epochs), seeds=seeds)


def _figures(fitted: Fitted, shop: Workshop) -> dict[str, Any]:
    """The model's figures, those of the controls, and what trees of one unit reach in the other."""
    checks: dict[str, Any] = {}
    moved: dict[str, Any] = {}
    for outcome in shop.outcomes:
        for name in shop.knowing(outcome):
            table = shop.tables[name]
            asked = shop.checked(name, outcome)
            checks[f"{outcome} on {name}"] = controls(*asked)
            if name in shop.gains:
                found = transfer(asked[0], shop.plan.trees[outcome], shop.home)
                moved |= transfer_figures(fitted, table, name, shop.gains[name], outcome, found)
    made = figures(fitted, shop.tables, shop.gains, checks)
    return {**made, "transfer": moved} if moved else made


def _report(fitted: Fitted, folder: Path) -> None:
    print(f"wrote {folder}; epochs of the fold networks: {fitted.epochs}")
    for k, outcome in enumerate(fitted.outcomes):
        without, share = fitted.choice.calibration.network[:, k]
        print(f"{outcome}: the network's weight {share:.2f}, without series {without:.2f}; figures: the card there")


def _elsewhere(args: argparse.Namespace) -> int:
    """The encoders have their own training programs."""
    import importlib

    modules = {"cxr-pneumonia": "training.images.train", "notes": "training.notes.train"}
    return int(importlib.import_module(modules[args.task]).main(["--data", str(args.data), *args.rest]))


def main(words: Sequence[str] | None = None) -> int:
    """`python -m training.cli TASK --data PATH …`, for torchrun, and `--help` for all options."""
    made = argparse.ArgumentParser(prog="training.cli", add_help=False)
    made.add_argument("task")
    made.add_argument("--data", type=Path, required=True)
    if {"-h", "--help"} & set(sys.argv[1:] if words is None else words):
        parser().print_help()
        return 0
    args, rest = made.parse_known_args(words)
    args.rest = rest
    return command(args)


if __name__ == "__main__":
    sys.exit(main())
