"""From trained parts to `model.onnx`: torch exports the network, the trees are set into its graph."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import ModelProto, OperatorSetIdProto, TensorProto, helper

from services.domain.features import ARRAYS, MODALITIES, VARIABLE_NAMES
from training.fusion.served import Served
from training.fusion.trees import READ, WHOLE, ensemble_nodes
from training.repository import tidy

OPSET = 18  # read by ONNX Runtime 1.15 and later; Triton 24.10 carries 1.19
IR_VERSION = 9
ML_OPSET = 3
TREES = ("trees", "trees_lacking")
OUTPUTS = ["risk", "raw", "modality_contribution", "variable_contribution", "row_id_out"]


def _widths(outcomes: int) -> tuple[int, int]:
    """Of `TREES`."""
    return outcomes * (WHOLE + 1 + len(VARIABLE_NAMES)), outcomes * (WHOLE + 1)


def _torch_graph(served: Served, outcomes: int, rows: int = 3) -> Any:
    args = [torch.zeros(rows, *shape) for shape in ARRAYS.values()]
    args.append(torch.arange(rows).reshape(-1, 1))
    args += [torch.zeros(rows, width) for width in _widths(outcomes)]
    batch = torch.export.Dim("rows", min=1, max=1 << 20)
    file = BytesIO()
    served.eval()
    torch.onnx.export(
        served,
        tuple(args),
        file,  # type: ignore[arg-type]
        input_names=[*ARRAYS, "row_id", *TREES],
        output_names=OUTPUTS,
        opset_version=OPSET,
        dynamic_shapes=[{0: batch} for _ in args],
        external_data=False,
        dynamo=True,
        verbose=False,
    )
    return onnx.load_from_string(file.getvalue())


def export_served(served: Served, trees: Sequence[Sequence[Any]]) -> ModelProto:
    """The `risk_fusion` graph. `trees[k]` are outcome k's boosters."""
    model = _torch_graph(served, len(trees))
    _drop_inputs(model, TREES)
    _prepend(model, ensemble_nodes(trees))
    return _finish(model, "risk_fusion", len(trees))


def export_trees(trees: Sequence[Sequence[Any]]) -> ModelProto:
    """The trees alone: `TREES` of the inputs `READ`."""
    graph = helper.make_graph(
        ensemble_nodes(trees),
        "trees",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["rows", *ARRAYS[n]]) for n in READ],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", width])
            for name, width in zip(TREES, _widths(len(trees)), strict=True)
        ],
    )
    return helper.make_model(graph, opset_imports=_opsets(), ir_version=IR_VERSION)


def _opsets() -> list[OperatorSetIdProto]:
    return [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]


def _drop_inputs(model: ModelProto, names: Sequence[str]) -> None:
    kept = [i for i in model.graph.input if i.name not in names]
    del model.graph.input[:]
    model.graph.input.extend(kept)


def _prepend(model: ModelProto, nodes: Sequence[Any]) -> None:
    after = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *after])


def _finish(model: ModelProto, title: str, outcomes: int) -> ModelProto:
    """Names, sizes and versions as the server expects them; `row_id` in is echoed as the output `row_id_out`."""
    sizes = {
        **{n: list(shape) for n, shape in ARRAYS.items()},
        "row_id": [1],
        "row_id_out": [1],
        "risk": [outcomes],
        "raw": [outcomes],
        "modality_contribution": [outcomes, len(MODALITIES)],
        "variable_contribution": [outcomes, len(VARIABLE_NAMES)],
    }
    tidy(model, title, sizes)
    model.ir_version = IR_VERSION
    del model.opset_import[:]
    model.opset_import.extend(_opsets())
    onnx.checker.check_model(model)
    return model


def save(model: ModelProto, folder: Path) -> Path:
    """Writes `1/model.onnx` below the model's folder and returns its path."""
    path = folder / "1" / "model.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path
