"""From trained parts to `model.onnx`: torch exports the network, the trees are set into its graph."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import ModelProto, TensorProto, helper
from torch import nn

from services.domain.features import ARRAYS, MODALITIES, VARIABLE_NAMES
from training.fusion.served import Alter, Blend, Explain, Served
from training.fusion.trees import ensemble_nodes

OPSET = 18  # read by ONNX Runtime 1.15 and later; Triton 24.10 carries 1.19
IR_VERSION = 9
ML_OPSET = 3
NAMES = (*ARRAYS, "row_id")
EXPLAIN_OUTPUTS = ["modality_contribution", "variable_contribution", "row_id_out"]


def _example(rows: int, outcomes: int) -> list[torch.Tensor]:
    arrays = [torch.zeros(rows, *shape) for shape in ARRAYS.values()]
    return [*arrays, torch.arange(rows).reshape(-1, 1), torch.zeros(rows, outcomes)]


def _torch_graph(module: nn.Module, args: Sequence[torch.Tensor], names: Sequence[str], outputs: Sequence[str]) -> Any:
    batch = torch.export.Dim("rows", min=1, max=1 << 20)
    file = BytesIO()
    module.eval()
    torch.onnx.export(
        module,
        tuple(args),
        file,  # type: ignore[arg-type]
        input_names=list(names),
        output_names=list(outputs),
        opset_version=OPSET,
        dynamic_shapes=[{0: batch} for _ in args],
        external_data=False,
        dynamo=True,
        verbose=False,
    )
    return onnx.load_from_string(file.getvalue())


def export_served(blend: Blend, trees: Sequence[Sequence[Any]], columns: Sequence[Sequence[int]]) -> ModelProto:
    """The `risk_fusion` graph. `trees[k]` are outcome k's boosters, `columns[k]` their columns of the flat input."""
    model = _torch_graph(Served(blend), _example(3, len(trees)), [*NAMES, "tree_scores"], ["risk", "raw", "row_id_out"])
    nodes = ensemble_nodes(trees, columns, "tree_scores")
    _drop_input(model, "tree_scores")
    _prepend(model, nodes)
    return _finish(model, "risk_fusion", len(trees))


def export_explain(blend: Blend, trees: Sequence[Sequence[Any]], columns: Sequence[Sequence[int]]) -> ModelProto:
    """The `risk_fusion_explain` graph: alter the rows, score them all, put the differences together."""
    altered = [f"altered_{name}" for name in ARRAYS]
    first = _prefixed(
        _torch_graph(Alter(), _example(3, len(trees))[:-2], list(ARRAYS), altered), "a_", {*ARRAYS, *altered}
    )
    args = _example(3, len(trees))
    rows = Explain(blend).rows
    many = [x.repeat_interleave(rows, 0) if n != len(args) - 2 else x for n, x in enumerate(args)]
    model = _explain_graph(blend, many, [*altered, "row_id", "tree_scores"])
    nodes = ensemble_nodes(trees, columns, "tree_scores")
    for node in nodes:
        node.input[:] = [f"altered_{n}" if n in ARRAYS else n for n in node.input]
    for name in [*altered, "tree_scores"]:
        _drop_input(model, name)
    _prepend(model, nodes)
    _prepend(model, first.graph.node)
    model.graph.initializer.extend(first.graph.initializer)
    model.graph.input.extend(first.graph.input)
    return _finish(model, "risk_fusion_explain", len(trees))


def _explain_graph(blend: Blend, args: Sequence[torch.Tensor], names: Sequence[str]) -> Any:
    """As `_torch_graph`, with one dynamic size for the rows and R times it for the altered ones."""
    module = Explain(blend)
    rows = torch.export.Dim("rows", min=1, max=1 << 16)
    sizes = [{0: rows} if name == "row_id" else {0: module.rows * rows} for name in names]
    file = BytesIO()
    module.eval()
    torch.onnx.export(
        module,
        tuple(args),
        file,  # type: ignore[arg-type]
        input_names=list(names),
        output_names=EXPLAIN_OUTPUTS,
        opset_version=OPSET,
        dynamic_shapes=sizes,
        external_data=False,
        dynamo=True,
        verbose=False,
    )
    return onnx.load_from_string(file.getvalue())


def _drop_input(model: ModelProto, name: str) -> None:
    kept = [i for i in model.graph.input if i.name != name]
    del model.graph.input[:]
    model.graph.input.extend(kept)


def _prepend(model: ModelProto, nodes: Sequence[Any]) -> None:
    after = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *after])


def _prefixed(model: ModelProto, prefix: str, keep: set[str]) -> ModelProto:
    """The graph with a prefix on every inner name, so that it can stand beside another one."""

    def name(old: str) -> str:
        return old if old in keep or not old else prefix + old

    for node in model.graph.node:
        node.name = prefix + node.name
        node.input[:] = [name(n) for n in node.input]
        node.output[:] = [name(n) for n in node.output]
    for constant in model.graph.initializer:
        constant.name = name(constant.name)
    return model


def _finish(model: ModelProto, title: str, outcomes: int) -> ModelProto:
    """Names, sizes and versions as the server expects them; `row_id` in is echoed as the output `row_id_out`."""
    del model.graph.value_info[:]
    del model.metadata_props[:]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    sizes = {
        **{n: (TensorProto.FLOAT, list(shape)) for n, shape in ARRAYS.items()},
        "row_id": (TensorProto.INT64, [1]),
        "row_id_out": (TensorProto.INT64, [1]),
        "risk": (TensorProto.FLOAT, [outcomes]),
        "raw": (TensorProto.FLOAT, [outcomes]),
        "modality_contribution": (TensorProto.FLOAT, [outcomes, len(MODALITIES)]),
        "variable_contribution": (TensorProto.FLOAT, [outcomes, len(VARIABLE_NAMES)]),
    }
    for values in (model.graph.input, model.graph.output):
        for value in values:
            kind, shape = sizes[value.name]
            value.CopyFrom(helper.make_tensor_value_info(value.name, kind, ["rows", *shape]))
    model.graph.name = title
    model.producer_name, model.producer_version = "wardstream", ""
    model.ir_version = IR_VERSION
    del model.opset_import[:]
    model.opset_import.extend([helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)])
    onnx.checker.check_model(model)
    return model


def save(model: ModelProto, folder: Path) -> Path:
    """Writes `1/model.onnx` below the model's folder and returns its path."""
    path = folder / "1" / "model.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path
