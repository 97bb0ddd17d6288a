"""Each note and chest radiograph is encoded once, on arrival; what cannot be had is a dead letter, with the reason."""

import asyncio
import hashlib
from datetime import UTC, datetime

import msgspec
import numpy as np
import pytest

from services.bus.messages import DeadLetter, Message
from services.bus.objects import StoreUnavailable, open_store
from services.bus.topics import DEAD_LETTERS, RECORD_UPDATES
from services.domain.events import (
    ClinicalEvent,
    Code,
    Document,
    Embedding,
    Imaging,
    Observation,
    Rank,
    Version,
    decode_event,
    encode_event,
)
from services.domain.reasons import Rejected, RejectReason
from services.encode.pixels import Picture
from services.encode.step import Encoder, EncodeStep, NoteEncoder
from services.inference.caller import Caller
from services.inference.checks import Output as Expected
from services.inference.client import Unavailable
from services.inference.manifest import Manifest
from tests.fake_inference import FakeInference, Time

T = datetime(2026, 3, 1, 9, tzinfo=UTC)
NOTES = Manifest(model="note_encoder", version="2")
IMAGES = Manifest(model="image_encoder", version="3", findings=["pneumonia"])


class FakePictures:
    """Reads b'picture:<n>' as a constant image; anything else is unreadable."""

    workers = 1

    async def pictures(self, objects):
        return [
            Picture(np.full((1, 4, 4), int(data[8:]) / 100, np.float32), b"png:" + data)
            if data.startswith(b"picture:")
            else Rejected(RejectReason.UNREADABLE_PIXELS, "(7FE0,0010)")
            for data in objects
        ]


def encode_note(inputs):
    return {"embedding": np.repeat(inputs["length"], 3, axis=1)}


def encode_image(inputs):
    mean = inputs["image"].mean(axis=(1, 2, 3))[:, None].astype(np.float32)
    return {"embedding": np.repeat(mean, 2, axis=1), "finding": mean}


class World:
    def __init__(self, *, notes: bool = True, images: bool = True) -> None:
        self.time = Time()
        self.fake = FakeInference({"note_encoder": encode_note, "image_encoder": encode_image})
        self.objects = open_store("memory:")
        note = NoteEncoder(NOTES, self._caller(NOTES, Expected("embedding", (3,))), self._prepare)
        image = Encoder(
            IMAGES, self._caller(IMAGES, Expected("embedding", (2,)), Expected("finding", (1,), probability=True))
        )
        self.step = EncodeStep(
            note if notes else None, image if images else None, self.objects, FakePictures(), sleep=self.time.sleep
        )

    def _caller(self, manifest: Manifest, *expected: Expected) -> Caller:
        return Caller(self.fake, manifest.model, "1", expected, self.time, self.time.sleep, 4)

    @staticmethod
    def _prepare(text: str, title: str):
        return {"length": np.array([len(text)], np.float32)}

    def run(self, *messages: Message) -> list[list]:
        return [list(outputs) for outputs in asyncio.run(self.step(messages))]

    def keep(self, data: bytes) -> Imaging:
        reference = asyncio.run(self.objects.put(data))
        return picture(reference, hashlib.sha256(data).hexdigest())


def picture(reference: str, sha256: str = "", **more) -> Imaging:
    known = {"id": "img", "version": Version(issued=5), "time": T, "modality": "CR", "body_part": "CHEST", **more}
    return Imaging(object=reference, object_sha256=sha256, **known)


def note(text: str = "Chest pain since this morning.", **more) -> Document:
    return Document(**{"id": "doc", "version": Version(issued=7, digest="d1"), "time": T, "text": text, **more})


def event(*facts) -> ClinicalEvent:
    return ClinicalEvent(event_id="source", patient="p1", format="hl7v2", type="MDM^T02", occurred=T, facts=[*facts])


def message(*facts, offset: int = 0) -> Message:
    return Message("clinical.events", 0, offset, b"p1", encode_event(event(*facts)), {"ws-received-at": b"17"}, 18)


def only_embedding(outputs) -> Embedding:
    [output] = outputs
    assert (output.topic, output.key) == (RECORD_UPDATES, "p1")
    [fact] = decode_event(output.value).facts
    assert isinstance(fact, Embedding)
    return fact


def letter(output) -> DeadLetter:
    assert output.topic == DEAD_LETTERS
    return msgspec.json.decode(output.value, type=DeadLetter)


def test_a_note_becomes_an_embedding_of_its_source_and_time():
    world = World()
    [outputs] = world.run(message(note("abcd")))
    fact = only_embedding(outputs)
    assert (fact.of, fact.modality, fact.time, fact.model, fact.model_version) == (
        "doc",
        "note",
        T,
        "note_encoder",
        "2",
    )
    assert fact.vector == [4.0, 4.0, 4.0]
    assert outputs[0].headers["ws-received-at"] == b"17"


def test_an_image_becomes_an_embedding_with_its_finding_and_a_kept_thumbnail():
    world = World()
    [outputs] = world.run(message(world.keep(b"picture:25")))
    fact = only_embedding(outputs)
    assert fact.vector == [0.25, 0.25]
    assert fact.findings == {"pneumonia": 0.25}
    assert asyncio.run(world.objects.get(fact.thumbnail)) == b"png:picture:25"


def test_the_same_event_gives_the_same_bytes_alone_or_in_company():
    world = World()
    messages = [message(note("x" * n, id=f"d{n}"), offset=n) for n in range(1, 12)]
    together = world.run(*messages)
    alone = [world.run(one)[0] for one in messages]
    assert together == alone
    assert len({out[0].value for out in together}) == 11


