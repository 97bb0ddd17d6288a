"""The shipped image encoder on chest radiographs, by a direct call to ONNX Runtime."""

from pathlib import Path
from typing import Any

import numpy as np

from services.inference.manifest import load_manifest
from services.score.offline import repository
from training.evaluation.scored import Float, Scores, age_band
from training.images.data import Radiographs, read_radiographs
from training.progress import progress

MODEL = "image_encoder"
ROWS = 16


def score_pictures(folder: Path, limit: int | None = None) -> Scores:
    """Calibrated pneumonia risk of every picture; raises ManifestError, FileNotFoundError."""
    import onnxruntime

    manifest = load_manifest(repository(), MODEL)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(repository() / MODEL / manifest.version / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )
    pictures = read_radiographs(folder, limit=limit)
    risks = []
    for start in progress(range(0, len(pictures), ROWS), "pictures"):
        images = pictures.images[start : start + ROWS]
        numbers = np.arange(len(images), dtype=np.int64)[:, None]
        risks.append(session.run(["finding"], {"image": images, "row_id": numbers})[0][:, 0])
    model = {"name": manifest.model, "version": manifest.version, "sha256": manifest.weights_sha256}
    return scores_of(pictures, np.concatenate(risks or [np.zeros(0)]).astype(np.float64), model)


def scores_of(pictures: Radiographs, risk: Float, model: dict[str, Any] | None = None) -> Scores:
    """These risks [N] of the pictures, with subgroups and controls, a patient's pictures together."""
    order = np.argsort(pictures.patients, kind="stable")
    return Scores(
        task="cxr-pneumonia",
        label=pictures.pneumonia[order],
        risk=risk[order],
        patient=pictures.patients[order],
        hours=np.zeros(len(pictures)),
        groups={
            "age": np.asarray([age_band(a) for a in pictures.ages], dtype=object)[order],
            "sex": pictures.sexes[order],
            "view": pictures.views[order],
        },
        controls={
            "age": np.nan_to_num(pictures.ages, nan=-1.0)[order],
            "view (PA above AP)": (pictures.views == "PA").astype(float)[order],
        },
        threshold=0.5,
        model=model or {},
    )
