"""Notes and radiographs, real DICOM files in a real object store, encoded by the real tritonserver into the record."""

import asyncio
import hashlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from services.bus.health import Health
from services.bus.messages import Message
from services.bus.objects import open_store
from services.bus.settings import load
from services.bus.topics import DEAD_LETTERS, RECORD_UPDATES
from services.domain.events import ClinicalEvent, Document, Imaging, Version, decode_event, encode_event
from services.domain.features import model_inputs
from services.domain.images import prepare_image
from services.domain.record import PatientRecord, encode_record, fold
from services.encode.pool import DecodePool
from services.encode.service import image_encoder, note_encoder
from services.encode.step import EncodeStep
from services.formats.dicom.pixels import decode
from services.formats.dicom.write import chest_radiograph
from services.inference.client import TritonClient
from services.inference.watch import Watch
from services.local.triton import LocalTriton
from services.local.triton_repository import complete
from tests.support import ROOT
from tests.triton_fixture import write_encoders

pytestmark = pytest.mark.triton

T = datetime(2026, 3, 1, 9, tzinfo=UTC)
REAL = ROOT / "model_repository"


@pytest.fixture(scope="module", params=["made by the tests", "the project's own"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[LocalTriton, Path]]:
    if request.param == "the project's own":
        if not all(complete(REAL / name) for name in ("note_encoder", "image_encoder")):
            pytest.skip("the encoders are not exported")
        yield request.getfixturevalue("triton"), REAL
        return
    repository = tmp_path_factory.mktemp("models")
    write_encoders(repository)
    server = LocalTriton(tmp_path_factory.mktemp("run"), repository)
    server.start()
    yield server, repository
    server.kill()


def radiograph(n: int, syntax: str = "explicit") -> bytes:
    pixels = np.random.default_rng(n).integers(0, 4096, (300, 260)).astype(np.uint16)
    pixels[100:200, 80:180] += np.uint16(8000)
    return chest_radiograph(pixels, patient_id=f"P{n}", issuer="H", accession=f"A{n}", study_time=T)


def message(offset: int, *facts) -> Message:
    event = ClinicalEvent(event_id=f"e{offset}", patient="p1", format="dicom", type="CR", occurred=T, facts=[*facts])
    return Message("clinical.events", 0, offset, b"p1", encode_event(event))


def test_what_arrives_as_a_note_and_a_radiograph_is_in_the_records_features(served, tmp_path: Path):
    server, repository = served
    settings = load({"WARDSTREAM_HOME": str(tmp_path), "WARDSTREAM_MODELS": str(repository)})
    settings = replace(settings, triton_url=server.url)
    data, store, pool = radiograph(1), open_store(settings.objects_address), DecodePool()
    note = Document(
        id="doc", version=Version(), time=T, title="Progress note", text="Fever and new cough; chest clear."
    )

    async def run() -> list[list]:
        client, watch = TritonClient(server.url), Watch(Health(60))
        notes, images = note_encoder(settings, client, watch), image_encoder(settings, client, watch)
        step = EncodeStep(notes, images, store, pool)
        reference = await store.put(data)
        image = Imaging(
            id="img",
            version=Version(),
            time=T,
            modality="CR",
            body_part="CHEST",
            object=reference,
            object_sha256=hashlib.sha256(data).hexdigest(),
        )
        lost = Imaging(id="gone", version=Version(), time=T, modality="CR", object="sha256/ab/" + "ab" * 32)
        messages = [message(0, note, image), message(1, lost), message(2)]
        together = [list(out) for out in await step(messages)]
        assert [list((await step([one]))[0]) for one in messages] == together
        assert images is not None
        direct = await client.infer(
            "image_encoder", "", {"image": prepare_image(decode(data))[None], "row_id": np.array([[5]])}
        )
        await client.close()
        return [*together, direct]

    try:
        [[encoded], [letter], nothing, direct] = asyncio.run(run())
    finally:
        pool.close()
    assert (encoded.topic, letter.topic, nothing) == (RECORD_UPDATES, DEAD_LETTERS, [])
    event = decode_event(encoded.value)
    by_modality = {fact.modality: fact for fact in event.facts}
    assert np.allclose(by_modality["image"].vector, direct.outputs["embedding"][0], atol=1e-6)
    assert by_modality["image"].findings.keys() == {"pneumonia"}
    assert asyncio.run(store.get(by_modality["image"].thumbnail)).startswith(b"\x89PNG")
    made = PatientRecord(patient="p1")
    fold(made, decode_event(message(0, note).value))
    fold(made, event)
    encode_record(made)
    inputs = model_inputs(made, made.as_of)
    assert {state.name for state in inputs.modalities if state.present} == {"note", "image"}
    assert np.allclose(inputs.arrays["image"], by_modality["image"].vector, atol=1e-6)
    assert np.allclose(inputs.arrays["note"], by_modality["note"].vector, atol=1e-6)
    assert np.any(inputs.arrays["note"] != 0)
