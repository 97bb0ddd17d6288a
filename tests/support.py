"""Helpers that several tests share."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def shared(relative: str) -> Path:
    """A path below the shared data and corpora; the test is skipped, with the reason, where it is absent."""
    base = Path(os.environ.get("WARDSTREAM_SHARED", ROOT.parent / "shared"))
    path = base / relative
    if not path.exists():
        pytest.skip(f"{relative} is not here: set WARDSTREAM_SHARED to the folder that holds it")
    return path
