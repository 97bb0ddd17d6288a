"""A real tritonserver for tests, on small ONNX models that the tests make: a logistic regression for the fusion
model, a mean for an encoder."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from services.domain.features import ARRAYS, MODALITIES, VARIABLE_NAMES
from services.domain.features.inputs import IMAGE_SIZE, NOTE_SIZE
from services.domain.features.variables import INDEX
from services.domain.images import SIZE
from services.domain.notes import MAX_TOKENS
from services.local.triton import LocalTriton
from tests.support import ROOT

WEIGHTS = np.array([[0.8], [-0.4], [0.2]], np.float32)
BIAS = np.array([-0.5], np.float32)

_ONNX_TYPES = {"TYPE_FP32": TensorProto.FLOAT, "TYPE_INT64": TensorProto.INT64}

Tensor = tuple[str, str, list[int]]
ROW: Tensor = ("row_id", "TYPE_INT64", [1])


def write_model(
    repository: Path,
    name: str,
    nodes: list[onnx.NodeProto],
    inputs: list[Tensor],
    outputs: list[Tensor],
    constants: dict[str, np.ndarray] | None = None,
    version: int = 1,
    manifest: dict[str, object] | None = None,
) -> Path:
    """Write one complete model folder; `row_id` in and out is added. Returns the folder."""
    nodes = [*nodes, helper.make_node("Identity", ["row_id"], ["row_id_out"])]
    inputs = [ROW, *inputs]
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info(n, _ONNX_TYPES[t], ["n", *d]) for n, t, d in inputs],
        [helper.make_tensor_value_info(n, _ONNX_TYPES[t], ["n", *d]) for n, t, d in outputs]
        + [helper.make_tensor_value_info("row_id_out", TensorProto.INT64, ["n", 1])],
        [numpy_helper.from_array(array, key) for key, array in (constants or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return _write_folder(repository / name, model, inputs, outputs, version, manifest or {})


def _write_folder(
    folder: Path,
    model: onnx.ModelProto,
    inputs: list[Tensor],
    outputs: list[Tensor],
    version: int,
    manifest: dict[str, object],
) -> Path:
    # Triton tells inputs from outputs by their list, so both may be called row_id; an ONNX graph may not repeat a name.
    onnx.checker.check_model(model)
    (folder / str(version)).mkdir(parents=True, exist_ok=True)
    (folder / "configs").mkdir(exist_ok=True)
    onnx.save(model, folder / str(version) / "model.onnx")
    outputs = [*outputs, ("row_id_out", "TYPE_INT64", [1])]
    body = _config_body(folder.name, inputs, outputs)
    (folder / "config.pbtxt").write_text(f'backend: "onnxruntime"\n{body}')
    (folder / "configs" / "cpu.pbtxt").write_text(f'backend: "python"\n{body}')
    (folder / "manifest.json").write_text(json.dumps({"model": folder.name, **manifest}))
    return folder


def _config_body(name: str, inputs: list[Tensor], outputs: list[Tensor]) -> str:
    def entries(tensors: list[Tensor]) -> str:
        rows = [f'  {{ name: "{n}" data_type: {t} dims: {json.dumps(d)} }}' for n, t, d in tensors]
        return ",\n".join(rows)

    return (
        f'name: "{name}"\nmax_batch_size: 64\ndynamic_batching {{}}\nversion_policy: {{ all {{}} }}\n'
        f"input [\n{entries(inputs)}\n]\noutput [\n{entries(outputs)}\n]\n"
    )


def write_logistic(repository: Path, name: str = "logistic", version: int = 1, **manifest: object) -> Path:
    """risk = sigmoid(x @ WEIGHTS + BIAS), raw = the same (uncalibrated = calibrated); x is FP32 [n, 3]."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["xw"]),
        helper.make_node("Add", ["xw", "b"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["risk"]),
        helper.make_node("Identity", ["risk"], ["raw"]),
    ]
    outputs: list[Tensor] = [("risk", "TYPE_FP32", [1]), ("raw", "TYPE_FP32", [1])]
    constants = {"w": WEIGHTS, "b": BIAS}
    return write_model(repository, name, nodes, [("x", "TYPE_FP32", [3])], outputs, constants, version, manifest)


def logistic(x: np.ndarray) -> np.ndarray:
    """What `write_logistic`'s model answers, computed here."""
    return 1 / (1 + np.exp(-(x.astype(np.float64) @ WEIGHTS + BIAS)))


@pytest.fixture(scope="session")
def tiny_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    repository = tmp_path_factory.mktemp("models")
    write_logistic(repository)
    return repository


