"""Runs a model folder's `model.onnx` inside Triton's Python backend, on CPU.

The tritonserver of the `nvidia-pytriton` wheel has no onnxruntime backend. Locally each model folder is therefore
served through this file, which `services/local/triton.py` links beside `1/model.onnx` as `1/model.py`; in production
Triton's own onnxruntime backend runs the same `model.onnx` and this file is not used.

It runs in the server's environment (`.venv-triton`), so it imports nothing of Wardstream.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """One ONNX session. The requests that Triton's dynamic batcher hands over together run as one batch."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model with one thread, unless its configuration's `intra_op_threads` says otherwise: several small
        models share a machine's cores better than each splits its work over all of them."""
        config = json.loads(args["model_config"])
        parameters = {name: entry["string_value"] for name, entry in config.get("parameters", {}).items()}
        options = ort.SessionOptions()
        options.intra_op_num_threads = int(parameters.get("intra_op_threads", "1"))
        options.inter_op_num_threads = 1
        folder = Path(args["model_repository"]) / args["model_version"]
        # Resolved, so that weights kept in files beside it are found next to the real file and not the link.
        path = (folder / "model.onnx").resolve()
        self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._inputs = [entry.name for entry in self._session.get_inputs()]
        self._outputs = [entry["name"] for entry in config["output"]]
        self._types = {e["name"]: pb_utils.triton_string_to_numpy(e["data_type"]) for e in config["output"]}

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request with its own rows of the batch's answer; a failing batch fails all its requests."""
        feeds = [{name: _array(request, name) for name in self._inputs} for request in requests]
        rows = [len(feed[self._inputs[0]]) for feed in feeds]
        try:
            joined = {name: np.concatenate([feed[name] for feed in feeds]) for name in self._inputs}
            outputs = self._session.run(self._outputs, joined)
        except Exception as error:  # noqa: BLE001 - what onnxruntime raises; its text holds shapes, never values
            message = f"onnxruntime: {type(error).__name__}: {str(error)[:300]}"
            return [pb_utils.InferenceResponse(error=pb_utils.TritonError(message)) for _ in requests]
        return [self._response(outputs, stop - count, stop) for count, stop in zip(rows, np.cumsum(rows), strict=True)]

    def _response(self, outputs: list[Any], start: int, stop: int) -> Any:
        tensors = [
            pb_utils.Tensor(name, np.ascontiguousarray(array[start:stop], dtype=self._types[name]))
            for name, array in zip(self._outputs, outputs, strict=True)
        ]
        return pb_utils.InferenceResponse(output_tensors=tensors)


def _array(request: Any, name: str) -> Any:
    return pb_utils.get_input_tensor_by_name(request, name).as_numpy()
