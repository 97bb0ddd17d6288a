"""A manifest says what serving needs, and serving refuses one that does not fit its weights or its features."""

import json
from hashlib import sha256
from pathlib import Path

import pytest

from services.bus.settings import BadSetting, Settings, load
from services.domain.prediction import Outcome
from services.inference.manifest import ManifestError, load_manifest
from services.score.deploy import challenger, champion

WEIGHTS = b"weights"


def write(repository: Path, name: str = "risk_fusion", version: str = "1", **more: object) -> Path:
    folder = repository / name
    (folder / version).mkdir(parents=True)
    (folder / version / "model.onnx").write_bytes(WEIGHTS + version.encode())
    described = {"model": name, "version": version, "outcomes": [{"name": "sepsis-6h", "threshold": 0.2}], **more}
    (folder / "manifest.json").write_text(json.dumps(described))
    return folder


def settings(repository: Path, **more: str) -> Settings:
    return load({"WARDSTREAM_MODELS": str(repository), "WARDSTREAM_HOME": str(repository), **more})


def test_what_serving_does_not_know_is_left_alone(tmp_path: Path):
    write(tmp_path, card={"training": ["anything"]}, calibration=[1, 2], gate={"min_variables": 3, "later": True})
    manifest = load_manifest(tmp_path, "risk_fusion")
    assert manifest.outcomes[0].name is Outcome.SEPSIS_6H
    assert manifest.gate.min_variables == 3
    assert manifest.weights_sha256 == sha256(WEIGHTS + b"1").hexdigest()


def test_weights_that_are_not_the_manifests_are_refused(tmp_path: Path):
    write(tmp_path, weights_sha256="00" * 32)
    with pytest.raises(ManifestError, match="weights_sha256"):
        load_manifest(tmp_path, "risk_fusion")


def test_a_model_that_was_trained_on_another_encoder_s_vectors_is_refused(tmp_path: Path):
    write(tmp_path, "note_encoder", outcomes=[])
    known = sha256(WEIGHTS + b"1").hexdigest()
    write(tmp_path, encoders={"note_encoder": known, "image_encoder": "00" * 32})  # which is not deployed here
    assert champion(settings(tmp_path)).encoders["note_encoder"] == known
    (tmp_path / "note_encoder" / "1" / "model.onnx").write_bytes(b"trained anew")
    with pytest.raises(ManifestError, match=r"another note_encoder .* deploy the two that belong together"):
        champion(settings(tmp_path))


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"model": 3}', '{"model": "m", "outcomes": [{"name": "gout"}]}'])
def test_an_unreadable_manifest_is_refused_with_its_path(tmp_path: Path, text: str):
    (write(tmp_path) / "manifest.json").write_text(text)
    with pytest.raises(ManifestError, match=r"manifest\.json"):
        load_manifest(tmp_path, "risk_fusion")


def test_a_missing_model_says_to_train_one(tmp_path: Path):
    with pytest.raises(ManifestError, match="train or export"):
        champion(settings(tmp_path))


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"feature_version": "0"}, "feature_version"),
        ({"variables": ["heart_rate"]}, "variables"),
        ({"modalities": ["static", "series"]}, "modalities"),
        ({"inputs": {"series": [45, 18]}}, "inputs"),
        ({"gate": {"ranges": {"pulse": [1, 2]}}}, "unknown variable"),
    ],
)
def test_a_model_trained_on_other_features_than_are_made_is_refused(tmp_path: Path, other: dict, named: str):
    write(tmp_path, **other)
    with pytest.raises(ManifestError, match=named):
        champion(settings(tmp_path))


def test_a_challenger_version_has_its_own_manifest_and_weights(tmp_path: Path):
    folder = write(tmp_path)
    (folder / "2").mkdir()
    (folder / "2" / "model.onnx").write_bytes(WEIGHTS + b"2")
    own = {"model": "risk_fusion", "version": "2", "outcomes": [{"name": "sepsis-6h", "threshold": 0.4}]}
    (folder / "2" / "manifest.json").write_text(json.dumps(own))
    known = settings(tmp_path, WARDSTREAM_SHADOW_MODEL="risk_fusion:2")
    found = challenger(known)
    assert found is not None
    assert (found.version, found.outcomes[0].threshold) == ("2", 0.4)
    assert found.weights_sha256 == sha256(WEIGHTS + b"2").hexdigest()
    assert champion(known).version == "1"


def test_without_a_challenger_there_is_none_and_a_misspelt_one_is_refused(tmp_path: Path):
    write(tmp_path)
    assert challenger(settings(tmp_path)) is None
    with pytest.raises(BadSetting, match="name:version"):
        challenger(settings(tmp_path, WARDSTREAM_SHADOW_MODEL="risk_fusion:newest"))
