"""The port to a model server, and Triton behind it.

InferenceError
├── Unavailable   nobody can answer now: server down, deadline passed, model not loaded; try again later
├── Failed        the model raised: a dead model process, or an input it cannot bear; a probe tells which
└── Refused       the request itself is wrong (names, shapes, types): trying again changes nothing
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import tritonclient.grpc.aio as aio
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from services.inference.probe import check_probe, echo_name, probe_inputs

Arrays = Mapping[str, np.ndarray]

REQUEST_TIMEOUT_S = 10.0
"""Deadline of one inference, kept in the client: queue policies in the server bring stalls. A batch of 64 takes
milliseconds; ten seconds covers a model that has just been loaded on a busy machine."""

PROBE_TIMEOUT_S = 2.0
"""Deadline of a probe: one row of zeros. What takes longer cannot keep up with a stream either."""

MAX_MESSAGE_BYTES = 2**31 - 1  # tritonclient's own default; giving any channel option drops all its defaults
CHANNEL: tuple[tuple[str, Any], ...] = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", False),
    ("grpc.http2.max_pings_without_data", 2),
    # Ours: gRPC would wait up to 2 minutes between attempts to reconnect, long after the server is back.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # Ours: with dns:///headless-service a ClusterIP's one connection becomes one for each server.
    ("grpc.service_config", '{"loadBalancingConfig":[{"round_robin":{}}]}'),
)


class InferenceError(Exception):
    """An inference did not give an answer. The text names the model, never an input's value."""


class Unavailable(InferenceError):
    """Nobody can answer now."""


class Failed(InferenceError):
    """The model raised, or its process is gone."""


class Refused(InferenceError):
    """The request does not fit the model."""


@dataclass(frozen=True)
class Answer:
    """A model's answer: who gave it, the output arrays by name, and the echoed row ids (None without an echo)."""

    model: str
    version: str
    outputs: Arrays
    row_id: np.ndarray | None


class InferenceClient(Protocol):
    """What scoring and encoding need of a model server."""

    async def infer(self, model: str, version: str, inputs: Arrays, timeout_s: float = REQUEST_TIMEOUT_S) -> Answer:
        """Run the model on arrays [rows, ...]. An empty version is the server's newest. Raises InferenceError."""

    async def probe(self, model: str, version: str, timeout_s: float = PROBE_TIMEOUT_S) -> None:
        """One real inference of one row of zeros. Raises InferenceError when it is not answered."""

    async def close(self) -> None: ...


class TritonClient:
    """tritonclient's asyncio gRPC client: one long-lived channel, made on first use, on the running loop."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._made: aio.InferenceServerClient | None = None
        self._metadata: dict[tuple[str, str], Any] = {}

    async def infer(self, model: str, version: str, inputs: Arrays, timeout_s: float = REQUEST_TIMEOUT_S) -> Answer:
        metadata = await self._describe(model, version, timeout_s)
        tensors = [_tensor(name, array) for name, array in inputs.items()]
        echo = echo_name(metadata)
        wanted = [aio.InferRequestedOutput(tensor.name) for tensor in metadata.outputs]
        try:
            result = await self._client.infer(
                model, tensors, model_version=version, outputs=wanted, client_timeout=timeout_s
            )
        except InferenceServerException as error:
            raise self._translate(error, model, version) from None
        response = result.get_response()
        arrays = {t.name: result.as_numpy(t.name) for t in metadata.outputs if t.name != echo}
        row_id = result.as_numpy(echo) if echo else None
        return Answer(response.model_name, response.model_version, arrays, row_id)

    async def probe(self, model: str, version: str, timeout_s: float = PROBE_TIMEOUT_S) -> None:
        metadata = await self._describe(model, version, timeout_s)
        sent = probe_inputs(metadata)
        answer = await self.infer(model, version, {name: array for name, (_, array) in sent.items()}, timeout_s)
        try:
            check_probe(sent, answer.row_id)
        except ValueError as error:
            raise Failed(f"{model}: {error}") from None

    async def close(self) -> None:
        if self._made is not None:
            made, self._made = self._made, None
            await made.close()

    @property
    def _client(self) -> aio.InferenceServerClient:
        if self._made is None:
            self._made = aio.InferenceServerClient(self._url, channel_args=list(CHANNEL))
        return self._made

    async def _describe(self, model: str, version: str, timeout_s: float) -> Any:
        found = self._metadata.get((model, version))
        if found is None:
            try:
                found = await self._client.get_model_metadata(model, version, client_timeout=timeout_s)
            except InferenceServerException as error:
                raise self._translate(error, model, version) from None
            self._metadata[model, version] = found
        return found

    def _translate(self, error: InferenceServerException, model: str, version: str) -> InferenceError:
        self._metadata.pop((model, version), None)  # after an outage another version may be served
        status = str(error.status() or "").removeprefix("StatusCode.")
        kind = _BY_STATUS.get(status, Unavailable)
        return kind(f"{model}: {status or 'no status'}")


_BY_STATUS: dict[str, type[InferenceError]] = {
    "INVALID_ARGUMENT": Refused,
    "INTERNAL": Failed,
    "UNKNOWN": Failed,
}


def _tensor(name: str, array: np.ndarray) -> aio.InferInput:
    tensor = aio.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    tensor.set_data_from_numpy(np.ascontiguousarray(array) if array.dtype != object else array)
    return tensor


def rows(inputs: Sequence[Arrays]) -> dict[str, np.ndarray]:
    """One batch from single rows: each array gets a leading axis of the number of rows."""
    return {name: np.stack([row[name] for row in inputs]) for name in inputs[0]}
