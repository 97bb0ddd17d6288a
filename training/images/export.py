"""From the trained image encoder to its folder in the model repository."""

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import onnx
import torch

from services.domain.images import IMAGE_PREPROCESSING, SIZE
from training.images.data import Radiographs
from training.images.network import EMBEDDING, Head, Served, Trunk
from training.repository import publish_encoder, tidy

MODEL = "image_encoder"
OPSET = 18
MAX_BATCH = 32


def export(trunk: Trunk, head: Head, slope: float, intercept: float) -> onnx.ModelProto:
    """The graph: `image` float32 [rows, 1, SIZE, SIZE], `row_id` -> `embedding`, `finding`, `row_id_out`."""
    module = Served(trunk, head, slope, intercept).eval()
    rows = torch.export.Dim("rows", min=1, max=4096)
    file: Any = BytesIO()
    torch.onnx.export(
        module,
        (torch.zeros(2, 1, SIZE, SIZE), torch.zeros(2, 1, dtype=torch.int64)),
        file,
        input_names=["image", "row_id"],
        output_names=["embedding", "finding", "row_id_out"],
        opset_version=OPSET,
        dynamic_shapes=[{0: rows}, {0: rows}],
        external_data=False,
        dynamo=True,
        verbose=False,
    )
    sizes = {"image": [1, SIZE, SIZE], "row_id": [1], "embedding": [EMBEDDING], "finding": [1], "row_id_out": [1]}
    return tidy(onnx.load_from_string(file.getvalue()), MODEL, sizes)


def publish(
    trunk: Trunk,
    head: Head,
    slope: float,
    intercept: float,
    figures: Mapping[str, Any],
    pictures: Radiographs,
    repository: Path,
) -> Path:
    """Writes `model_repository/image_encoder` with the out-of-fold `figures`: `cross_validation`, one for each seed,
    `controls` and `subgroups`."""
    details = {
        "modality": "image",
        "preprocessing": IMAGE_PREPROCESSING,
        "findings": ["pneumonia"],
        "calibration": {"slope": slope, "intercept": intercept, "prevalence": float(pictures.pneumonia.mean())},
        "data": {"name": "NIH ChestX-ray14 subset", "images": len(pictures), "patients": len(set(pictures.patients))},
        **figures,
    }
    return publish_encoder(export(trunk, head, slope, intercept), MODEL, repository, MAX_BATCH, details)
