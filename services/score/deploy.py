"""Which models are deployed: their names and versions from the settings, what they are from their manifests."""

from services.bus.settings import BadSetting, Settings
from services.domain.features import ARRAYS, FEATURE_VERSION, MODALITIES, VARIABLE_NAMES
from services.inference.caller import Watcher
from services.inference.client import InferenceClient, TritonClient
from services.inference.manifest import Manifest, ManifestError, load_manifest
from services.score.scorer import Scorer, make_scorer


def champion(settings: Settings) -> Manifest:
    """The model whose risks are published: WARDSTREAM_MODEL. Raises ManifestError."""
    return _deployed(settings, settings.model)


def challenger(settings: Settings) -> Manifest | None:
    """The model that scores silently beside it: WARDSTREAM_SHADOW_MODEL; None when there is none."""
    return _deployed(settings, settings.shadow_model) if settings.shadow_model else None


def scorer(
    manifest: Manifest, settings: Settings, client: InferenceClient | None = None, watcher: Watcher | None = None
) -> Scorer:
    """A scorer on Triton (or on the client given)."""
    return make_scorer(client or TritonClient(settings.triton_url), manifest, watcher=watcher)


def _deployed(settings: Settings, named: str) -> Manifest:
    name, _, version = named.partition(":")
    if not name or (version and not version.isdigit()):
        raise BadSetting(f"a model is name or name:version, not {named!r}")
    model = load_manifest(settings.models, name, version)
    check_features(model)
    return model


def check_features(model: Manifest) -> None:
    """Raises ManifestError unless the model reads what this feature code makes: version, arrays, orders, names."""
    arrays = {name: list(shape) for name, shape in ARRAYS.items()}
    held = {
        "feature_version": (model.feature_version, FEATURE_VERSION),
        "inputs": ({name: shape for name, shape in model.inputs.items() if name != "row_id"}, arrays),
        "variables": (tuple(model.variables), VARIABLE_NAMES),
        "modalities": (tuple(model.modalities), MODALITIES),
    }
    for what, (stated, made) in held.items():
        if stated and stated != made:
            raise ManifestError(f"{model.model} was trained on other {what} than this code makes: train it again")
    unknown = sorted(set(model.gate.ranges).difference(VARIABLE_NAMES))
    if unknown:
        raise ManifestError(f"{model.model}: the gate names an unknown variable, {unknown[0]}")
