"""A data set's decisions as arrays on disk: inputs and labels, computed once by the serving feature code."""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.domain.features import ARRAYS, FEATURE_VERSION, inputs_at
from training.datasets.stays import Stay, record_of
from training.progress import progress

DENSE = ("series", "static", "derived", "presence", "age")
"""Inputs kept for every decision; the embeddings are kept only where a data set has them."""


@dataclass(frozen=True)
class Table:
    """Row by row: inputs by name, labels by outcome, the hour, and the number of the stay that the row is of."""

    inputs: dict[str, NDArray[np.float32]]
    labels: dict[str, NDArray[np.float32]]
    hours: NDArray[np.float32]
    stay: NDArray[np.int32]
    patients: list[str]
    groups: list[str]
    subgroups: dict[str, list[str]] = field(default_factory=dict)  # what figures are told apart by, by stay; no input
    content: str = ""  # names what the inputs hold, so that what was made of others is known; "" of a table in memory

    def __len__(self) -> int:
        return len(self.hours)

    def read(self, name: str, rows: Any = slice(None)) -> NDArray[np.float32]:
        """An input of these rows, 0 where the data set does not have it."""
        known = self.inputs.get(name)
        if known is None:
            return np.zeros((len(self.hours[rows]), *ARRAYS[name]), np.float32)
        return np.asarray(known[rows])


def cache_name(source: str, path: Path, *code: Path) -> str:
    """Names the cache by the content of the data set's files, by the feature version, and by the code below this folder
    and the folders `code`: a table is never older than what it was made from, and a copied data set is the same."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    facts = [(f.name, hashlib.sha256(f.read_bytes()).hexdigest()) for f in files if f.is_file()]
    texts = [f.read_text() for folder in (Path(__file__).parent, *code) for f in sorted(folder.glob("*.py"))]
    mark = hashlib.sha256(json.dumps([source, FEATURE_VERSION, facts, texts]).encode()).hexdigest()[:16]
    return f"{source}-{mark}"


def load_or_build(source: str, read: Callable[[Path], Iterable[Stay]], path: Path, home: Path) -> Table:
    """The data set's table from the cache below `home`, computed first when it is not there."""
    folder = home / cache_name(source, path)
    return load(folder) or build(read(path), folder, f"features of {source}")


def load(folder: Path) -> Table | None:
    """A table that was brought to its `finish`, memory mapped; None if there is none."""
    if not (folder / "done.json").exists():
        return None
    about = json.loads((folder / "done.json").read_text())
    return Table(
        inputs={n: np.load(folder / f"input-{n}.npy", mmap_mode="r") for n in about["inputs"]},
        labels={n: np.load(folder / f"label-{n}.npy") for n in about["labels"]},
        hours=np.load(folder / "hours.npy"),
        stay=np.load(folder / "stay.npy"),
        patients=about["patients"],
        groups=about["groups"],
        subgroups=about.get("subgroups", {}),
        content=about["content"],
    )


def finish(folder: Path, about: dict[str, Any]) -> Table:
    """The table of the arrays in the folder, and of what is told `about` them: from now on `load` finds it."""
    content = hashlib.sha256()
    for name in about["inputs"]:
        with (folder / f"input-{name}.npy").open("rb") as file:
            content.update(hashlib.file_digest(file, "sha256").digest())
    (folder / "done.json").write_text(json.dumps({**about, "content": content.hexdigest()[:16]}))
    table = load(folder)
    assert table is not None
    return table


def build(stays: Iterable[Stay], folder: Path, title: str, names: tuple[str, ...] = DENSE) -> Table:
    """Fold every stay, compute the inputs at its decisions, and keep them in `folder`. Shows progress."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {n: (folder / f"input-{n}.bin").open("wb") for n in names}
    hours: list[float] = []
    numbers: list[int] = []
    labels: dict[str, list[NDArray[np.float32]]] = {}
    patients: list[str] = []
    groups: list[str] = []
    for number, stay in enumerate(progress(stays, title)):
        moments = stay.decision_ms
        for inputs in inputs_at(record_of(stay), moments):
            for name, file in files.items():
                file.write(inputs.arrays[name].tobytes())
        hours += stay.decisions
        numbers += [number] * len(moments)
        patients.append(stay.patient_id)
        groups.append(stay.group or stay.patient_id)
        for outcome, values in stay.labels.items():
            labels.setdefault(outcome, []).append(values)
    for name, file in files.items():
        file.close()
        _with_header(folder, name, len(hours))
    for outcome, parts in labels.items():
        np.save(folder / f"label-{outcome}.npy", np.concatenate(parts))
    np.save(folder / "hours.npy", np.array(hours, np.float32))
    np.save(folder / "stay.npy", np.array(numbers, np.int32))
    return finish(folder, {"inputs": list(names), "labels": list(labels), "patients": patients, "groups": groups})


def _with_header(folder: Path, name: str, rows: int) -> None:
    raw = np.memmap(folder / f"input-{name}.bin", np.float32, "r", shape=(rows, *ARRAYS[name]))
    target = np.lib.format.open_memmap(folder / f"input-{name}.npy", "w+", np.float32, (rows, *ARRAYS[name]))
    for begin in range(0, rows, 50_000):
        target[begin : begin + 50_000] = raw[begin : begin + 50_000]
    del raw, target
    (folder / f"input-{name}.bin").unlink()


def merge(tables: Sequence[Table], names: Sequence[str], outcome: str) -> Table:
    """The rows of several tables one after the other, in memory, with the inputs `names` (0 in a table that does not
    have one) and one outcome."""
    ends = np.cumsum([0, *(len(t.patients) for t in tables)])
    return Table(
        inputs={n: np.concatenate([t.read(n) for t in tables]) for n in names},
        labels={outcome: np.concatenate([t.labels[outcome] for t in tables])},
        hours=np.concatenate([t.hours for t in tables]),
        stay=np.concatenate([t.stay + np.int32(first) for t, first in zip(tables, ends[:-1], strict=True)]),
        patients=[p for t in tables for p in t.patients],
        groups=[g for t in tables for g in t.groups],
        content=" ".join(t.content for t in tables),
    )
