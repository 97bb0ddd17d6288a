"""eICU's stays as a table for the fusion: one decision a stay, 24 h after unit admission, notes included.

The notes' vectors are cross-fitted: those of a hospital's stays come from an encoder that has not seen the outcomes
of that hospital, as will be so for every patient it meets when it serves.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import training.eicu
import training.notes
from services.domain.features import ARRAYS, model_inputs
from training.datasets.stays import course_of
from training.datasets.table import DENSE, Table, cache_name, finish, load
from training.eicu.dataset import AS_OF_MS, Stay, load_stays
from training.eicu.targets import read_targets
from training.notes.model import fit_semantics
from training.notes.train import corpus_of, cross_fit
from training.progress import progress

OUTCOME = "mortality"
HOURS = 24.0
NAMES = (*DENSE, "note")
FOLDS = 5
CODE = (Path(training.eicu.__file__).parent, Path(training.notes.__file__).parent)


def load_or_build_eicu(path: Path, home: Path) -> Table:
    """The table from the cache below `home`, computed first when it is not there."""
    folder = home / cache_name("eicu", path, *CODE)
    return load(folder) or _build(path, folder)


def _build(path: Path, folder: Path) -> Table:
    stays = load_stays(path)
    vectors = _note_vectors(path, stays)
    rows = [_row(stay, vector) for stay, vector in zip(progress(stays, "features of eicu"), vectors, strict=True)]
    folder.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        np.save(folder / f"input-{name}.npy", np.stack([row[name] for row in rows]))
    labels = {OUTCOME: [stay.death for stay in stays], course_of(OUTCOME): [stay.course for stay in stays]}
    for label, values in labels.items():
        np.save(folder / f"label-{label}.npy", np.array(values, np.float32))
    np.save(folder / "hours.npy", np.full(len(stays), HOURS, np.float32))
    np.save(folder / "stay.npy", np.arange(len(stays), dtype=np.int32))
    about = {
        "inputs": list(NAMES),
        "labels": list(labels),
        "patients": [stay.patient for stay in stays],
        "groups": [f"eicu-{stay.hospital}" for stay in stays],
        "subgroups": {"ethnicity": [stay.ethnicity for stay in stays]},
    }
    return finish(folder, about)


def _note_vectors(path: Path, stays: Sequence[Stay]) -> NDArray[np.float64]:
    """[stays, NOTE_SIZE]: each stay's mean note vector by an encoder fitted on other hospitals."""
    corpus = corpus_of(stays)
    targets = read_targets(path, pd.Index([stay.stay for stay in stays]))
    hospitals = np.array([stay.hospital for stay in stays])
    return cross_fit(corpus, targets, hospitals, FOLDS, fit_semantics(corpus))


def _row(stay: Stay, vector: NDArray[np.float64]) -> dict[str, NDArray[np.float32]]:
    """The model's inputs; every note gets the stay's mean vector, whose mean in the record is the same again."""
    embeddings = [stay.embedding(note, vector.tolist(), "note_encoder", "cross-fitted") for note in stay.notes]
    arrays = model_inputs(stay.record(embeddings), AS_OF_MS).arrays
    if embeddings and arrays["note"].shape != ARRAYS["note"]:
        raise ValueError("the note encoder's vectors are not of the size that the features read")
    return arrays
