"""A liveness probe of a model: one real inference, because the server's own ready flag stays true when the process
behind a model has been killed."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from tritonclient.utils import triton_to_np_dtype

PROBE_ROW = 7_021_990
"""The row id that a probe sends and expects back."""

Arrays = dict[str, tuple[str, np.ndarray]]


def probe_inputs(metadata: Any) -> Arrays:
    """One row of zeros (empty texts) for each input in Triton's model metadata: name -> (data type, array [1, ...])."""
    found: Arrays = {}
    for tensor in metadata.inputs:
        shape = [1] + [1 if size < 0 else int(size) for size in tensor.shape[1:]]
        if tensor.name == "row_id":
            found[tensor.name] = (tensor.datatype, np.full(shape, PROBE_ROW, np.int64))
        elif tensor.datatype == "BYTES":
            found[tensor.name] = (tensor.datatype, np.full(shape, b"", object))
        else:
            found[tensor.name] = (tensor.datatype, np.zeros(shape, triton_to_np_dtype(tensor.datatype)))
    return found


def check_probe(sent: Mapping[str, tuple[str, np.ndarray]], row_id: np.ndarray | None) -> None:
    """Raises ValueError unless the model echoed the probe's row."""
    if "row_id" in sent and (row_id is None or row_id.reshape(-1).tolist() != [PROBE_ROW]):
        raise ValueError("the model did not echo the probe's row")


def echo_name(metadata: Any) -> str:
    """The output that repeats `row_id` (an exporter may have to give it another name); empty when there is none."""
    return next((tensor.name for tensor in metadata.outputs if tensor.name.startswith("row_id")), "")
