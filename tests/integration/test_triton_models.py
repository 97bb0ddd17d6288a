"""Every model of the repository, in the real tritonserver, answers as its `model.onnx` does when it is run directly."""

import asyncio
import re
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime
import pytest

from services.bus.settings import load
from services.domain.features import model_inputs
from services.domain.prediction import Prediction, Status
from services.inference.caller import ROWS_OF
from services.inference.client import Answer, TritonClient
from services.inference.manifest import Manifest, load_manifest
from services.local.triton import LocalTriton
from services.local.triton_repository import complete, versions
from services.score.deploy import champion, scorer
from services.score.scorer import prepare
from services.score.step import ScoreStep
from tests.support import ROOT
from tests.unit.score.records import SICK, WELL, record, record_message

pytestmark = pytest.mark.triton

REPOSITORY = ROOT / "model_repository"
MODELS = sorted(path.name for path in REPOSITORY.iterdir() if path.is_dir() and complete(path))
ROWS = 24

if not MODELS:
    pytest.skip("no complete model in model_repository", allow_module_level=True)


def session(model: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    path = versions(REPOSITORY / model)[-1] / "model.onnx"
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def real_rows() -> dict[str, np.ndarray]:
    """Fusion inputs of made-up patients, from the feature code."""
    generator = np.random.default_rng(7)
    made = []
    for n in range(ROWS):
        values = {name: value * float(generator.uniform(0.7, 1.4)) for name, value in WELL.items()}
        one = record(f"p{n}", 1 + n % 9, values, 20 + 3 * n)
        made.append(model_inputs(one, one.as_of).arrays)
    return {name: np.stack([row[name] for row in made]) for name in made[0]}


def inputs_of(model: onnxruntime.InferenceSession) -> dict[str, np.ndarray]:
    """Rows for any model: the features where it reads them, plausible numbers of the right form elsewhere."""
    generator, features = np.random.default_rng(11), real_rows()
    found: dict[str, np.ndarray] = {}
    for entry in model.get_inputs():
        shape = (ROWS, *(int(size) for size in entry.shape[1:]))
        if entry.name == "row_id":
            found[entry.name] = generator.integers(0, 2**62, shape)
        elif entry.name in features and features[entry.name].shape == shape:
            found[entry.name] = features[entry.name]
        elif entry.type == "tensor(int64)":
            found[entry.name] = generator.integers(0, 64, shape)
        else:
            found[entry.name] = generator.uniform(0, 1, shape).astype(np.float32)
    return found


def served(url: str, model: str, inputs: dict[str, np.ndarray], size: int) -> list[Answer]:
    async def ask() -> list[Answer]:
        client = TritonClient(url)
        parts = [{k: v[start : start + size] for k, v in inputs.items()} for start in range(0, ROWS, size)]
        answers = await asyncio.gather(*(client.infer(model, "", part) for part in parts))
        await client.close()
        return answers

    return asyncio.run(ask())


@pytest.mark.parametrize("model", MODELS)
def test_the_server_answers_bit_for_bit_as_the_model_does_directly_however_rows_are_batched(
    model: str, triton: LocalTriton
):
    direct = session(model)
    inputs = inputs_of(direct)
    names = [entry.name for entry in direct.get_outputs()]
    expected = dict(zip(names, direct.run(names, inputs), strict=True))
    # Several requests at once, filled up as callers fill them; the server joins them as it likes.
    for size in (ROWS, 2 * ROWS_OF, ROWS_OF):
        answers = served(triton.url, model, inputs, size)
        for name in answers[0].outputs:
            together = np.concatenate([answer.outputs[name] for answer in answers])
            assert np.isfinite(together).all()
            assert np.array_equal(together, expected[name]), (name, size)
        assert np.array_equal(np.concatenate([answer.row_id for answer in answers]), inputs["row_id"])


@pytest.mark.parametrize("model", MODELS)
def test_the_manifest_fits_the_weights_and_both_configurations_differ_only_in_where_they_run(model: str):
    folder = REPOSITORY / model
    manifest = load_manifest(REPOSITORY, model)
    assert manifest.model == model
    local, production = (folder / "configs" / "cpu.pbtxt").read_text(), (folder / "config.pbtxt").read_text()

    def interface(text: str) -> str:
        kept = re.sub(r"backend:.*|instance_group .*|parameters .*", "", text)
        return re.sub(r"\s+", " ", kept)

    assert interface(local) == interface(production)
    assert "dynamic_batching" in production
    assert f"max_batch_size: {manifest.max_batch}" in production
    assert not (folder / "1" / "model.py").exists(), "what only the local server needs is linked in by it"


@pytest.mark.skipif("risk_fusion" not in MODELS, reason="risk_fusion is not exported")
def test_the_scoring_step_publishes_what_the_model_says_of_the_records_features(triton: LocalTriton, tmp_path: Path):
    settings = load({"WARDSTREAM_TRITON_URL": triton.url, "WARDSTREAM_HOME": str(tmp_path)})
    manifest = champion(settings)
    records = [record(f"p{n}", 4 + n, SICK if n % 2 else WELL, 40 + n) for n in range(10)]

    async def outputs(size: int) -> list[bytes]:
        client = TritonClient(settings.triton_url)
        step = ScoreStep(scorer(manifest, settings, client))
        messages = [record_message(one, n) for n, one in enumerate(records)]
        found = [out for start in range(0, 10, size) for out in await step(messages[start : start + size])]
        await client.close()
        return [out[0].value for out in found]

    together = asyncio.run(outputs(10))
    assert asyncio.run(outputs(1)) == together, "the same record has the same bytes however the stream was batched"
    direct = session("risk_fusion")
    for one, value in zip(records, together, strict=True):
        found = msgspec.json.decode(value, type=Prediction)
        inputs = {name: array[None] for name, array in prepare([one])[0].inputs.arrays.items()}
        risk, raw = direct.run(["risk", "raw"], inputs | {"row_id": np.zeros((1, 1), np.int64)})
        check(found, risk[0], raw[0], manifest)


def check(found: Prediction, risk: np.ndarray, raw: np.ndarray, manifest: Manifest) -> None:
    assert found.weights_sha256 == manifest.weights_sha256
    for k, one in enumerate(found.risks):
        band = manifest.outcomes[k].indeterminate
        if band and band[0] < risk[k] < band[1]:
            assert one.status is Status.INDETERMINATE
            continue
        assert one.probability == pytest.approx(float(risk[k]), abs=1e-6)
        assert one.raw == pytest.approx(float(raw[k]), abs=1e-6)
        assert one.alert == (one.probability >= manifest.outcomes[k].threshold)
        assert [c.name for c in one.modalities] == [state.name for state in found.modalities if state.present]
        assert one.features
