"""Folders of the model repository: graph, configurations, manifest; and the encoders' training program."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx

from services.inference.manifest import weights_sha256
from services.local.stack import MODEL_REPOSITORY
from training.card import refresh

CARD = "MODEL_CARD.md"
HOME = Path(".wardstream") / "training" / "models"

TYPES = {onnx.TensorProto.FLOAT: "TYPE_FP32", onnx.TensorProto.INT64: "TYPE_INT64"}
VERSIONS = "version_policy: { latest: { num_versions: 2 } }\n"


def publish_encoder(
    graph: onnx.ModelProto, name: str, repository: Path, max_batch: int, details: Mapping[str, Any], version: str = "1"
) -> Path:
    """Writes `<repository>/<name>`: `<version>/model.onnx`, `config.pbtxt`, `configs/cpu.pbtxt`, `manifest.json`, and
    `MODEL_CARD.md`, which is the shipped card with this run's figures.

    `details` join the manifest (modality, preprocessing, metrics...). Returns the folder.
    """
    folder = repository / name
    (folder / version).mkdir(parents=True, exist_ok=True)
    onnx.checker.check_model(graph)
    path = folder / version / "model.onnx"
    path.write_bytes(graph.SerializeToString())
    write_configs(folder, graph, max_batch)
    manifest = {
        "model": name,
        "version": version,
        "weights_sha256": weights_sha256(path),
        "max_batch": max_batch,
        "inputs": {v.name: _shape(v) for v in graph.graph.input},
        "outputs": {v.name: _shape(v) for v in graph.graph.output},
        **details,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1, allow_nan=False) + "\n")
    card = (MODEL_REPOSITORY / name / CARD).read_text()
    (folder / CARD).write_text(refresh(card, manifest))
    return folder


def write_configs(folder: Path, graph: onnx.ModelProto, max_batch: int) -> None:
    """Triton's configurations of the model that the folder is named after, its tensors being the graph's:
    `config.pbtxt` for production and `configs/cpu.pbtxt` for the local server."""
    (folder / "configs").mkdir(parents=True, exist_ok=True)
    tensors = _tensors("input", graph.graph.input) + _tensors("output", graph.graph.output)
    for file, backend, kind in (("config.pbtxt", "onnxruntime", "AUTO"), ("configs/cpu.pbtxt", "python", "CPU")):
        head = f'name: "{folder.name}"\nbackend: "{backend}"\nmax_batch_size: {max_batch}\n'
        group = f"instance_group [ {{ kind: KIND_{kind} count: 1 }} ]\n"
        (folder / file).write_text(f"{head}{tensors}dynamic_batching {{}}\n{group}{VERSIONS}")


def tidy(graph: onnx.ModelProto, name: str, sizes: Mapping[str, list[int]]) -> onnx.ModelProto:
    """Fixed row shapes, a named dynamic batch, and nothing of the exporter's environment (paths, stack traces)."""
    del graph.graph.value_info[:]
    del graph.metadata_props[:]
    for node in graph.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*graph.graph.input, *graph.graph.output):
        kind = value.type.tensor_type.elem_type
        value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, kind, ["rows", *sizes[value.name]]))
    graph.graph.name = name
    graph.producer_name, graph.producer_version = "wardstream", ""
    return graph


def _shape(value: onnx.ValueInfoProto) -> list[int]:
    return [d.dim_value for d in value.type.tensor_type.shape.dim[1:]]


def _tensors(kind: str, values: Any) -> str:
    lines = []
    for value in values:
        dims, kind_of = ", ".join(str(size) for size in _shape(value)), TYPES[value.type.tensor_type.elem_type]
        lines.append(f'  {{ name: "{value.name}" data_type: {kind_of} dims: [ {dims} ] }}')
    return f"{kind} [\n" + ",\n".join(lines) + "\n]\n"


def encoder_program(
    task: str, model: str, data: str, train: Callable[[Path, Path], list[dict[str, Any]]], words: Sequence[str] | None
) -> int:
    """`wardstream train TASK` of an encoder; returns the exit status.

    `train(data, repository)` publishes `model` and returns the cross-validated figures of each seed; FileNotFoundError,
    KeyError (a column) and ValueError (broken data) are answered with a sentence. `data` says what is in the folder.
    """
    options = _encoder_options(task, data).parse_args(words)
    repository = MODEL_REPOSITORY if options.publish else Path(options.out)
    try:
        figures = train(options.data, repository)
    except FileNotFoundError as error:
        print(f"wardstream train: not found: {error}", file=sys.stderr)
        return 1
    except (KeyError, ValueError) as error:
        print(f"wardstream train: the data cannot be read: {error}", file=sys.stderr)
        return 1
    for number, row in enumerate(figures):
        low, high = row["auroc_ci"]
        print(
            f"seed {number}: cross-validated AUROC {row['auroc']:.3f} [{low:.3f}, {high:.3f}], AUPRC {row['auprc']:.3f}"
        )
    print(f"wrote {repository / model}")
    return 0


def _encoder_options(task: str, data: str) -> argparse.ArgumentParser:
    """The options that training an encoder has."""
    parser = argparse.ArgumentParser(prog=f"wardstream train {task}")
    parser.add_argument("--data", type=Path, required=True, help=data)
    parser.add_argument("--out", type=Path, default=HOME, help=f"model repository to write to (default {HOME})")
    parser.add_argument("--publish", action="store_true", help="write into model_repository/")
    return parser
