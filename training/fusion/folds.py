"""Folds by patient (by hospital in eICU): a function of the group's name alone, so that every run splits alike."""

from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from training.datasets.table import Table

FOLDS = 5
STOPPING = 10
"""One in so many of the training patients is kept from the network's training and says when it stops."""


def fold_of(group: str, folds: int = FOLDS) -> int:
    """The fold that a patient or hospital belongs to."""
    return int.from_bytes(blake2b(group.encode(), digest_size=4).digest(), "big") % folds


def row_folds(table: Table, folds: int = FOLDS) -> NDArray[np.int8]:
    """The fold of every row of the table: all rows of a group are in one fold."""
    return np.array([fold_of(g, folds) for g in table.groups], np.int8)[table.stay]


def stopping_rows(table: Table) -> NDArray[np.bool_]:
    """The rows that early stopping looks at, by patient too and independent of the fold: never a reported one."""
    return np.array([fold_of(f"stop/{g}", STOPPING) == 0 for g in table.groups], np.bool_)[table.stay]
