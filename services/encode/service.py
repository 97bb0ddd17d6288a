"""The encode service: `wardstream run encode`."""

import logging
import time
from collections.abc import Mapping, Sequence

import numpy as np

from services.bus.health import Health
from services.bus.objects import open_store
from services.bus.run import run_step
from services.bus.settings import Settings
from services.domain.features.inputs import IMAGE_SIZE, NOTE_SIZE
from services.domain.images import IMAGE_PREPROCESSING
from services.domain.notes import NOTE_PREPROCESSING, note_tokens
from services.encode.pool import DecodePool
from services.encode.step import Encoder, EncodeStep, NoteEncoder
from services.inference.caller import Caller, Watcher
from services.inference.checks import Output
from services.inference.client import InferenceClient, TritonClient
from services.inference.manifest import Manifest, ManifestError, load_manifest
from services.inference.watch import Watch

log = logging.getLogger(__name__)

NOTE_MODEL, IMAGE_MODEL = "note_encoder", "image_encoder"


def run(settings: Settings) -> None:
    """Encode notes and images until SIGTERM."""
    health = Health(settings.stall_after)
    client, watcher, pool = TritonClient(settings.triton_url), Watch(health), DecodePool()
    notes, images = note_encoder(settings, client, watcher), image_encoder(settings, client, watcher)
    step = EncodeStep(notes, images, open_store(settings.objects_address), pool, on_wait=health.paused)
    try:
        run_step(step, settings, health)
    finally:
        pool.close()


def note_encoder(settings: Settings, client: InferenceClient, watcher: Watcher) -> NoteEncoder | None:
    """The deployed note encoder; None where the repository has none. Raises ManifestError for one that does not fit."""
    manifest = _deployed(settings, NOTE_MODEL, NOTE_PREPROCESSING)
    if manifest is None:
        return None
    return NoteEncoder(manifest, _caller(client, watcher, manifest, [Output("embedding", (NOTE_SIZE,))]), prepare_note)


def image_encoder(settings: Settings, client: InferenceClient, watcher: Watcher) -> Encoder | None:
    """The deployed image encoder; None where the repository has none. Raises ManifestError when it does not fit."""
    manifest = _deployed(settings, IMAGE_MODEL, IMAGE_PREPROCESSING)
    if manifest is None:
        return None
    outputs = [Output("embedding", (IMAGE_SIZE,)), Output("finding", (len(manifest.findings),), probability=True)]
    return Encoder(manifest, _caller(client, watcher, manifest, outputs))


def prepare_note(text: str, title: str) -> Mapping[str, np.ndarray] | None:
    """The note encoder's input; None for a text without words."""
    tokens = note_tokens(text, title)
    return {"tokens": tokens} if tokens.any() else None


def _deployed(settings: Settings, model: str, preprocessing: str) -> Manifest | None:
    if not (settings.models / model).exists():
        log.warning("no %s in the model repository: its inputs are left alone", model)
        return None
    manifest = load_manifest(settings.models, model)
    if manifest.preprocessing not in ("", preprocessing):
        raise ManifestError(f"{model} was trained with preprocessing {manifest.preprocessing}, not {preprocessing}")
    return manifest


def _caller(client: InferenceClient, watcher: Watcher, manifest: Manifest, expected: Sequence[Output]) -> Caller:
    return Caller(
        client,
        manifest.model,
        manifest.version,
        expected,
        time.monotonic,
        max_rows=manifest.max_batch,
        watcher=watcher,
    )
