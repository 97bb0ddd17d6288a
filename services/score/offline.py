"""Scoring without the stream: the served model and the serving feature code, by a direct call to ONNX Runtime.

What `wardstream score-dataset` prints and what evaluation and the replay test compare the stream with: the same
`model.onnx`, the same features, the same record type. It imports no torch.
"""

import json
from argparse import Namespace
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.domain.features import ARRAYS, FEATURE_VERSION, ModelInputs, inputs_at
from services.domain.record import PatientRecord
from services.inference.manifest import Manifest, ManifestError, load_manifest

MODEL = "risk_fusion"
ROWS = 256
"""Rows of one call: enough that the call's own cost does not count, few enough for a small machine."""

Floats = NDArray[np.float32]


class Asked(NamedTuple):
    """One patient's record and the moments (epoch ms, ascending) at which its risks are asked for."""

    patient: str
    record: PatientRecord
    as_of_ms: Sequence[int]


class Scored(NamedTuple):
    """One answer: calibrated risk and raw probability by outcome."""

    patient: str
    as_of_ms: int
    risk: dict[str, float]
    raw: dict[str, float]


class OfflineModel:
    """A model of the repository in this process. Raises ManifestError when it cannot be used with these features."""

    def __init__(self, repository: Path, name: str = MODEL, version: str = "", threads: int = 1) -> None:
        import onnxruntime

        self.manifest: Manifest = load_manifest(repository, name, version)
        if self.manifest.feature_version != FEATURE_VERSION:
            raise ManifestError(f"{name}: trained on features {self.manifest.feature_version}, here {FEATURE_VERSION}")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        graph = _without_explanation(repository / name / self.manifest.version / "model.onnx")
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    @property
    def outcomes(self) -> list[str]:
        return [str(outcome.name) for outcome in self.manifest.outcomes]

    def score(self, inputs: Sequence[ModelInputs]) -> tuple[Floats, Floats]:
        """(risk, raw), float32 [rows, outcomes] each."""
        stacked = {name: np.stack([row.arrays[name] for row in inputs]) for name in ARRAYS}
        numbers = np.arange(len(inputs), dtype=np.int64)[:, None]
        risk, raw = self._session.run(["risk", "raw"], {**stacked, "row_id": numbers})
        return risk, raw


def _without_explanation(path: Path) -> bytes:
    """The graph without what only the contributions need; all of it where `onnx` is not installed, as it is not where
    models are served. ONNX Runtime computes every output of a graph, whichever are asked for."""
    try:
        import onnx
    except ImportError:
        return path.read_bytes()
    outputs = ["risk", "raw", "row_id_out"]
    part = onnx.utils.Extractor(onnx.load(path)).extract_model([*ARRAYS, "row_id"], outputs)
    return bytes(part.SerializeToString())


def score_offline(asked: Iterable[Asked], model: OfflineModel) -> Iterator[Scored]:
    """The model's answer for every patient and moment, in the order asked, ROWS at a time."""
    waiting: list[tuple[str, ModelInputs]] = []
    for one in asked:
        for inputs in inputs_at(one.record, one.as_of_ms):
            waiting.append((one.patient, inputs))
            if len(waiting) == ROWS:
                yield from _answers(waiting, model)
                waiting = []
    if waiting:
        yield from _answers(waiting, model)


def _answers(waiting: Sequence[tuple[str, ModelInputs]], model: OfflineModel) -> Iterator[Scored]:
    risk, raw = model.score([inputs for _, inputs in waiting])
    for (patient, inputs), p, r in zip(waiting, risk.tolist(), raw.tolist(), strict=True):
        yield Scored(
            patient,
            inputs.as_of_ms,
            dict(zip(model.outcomes, p, strict=True)),
            dict(zip(model.outcomes, r, strict=True)),
        )


def dataset(source: str, path: Path, limit: int | None = None) -> Iterator[Asked]:
    """The stays of a public data set, folded as the stream folds them. Raises ValueError for an unknown source."""
    from training.datasets import cinc2012, cinc2019  # the readers need neither torch nor pandas
    from training.datasets.stays import record_of

    readers = {"cinc2019": cinc2019.read, "cinc2012": cinc2012.read}
    if source not in readers:
        raise ValueError(f"{source} is none of {', '.join(readers)}")
    for stay in islice(readers[source](path), limit):
        yield Asked(stay.patient_id, record_of(stay), stay.decision_ms)


def command(args: Namespace) -> int:
    """`wardstream score-dataset`: JSON lines of patient, hours since the unit's admission, risks. Exit status 0."""
    import sys

    from training.datasets.stays import EPOCH

    model = OfflineModel(repository())
    start = round(EPOCH.timestamp() * 1000)
    for scored in score_offline(dataset(args.source, args.path, args.limit), model):
        line = {
            "patient": scored.patient,
            "hours": round((scored.as_of_ms - start) / 3_600_000, 4),
            "risk": {outcome: round(p, 7) for outcome, p in scored.risk.items()},
            "raw": {outcome: round(p, 7) for outcome, p in scored.raw.items()},
            "model": model.manifest.model,
            "model_version": model.manifest.version,
            "weights_sha256": model.manifest.weights_sha256,
        }
        sys.stdout.write(json.dumps(line) + "\n")
    return 0


def repository() -> Path:
    """The model repository of the settings."""
    from services.bus.settings import load

    return Path(load().models)
