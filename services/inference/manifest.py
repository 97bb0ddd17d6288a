"""A model's manifest: what training says of it, as serving needs it.

`model_repository/<name>/manifest.json` describes the newest version; a version that differs (a challenger beside the
champion) carries its own `<version>/manifest.json`.
"""

from hashlib import sha256
from pathlib import Path

import msgspec

from services.domain.prediction import Outcome


class OutcomeSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One risk of the model's `risk` output, in its order. Thresholds and bands were chosen on validation data only."""

    name: Outcome
    threshold: float | None = None  # alert at or above; calibrated probability
    indeterminate: tuple[float, float] | None = None  # open interval in which the conformal set holds both answers


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """When the model should not judge. Empty means that it always may."""

    min_variables: int = 0  # clinical variables with a result within `max_age_hours`
    max_age_hours: float = 24.0
    min_age_years: float | None = None  # of the patients it was trained on
    ranges: dict[str, tuple[float, float]] = {}  # of the training data, by clinical variable, canonical unit
    max_outside: int | None = None  # more last values outside `ranges` than this: out of distribution


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Unknown keys (the model card's) are ignored."""

    model: str
    version: str = "1"
    feature_version: str = ""  # of a fusion model: services.domain.features.FEATURE_VERSION at training
    preprocessing: str = ""  # of an encoder: IMAGE_PREPROCESSING or NOTE_PREPROCESSING at training
    weights_sha256: str = ""
    max_batch: int = 64
    outcomes: list[OutcomeSpec] = []
    inputs: dict[str, list[int]] = {}  # shape of one row of each input
    variables: list[str] = []  # of a fusion model: in the order of its `series` and of its explanation
    modalities: list[str] = []
    encoders: dict[str, str] = {}  # of a fusion model: the encoders that its training read, each by its weights_sha256
    findings: list[str] = []  # of an image encoder's `finding` output, in its order
    gate: Gate = Gate()


class ManifestError(ValueError):
    """A manifest that cannot be used; the text names the file and what is wrong."""


def load_manifest(repository: Path, model: str, version: str = "") -> Manifest:
    """The manifest of a model's version (the newest when empty), its weights' hash checked against the file.

    Raises ManifestError when it is missing, cannot be read, its hash is not that of `model.onnx`, or an encoder that
    it reads has other weights beside it than when it was trained.
    """
    folder = repository / model
    path = folder / version / "manifest.json" if version else folder / "manifest.json"
    if not path.is_file():
        path = folder / "manifest.json"
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise ManifestError(f"{path} is missing: train or export the model first") from None
    except msgspec.MsgspecError as error:
        raise ManifestError(f"{path}: {error}") from None
    if version and manifest.version != version:
        manifest = msgspec.structs.replace(manifest, version=version, weights_sha256="")
    found = weights_sha256(folder / manifest.version / "model.onnx")
    if manifest.weights_sha256 and manifest.weights_sha256 != found:
        raise ManifestError(f"{path}: weights_sha256 is not that of {manifest.version}/model.onnx")
    for encoder, weights in manifest.encoders.items():
        if (repository / encoder).is_dir() and load_manifest(repository, encoder).weights_sha256 != weights:
            raise ManifestError(
                f"{path}: trained on the vectors of another {encoder} than the one in {repository}: deploy the two "
                "that belong together, or train this one again"
            )
    return msgspec.structs.replace(manifest, weights_sha256=found)


def weights_sha256(path: Path) -> str:
    """SHA-256 of a model file, hex; raises ManifestError when there is none."""
    if not path.is_file():
        raise ManifestError(f"{path} is missing")
    return sha256(path.read_bytes()).hexdigest()
