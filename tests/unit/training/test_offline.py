"""Offline scoring uses what is served, and nothing of training."""

import json
import subprocess
import sys
from datetime import UTC, datetime

import numpy as np
import onnxruntime
import pytest

from services.domain.events import ClinicalEvent, Code, Observation, Version
from services.domain.features import ARRAYS, model_inputs
from services.domain.record import LOINC, PatientRecord, fold
from services.inference.manifest import Manifest
from services.score.offline import Asked, OfflineModel, score_offline
from tests.support import ROOT

REPOSITORY = ROOT / "model_repository"
START = 1_770_000_000_000


@pytest.fixture(scope="module")
def model() -> OfflineModel:
    return OfflineModel(REPOSITORY)


def patient(number: int) -> Asked:
    record = PatientRecord(patient=f"p{number}")
    facts = [
        Observation(
            id=f"{n}",
            version=Version(),
            code=Code(LOINC, "8867-4"),
            time=datetime.fromtimestamp(START / 1000 + 3600 * n, UTC),
            value=60.0 + 5 * n + number,
            unit="/min",
        )
        for n in range(12)
    ]
    fold(
        record,
        ClinicalEvent(
            event_id="e", patient="p", format="wardstream", type="t", occurred=datetime.now(UTC), facts=list(facts)
        ),
    )
    return Asked(f"p{number}", record, [START + 3_600_000 * n for n in range(12)])


def test_the_answer_for_a_row_does_not_depend_on_its_batch(model: OfflineModel) -> None:
    asked = [patient(n) for n in range(40)]  # 480 rows: more than one call
    together = list(score_offline(asked, model))
    assert [s.patient for s in together] == [a.patient for a in asked for _ in a.as_of_ms]
    for scored in together[::37]:
        record = next(a.record for a in asked if a.patient == scored.patient)
        risk, _ = model.score([model_inputs(record, scored.as_of_ms)])
        assert np.allclose(risk[0], list(scored.risk.values()), atol=1e-6)


def test_every_risk_is_a_probability(model: OfflineModel) -> None:
    for scored in score_offline([patient(1)], model):
        assert set(scored.risk) == {str(o.name) for o in model.manifest.outcomes}
        assert all(0 <= p <= 1 for p in (*scored.risk.values(), *scored.raw.values()))


def test_a_shipped_model_is_described_by_its_manifest(model: OfflineModel) -> None:
    assert isinstance(model.manifest, Manifest)  # its weights' hash and its feature version were checked
    text = (REPOSITORY / "risk_fusion" / "manifest.json").read_text()
    assert json.loads(text)["weights_sha256"] == model.manifest.weights_sha256


def test_risks_without_the_explanation_are_bit_for_bit_those_with_it(model: OfflineModel) -> None:
    asked = patient(3)
    inputs = [model_inputs(asked.record, at) for at in asked.as_of_ms]
    whole = onnxruntime.InferenceSession(str(REPOSITORY / "risk_fusion" / "1" / "model.onnx"))
    feed = {name: np.stack([row.arrays[name] for row in inputs]) for name in ARRAYS}
    feed["row_id"] = np.zeros((len(inputs), 1), np.int64)
    for found, expected in zip(model.score(inputs), whole.run(["risk", "raw"], feed), strict=True):
        assert np.array_equal(found, expected)


def test_serving_and_offline_scoring_need_no_torch() -> None:
    script = (
        "import sys; import services.score.offline as o, training.datasets.cinc2019, training.datasets.cinc2012\n"
        f"import pathlib; o.OfflineModel(pathlib.Path({str(REPOSITORY)!r}))\n"
        "sys.exit(any(m in sys.modules for m in ('torch', 'lightgbm', 'sklearn', 'pandas')))"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, timeout=100).returncode == 0
