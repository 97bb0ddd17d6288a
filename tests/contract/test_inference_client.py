"""One contract for every model server behind the port: the fake of the unit tests and the real tritonserver."""

from collections.abc import AsyncIterator, Callable

import numpy as np
import pytest

from services.inference.client import InferenceClient, Refused, TritonClient, Unavailable
from tests.fake_inference import FakeInference
from tests.triton_fixture import logistic


@pytest.fixture(params=["fake", pytest.param("triton", marks=pytest.mark.triton)])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[InferenceClient]:
    if request.param == "fake":
        yield FakeInference({"logistic": _logistic}, {"logistic": {"x": (3,)}})
        return
    made = TritonClient(request.getfixturevalue("tiny_triton").url)
    yield made
    await made.close()


def _logistic(inputs):
    risk = logistic(inputs["x"]).astype(np.float32)
    return {"risk": risk, "raw": risk}


def batch(n: int, columns: int = 3) -> dict[str, np.ndarray]:
    x = np.random.default_rng(n).normal(size=(n, columns)).astype(np.float32)
    return {"x": x, "row_id": np.arange(n, dtype=np.int64)[:, None] + 2**62}


@pytest.mark.parametrize("rows", [1, 2, 7, 64])
async def test_each_row_has_its_own_answer_and_its_id_comes_back(client, rows):
    sent = batch(rows)
    answer = await client.infer("logistic", "1", sent)
    assert (answer.model, answer.version) == ("logistic", "1")
    assert answer.outputs.keys() == {"risk", "raw"}
    assert answer.outputs["risk"].dtype == np.float32
    assert np.allclose(answer.outputs["risk"], logistic(sent["x"]), atol=1e-6)
    assert np.array_equal(answer.row_id, sent["row_id"])


async def test_an_empty_version_is_the_newest(client):
    assert (await client.infer("logistic", "", batch(2))).version == "1"


async def test_not_a_number_reaches_the_model_and_comes_back(client):
    sent = batch(3)
    sent["x"][1, 0] = np.nan
    answer = await client.infer("logistic", "1", sent)
    assert np.isnan(answer.outputs["risk"][:, 0]).tolist() == [False, True, False]


@pytest.mark.parametrize(("model", "version"), [("nobody", "1"), ("logistic", "9")])
async def test_a_model_that_is_not_there_is_unavailable_and_may_come(client, model, version):
    with pytest.raises(Unavailable):
        await client.infer(model, version, batch(2))
    with pytest.raises(Unavailable):
        await client.probe(model, version)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda sent: {**sent, "x": sent["x"][:, :2]},
        lambda sent: {"row_id": sent["row_id"]},
        lambda sent: {**sent, "y": sent["x"]},
    ],
    ids=["shape", "missing", "unknown"],
)
async def test_a_request_of_another_form_is_refused_without_a_value_in_the_error(
    client, wrong: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]
):
    with pytest.raises(Refused) as caught:
        await client.infer("logistic", "1", wrong(batch(2)))
    assert not any(character.isdigit() for character in str(caught.value))


async def test_a_probe_is_a_real_inference_and_passes(client):
    await client.probe("logistic", "1")
