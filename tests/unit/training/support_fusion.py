"""Small made-up tables for the fusion tests: no data set, no clinical meaning."""

import numpy as np

from services.domain.features import ARRAYS, model_inputs
from services.domain.features.derived import DERIVED
from services.domain.record import PatientRecord
from training.datasets.table import Table
from training.fusion.data import Source
from training.fusion.network import OUTCOMES

Rows = dict[str, np.ndarray]
EMPTY = model_inputs(PatientRecord(patient=""), 0).arrays


def inputs(rows: int, seed: int = 0, holes: float = 0.3) -> Rows:
    """Random inputs of every name, with NaN in the tabular ones."""
    rng = np.random.default_rng(seed)
    made = {n: rng.normal(size=(rows, *shape)).astype(np.float32) for n, shape in ARRAYS.items()}
    for name in ("series", "static", "derived"):
        made[name][rng.random(made[name].shape) < holes] = np.nan
    made["presence"] = (rng.random(made["presence"].shape) < 0.7).astype(np.float32)
    made["presence"][:, 0] = 1
    made["age"] = np.abs(made["age"])
    return as_sent(made)


def as_sent(rows: Rows) -> Rows:
    """The rows with nothing in the inputs that trees read of what is not present, as the feature code leaves them."""
    series, static = (rows["presence"][:, modality] == 0 for modality in range(2))
    for name in ("series", "derived"):
        rows[name][series] = EMPTY[name]
    rows["static"][static] = EMPTY["static"]
    rows["note"][rows["presence"][:, 2] == 0] = EMPTY["note"]
    rows["derived"][static, DERIVED.index("age_shock_index")] = np.nan
    return rows


def table(rows: int = 200, outcomes: tuple[str, ...] = OUTCOMES, seed: int = 0) -> Table:
    """Rows of 20 stays whose labels follow two of the inputs, others for another seed."""
    made = inputs(rows, seed)
    rng = np.random.default_rng(seed + 1)
    first, second = 7 * seed % 40, (7 * seed + 5) % 40
    signal = np.nan_to_num(made["series"][:, first, 0]) + np.nan_to_num(made["series"][:, second, 0])
    labels = {o: (signal + rng.normal(size=rows) * 0.5 > 0.7).astype(np.float32) for o in outcomes}
    stay = np.sort(rng.integers(0, 20, rows)).astype(np.int32)
    names = [f"p{seed}-{n}" for n in range(20)]
    return Table(made, labels, np.arange(rows, dtype=np.float32), stay, names, names)


def source(rows: int = 200, outcomes: tuple[str, ...] = OUTCOMES, seed: int = 0) -> Source:
    return Source(table(rows, outcomes, seed), np.arange(rows), outcomes=OUTCOMES)