def test_an_event_without_notes_or_images_yields_nothing_and_asks_nobody():
    world = World()
    result = Observation(id="o", version=Version(), code=Code("http://loinc.org", "8867-4"), time=T, value=70.0)
    assert world.run(message(result), message()) == [[], []]
    assert world.fake.asked == []


@pytest.mark.parametrize(
    "fact",
    [
        note(""),
        note("  \n "),
        note("", encapsulated="sha256/00/00", content_type="application/pdf"),
        note("withdrawn", version=Version(rank=Rank.ENTERED_IN_ERROR)),
        picture(""),
        picture("sha256/aa/bb", modality="CT"),
        picture("sha256/aa/bb", view_position="LL"),
        picture("sha256/aa/bb", version=Version(rank=Rank.CANCELLED)),
    ],
    ids=["empty", "blank", "encapsulated", "withdrawn", "no object", "CT", "lateral", "cancelled"],
)
def test_what_there_is_nothing_to_encode_of_is_left_alone(fact):
    assert World().run(message(fact)) == [[]]


@pytest.mark.parametrize("value", [b"document {", b'{"kind":"imaging"}', b"\xff document"])
def test_an_unreadable_event_is_left_to_assembling_which_writes_its_one_dead_letter(value):
    assert World().run(Message("clinical.events", 0, 0, b"p", value)) == [[]]


def test_a_missing_object_is_a_dead_letter_with_the_reason():
    world = World()
    [[output]] = world.run(message(picture("sha256/ab/" + "ab" * 32), offset=9))
    found = letter(output)
    assert (found.reason, found.origin.offset, found.step) == ("object_missing", 9, "encode")


def test_an_object_that_is_not_the_one_meant_is_a_dead_letter():
    world = World()
    kept = world.keep(b"picture:25")
    [[output]] = world.run(message(msgspec.structs.replace(kept, object_sha256="0" * 64)))
    assert letter(output).reason == "object_corrupt"


def test_an_unreadable_picture_does_not_keep_the_note_beside_it_from_being_encoded():
    world = World()
    [[encoded, dead]] = world.run(message(note("abcd"), world.keep(b"garbage")))
    assert only_embedding([encoded]).of == "doc"
    assert letter(dead).reason == "unreadable_pixels"


def test_a_corrected_note_wins_over_the_old_one_and_a_newer_encoder_over_an_older():
    world = World()
    old, corrected = note("abcd"), note("abcdef", version=Version(rank=Rank.AMENDED, issued=1, digest="d0"))
    [first], [second] = world.run(message(old), message(corrected))
    a, b = only_embedding([first]), only_embedding([second])
    assert a.id == b.id
    assert b.version > a.version


def test_while_triton_is_away_notes_and_images_wait_and_none_is_lost():
    world = World()
    messages = [message(note("abcd")), message(world.keep(b"picture:25"), offset=1)]
    expected = world.run(*messages)
    world.fake.away = Unavailable

    def back() -> None:
        if world.time.now > 120:
            world.fake.away = None

    world.time.on_sleep = back
    assert world.run(*messages) == expected


def test_while_the_object_store_is_away_images_wait():
    world = World()
    kept = world.keep(b"picture:25")
    tries = []
    get = world.objects.get

    async def away(reference):
        tries.append(reference)
        if len(tries) < 4:
            raise StoreUnavailable("away")
        return await get(reference)

    world.objects.get = away
    assert only_embedding(world.run(message(kept))[0]).vector == [0.25, 0.25]
    assert world.time.slept == [2.0, 2.0, 2.0]


class Held(bytes):
    """An object's bytes, counted from when they are fetched until the last reference to them is gone."""

    now = peak = 0

    def __init__(self, data):
        Held.now += len(data)
        Held.peak = max(Held.peak, Held.now)

    def __del__(self):
        Held.now -= len(self)


@pytest.mark.parametrize(
    ("workers", "held_bytes", "peak"),
    [(1, 10**9, 1000), (4, 10**9, 4000), (4, 2000, 2000), (4, 1001, 2000), (8, 1, 1000)],
)
def test_a_batch_of_pictures_is_never_in_memory_at_once(workers, held_bytes, peak):
    world = World()
    pictures = [b"picture:%02d" % n + b" " * 990 for n in range(32)]
    kept = [world.keep(data) for data in pictures]
    kept[5:5] = [picture("sha256/ab/" + "ab" * 32)]  # a missing one takes no place
    messages = [message(msgspec.structs.replace(fact, id=f"i{n}"), offset=n) for n, fact in enumerate(kept)]
    expected = [world.run(one)[0] for one in messages]
    get = world.objects.get

    async def counted(reference):
        return Held(await get(reference))

    world.objects.get = counted
    world.step._pictures.workers, world.step._held_bytes = workers, held_bytes
    Held.now = Held.peak = 0
    assert world.run(*messages) == expected
    assert (Held.peak, Held.now) == (peak, 0)
    assert sum(output.topic == RECORD_UPDATES for outputs in expected for output in outputs) == 32


def test_without_an_encoder_its_items_are_left_alone():
    world = World(images=False)
    [outputs] = world.run(message(note("abcd"), picture("sha256/ab/" + "ab" * 32)))
    assert only_embedding(outputs).modality == "note"


def test_no_output_carries_the_notes_text():
    world = World()
    [[encoded]] = world.run(message(note("secret-word")))
    assert b"secret-word" not in encoded.value
    assert "secret-word" not in repr(encoded)
