"""`wardstream train cxr-pneumonia --data PATH [--out FOLDER | --publish]`."""

import argparse
import sys
from argparse import Namespace
from pathlib import Path

from services.local.stack import MODEL_REPOSITORY
from training.images.train import train

HOME = Path(".wardstream") / "training" / "models"


def command(args: Namespace) -> int:
    """Trains the image encoder; returns the exit status."""
    parser = argparse.ArgumentParser(prog="wardstream train cxr-pneumonia --data PATH")
    parser.add_argument("--out", type=Path, default=HOME, help=f"model repository to write to (default {HOME})")
    parser.add_argument("--publish", action="store_true", help="write into model_repository/")
    options = parser.parse_args(args.rest)
    target = MODEL_REPOSITORY if options.publish else options.out
    try:
        figures = train(args.data, target)
    except FileNotFoundError as error:
        print(f"wardstream train: not found: {error}", file=sys.stderr)
        return 1
    for row in figures:
        low, high = row["auroc_ci"]
        print(f"seed {row['seed']}: AUROC {row['auroc']:.3f} [{low:.3f}, {high:.3f}], Brier {row['brier']:.3f}")
    print(f"wrote {target / 'image_encoder'}")
    return 0
