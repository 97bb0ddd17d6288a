"""Rows per second and latency of each model, through Triton and by direct ONNX Runtime call, in one run.

    python -m benchmarks.triton [--seconds S] [--json FILE] [MODEL ...]

One request in flight, so that a call's latency is what a micro-batching consumer waits. Both run on CPU with one
thread; for each model and batch the two take turns in short slices, so that a busy machine slows both alike. The
ratio of their medians is the server's overhead: gRPC, serialisation, scheduling, the Python backend.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import tritonclient.grpc as grpc_client
from tritonclient.utils import np_to_triton_dtype

from services.bus.settings import CHECKOUT
from services.inference.manifest import load_manifest
from services.local.triton import LocalTriton
from services.local.triton_repository import versions

REPOSITORY = CHECKOUT / "model_repository"
BATCHES = (1, 8, 64)
SLICE_S = 0.25
WARM_UP = 3


@dataclass(frozen=True)
class Figures:
    """One way of calling at one batch size. Latencies in milliseconds."""

    calls: int
    rows_per_s: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Comparison:
    model: str
    batch: int
    direct: Figures
    triton: Figures
    overhead: float  # median through Triton over median of the direct call


def main() -> int:
    """Print the table; write JSON where asked."""
    parser = argparse.ArgumentParser(prog="benchmarks.triton", description="Triton against direct ONNX Runtime.")
    parser.add_argument("models", nargs="*", metavar="MODEL", help="all complete models when none is named")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each way of calling, model and batch")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, LocalTriton(Path(folder), REPOSITORY) as server:
        found = [
            compare(server.url, model, batch, args.seconds)
            for model in args.models or server.models
            for batch in BATCHES
        ]
    show(found)
    if args.json:
        args.json.write_text(json.dumps([asdict(one) for one in found], indent=2) + "\n")
    return 0


def compare(url: str, model: str, batch: int, seconds: float) -> Comparison:
    """Measure one model at one batch size both ways, in turns."""
    session = _session(model)
    inputs = _inputs(session, batch)
    outputs = [entry.name for entry in session.get_outputs()]
    with grpc_client.InferenceServerClient(url) as client:
        requests = _requests(inputs, load_manifest(REPOSITORY, model).max_batch)
        direct, triton = _in_turns(
            [lambda: session.run(outputs, inputs), lambda: [client.infer(model, one) for one in requests]], seconds
        )
    figures = _figures(direct, batch), _figures(triton, batch)
    return Comparison(model, batch, *figures, round(figures[1].p50_ms / figures[0].p50_ms, 2))


def _in_turns(calls: list[Callable[[], object]], seconds: float) -> list[list[float]]:
    """Durations of each call, in seconds, measured in alternating slices."""
    durations: list[list[float]] = [[] for _ in calls]
    for call in calls:
        for _ in range(WARM_UP):
            call()
    for _ in range(max(1, round(seconds / SLICE_S))):
        for call, taken in zip(calls, durations, strict=True):
            until = time.perf_counter() + SLICE_S
            while (began := time.perf_counter()) < until:
                call()
                taken.append(time.perf_counter() - began)
    return durations


def _figures(durations: list[float], batch: int) -> Figures:
    p50, p99 = (float(v) * 1000 for v in np.percentile(durations, (50, 99)))
    return Figures(len(durations), round(batch * len(durations) / sum(durations), 1), round(p50, 3), round(p99, 3))


def _session(model: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    path = versions(REPOSITORY / model)[-1] / "model.onnx"
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _inputs(session: onnxruntime.InferenceSession, batch: int) -> dict[str, np.ndarray]:
    """Numbers of the right form; what they are does not change how long a dense network or a tree takes by much."""
    generator = np.random.default_rng(0)
    made: dict[str, np.ndarray] = {}
    for entry in session.get_inputs():
        shape = (batch, *(int(size) for size in entry.shape[1:]))
        if entry.type == "tensor(int64)":
            made[entry.name] = generator.integers(0, 1000, shape)
        else:
            made[entry.name] = generator.uniform(0, 1, shape).astype(np.float32)
    return made


def _requests(inputs: dict[str, np.ndarray], most: int) -> list[list[grpc_client.InferInput]]:
    """The batch as the fewest requests that the model takes."""
    rows = len(next(iter(inputs.values())))
    return [
        [_tensor(name, array[start : start + most]) for name, array in inputs.items()] for start in range(0, rows, most)
    ]


def _tensor(name: str, array: np.ndarray) -> grpc_client.InferInput:
    tensor = grpc_client.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    tensor.set_data_from_numpy(array)
    return tensor


def show(found: list[Comparison]) -> None:
    """The table, one line for each model and batch."""
    print(f"{'model':<22}{'batch':>6} | {'direct rows/s':>13}{'p50 ms':>9}{'p99 ms':>9} | ", end="")
    print(f"{'Triton rows/s':>13}{'p50 ms':>9}{'p99 ms':>9} | {'ratio':>6}")
    for one in found:
        left, right = one.direct, one.triton
        print(
            f"{one.model:<22}{one.batch:>6} | {left.rows_per_s:>13,.0f}{left.p50_ms:>9.2f}{left.p99_ms:>9.2f} | ",
            end="",
        )
        print(f"{right.rows_per_s:>13,.0f}{right.p50_ms:>9.2f}{right.p99_ms:>9.2f} | {one.overhead:>6.2f}")


if __name__ == "__main__":
    sys.exit(main())