@pytest.fixture(scope="session")
def tiny_triton(tiny_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalTriton]:
    """The real server on the tests' own models, one for the session. Tests that harm it start their own."""
    yield from _running(LocalTriton(tmp_path_factory.mktemp("triton"), tiny_repository))


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalTriton]:
    """The real server on the project's own model repository."""
    yield from _running(LocalTriton(tmp_path_factory.mktemp("triton"), ROOT / "model_repository"))


def _running(server: LocalTriton) -> Iterator[LocalTriton]:
    server.start()
    try:
        yield server
    finally:
        server.kill()  # nothing of it is kept, so it need not drain


def write_fusion(repository: Path, version: int = 1, scale: float = 200.0) -> None:
    """A `risk_fusion` of the served shape, without training: sepsis risk = last heart rate / scale, death half of it.

    Its contributions are zeros. For tests of what happens around the model.
    """
    inputs: list[Tensor] = [(name, "TYPE_FP32", list(shape)) for name, shape in ARRAYS.items()]
    outcomes = [{"name": "sepsis-6h", "threshold": 0.5}, {"name": "mortality", "threshold": 0.5}]
    constants = {
        "heart_rate": np.array([INDEX["heart_rate"]], np.int64),
        "last": np.array([0], np.int64),
        "one": np.array([-1, 1], np.int64),
        "zero": np.zeros((1, 1), np.float32),
        "last_axis": np.array([2], np.int64),
        "scales": np.array([[1 / scale, 0.5 / scale]], np.float32),
    }
    nodes = [
        helper.make_node("Gather", ["series", "heart_rate"], ["row"], axis=1),
        helper.make_node("Gather", ["row", "last"], ["cell"], axis=2),
        helper.make_node("Reshape", ["cell", "one"], ["rate"]),
        helper.make_node("IsNaN", ["rate"], ["unknown"]),
        helper.make_node("Where", ["unknown", "zero", "rate"], ["known"]),
        helper.make_node("Mul", ["known", "scales"], ["risk"]),
        helper.make_node("Identity", ["risk"], ["raw"]),
        helper.make_node("Mul", ["known", "zero"], ["noughts"]),
        helper.make_node("Unsqueeze", ["noughts", "last_axis"], ["cube"]),
    ]
    outputs: list[Tensor] = [("risk", "TYPE_FP32", [2]), ("raw", "TYPE_FP32", [2])]
    for name, size in (("modality_contribution", len(MODALITIES)), ("variable_contribution", len(VARIABLE_NAMES))):
        constants[f"no_{name}"] = np.zeros((1, 2, size), np.float32)
        nodes.append(helper.make_node("Add", ["cube", f"no_{name}"], [name]))
        outputs.append((name, "TYPE_FP32", [2, size]))
    described = {"outcomes": outcomes, "version": str(version), "gate": {"min_variables": 1}}
    write_model(repository, "risk_fusion", nodes, inputs, outputs, constants, version, described)


def write_encoders(repository: Path) -> None:
    """A `note_encoder` (how many words, in every place) and an `image_encoder` (the mean grey) of the served shapes."""
    constants = {"wide": np.ones((1, NOTE_SIZE), np.float32), "nought": np.array(0, np.int64)}
    counted = [
        helper.make_node("Greater", ["tokens", "nought"], ["word"]),
        helper.make_node("Cast", ["word"], ["words"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["words", "axis"], ["count"], keepdims=1),
        helper.make_node("Mul", ["count", "wide"], ["embedding"]),
    ]
    constants["axis"] = np.array([1], np.int64)
    tokens: list[Tensor] = [("tokens", "TYPE_INT64", [MAX_TOKENS])]
    write_model(repository, "note_encoder", counted, tokens, [("embedding", "TYPE_FP32", [NOTE_SIZE])], constants)
    grey = [
        helper.make_node("Flatten", ["image"], ["flat"], axis=1),
        helper.make_node("ReduceMean", ["flat"], ["finding"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["finding", "wide"], ["embedding"]),
    ]
    outputs: list[Tensor] = [("embedding", "TYPE_FP32", [IMAGE_SIZE]), ("finding", "TYPE_FP32", [1])]
    image: list[Tensor] = [("image", "TYPE_FP32", [1, SIZE, SIZE])]
    wide = {"wide": np.ones((1, IMAGE_SIZE), np.float32)}
    write_model(repository, "image_encoder", grey, image, outputs, wide, manifest={"findings": ["pneumonia"]})
