"""`wardstream train mortality-24h --data PATH`: the note encoder, and what each kind of data is worth on eICU.

The head that answers is `risk_fusion`'s (`wardstream train fusion`), which reads eICU through `training.fusion.eicu`.
"""

import argparse
import json
import sys
from argparse import Namespace
from pathlib import Path

from services.local.stack import MODEL_REPOSITORY
from training.eicu.ablation import ablate, as_table
from training.notes.train import train as train_notes

HOME = Path(".wardstream") / "training" / "models"


def command(args: Namespace) -> int:
    """Trains the note encoder and prints the ablation; returns the exit status."""
    parser = argparse.ArgumentParser(prog="wardstream train mortality-24h --data PATH")
    parser.add_argument("--out", type=Path, default=HOME, help=f"model repository to write to (default {HOME})")
    parser.add_argument("--publish", action="store_true", help="write into model_repository/")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE", help="write the ablation here")
    options = parser.parse_args(args.rest)
    target = MODEL_REPOSITORY if options.publish else options.out
    try:
        for row in train_notes(args.data, target):
            print(f"notes alone: AUROC {row['auroc']:.3f}, AUPRC {row['auprc']:.3f}")
        found = ablate(args.data)
    except FileNotFoundError as error:
        print(f"wardstream train: not found: {error}", file=sys.stderr)
        return 1
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    print(as_table(found))
    return 0
