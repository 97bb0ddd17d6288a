"""The encoding step: each note and chest radiograph is encoded once, on arrival; its embedding goes to the record.

Out of each clinical event come at most one event on `record.updates` with all its embeddings, and a dead letter when a
picture of it cannot be had. Events without notes or pictures, and those that cannot be read (assembling writes their
dead letter), yield nothing. While the model server or the object store is away the step waits and nothing is lost.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec
import numpy as np

from services.bus.messages import Message, Output, carried, dead_letter
from services.bus.objects import BadReference, ObjectCorrupt, ObjectMissing, ObjectStore, Persistent
from services.bus.topics import CLINICAL_EVENTS, RECORD_UPDATES, Topic
from services.domain.events import ClinicalEvent, Document, Embedding, Imaging, Rank, decode_event, digest, encode_event
from services.domain.images import encodable
from services.domain.reasons import Rejected, RejectReason
from services.encode.embed import embedding, event_of
from services.encode.pixels import Picture
from services.inference.caller import Caller
from services.inference.checks import Invalid
from services.inference.manifest import Manifest

HELD_BYTES = 64 << 20
"""Once the objects at hand come to so much, they are decoded before the next is fetched: two large radiographs."""


class Pictures(Protocol):
    """Reads DICOM objects' pictures, in order. `workers` is how many it reads at once."""

    @property
    def workers(self) -> int: ...

    async def pictures(self, objects: Sequence[bytes]) -> list[Picture | Rejected]: ...


@dataclass(frozen=True)
class Encoder:
    """A deployed encoder and how it is asked."""

    manifest: Manifest
    caller: Caller


@dataclass(frozen=True)
class NoteEncoder(Encoder):
    """`prepare` makes one row's arrays of a note's text and title; None when there is nothing in it to encode."""

    prepare: Callable[[str, str], Mapping[str, np.ndarray] | None]


@dataclass
class Item:
    """One note or picture on its way: its source, the encoder's input, and at the end an embedding or a refusal."""

    message: int
    fact: Document | Imaging
    arrays: Mapping[str, np.ndarray] | None = None
    thumbnail: bytes = field(default=b"", repr=False)
    result: Embedding | Rejected | None = None


class EncodeStep:
    """A `BatchStep`. An encoder that is not deployed is None: its items are left alone."""

    name = "encode"
    inputs: tuple[Topic, ...] = (CLINICAL_EVENTS,)

    def __init__(
        self,
        notes: NoteEncoder | None,
        images: Encoder | None,
        objects: ObjectStore,
        pictures: Pictures,
        *,
        max_batch: int = 32,
        held_bytes: int = HELD_BYTES,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        on_wait: Callable[[], None] = lambda: None,
    ) -> None:
        self.max_batch = max_batch
        self._held_bytes = held_bytes
        self._notes = notes
        self._images = images
        self._objects = Persistent(objects, on_wait, sleep)
        self._pictures = pictures

    async def __call__(self, messages: Sequence[Message]) -> Sequence[Sequence[Output]]:
        events = [_event(message) for message in messages]
        items = [item for n, event in enumerate(events) if event for item in self._items(n, event)]
        notes = [item for item in items if isinstance(item.fact, Document)]
        images = [item for item in items if isinstance(item.fact, Imaging)]
        if self._notes and notes:
            await self._encode_notes(self._notes, notes)
        if self._images and images:
            await self._read_pictures(images)
            await self._encode(self._images, images)
        return [
            self._outputs(message, event, [item for item in items if item.message == n]) if event else []
            for n, (message, event) in enumerate(zip(messages, events, strict=True))
        ]

    def _items(self, n: int, event: ClinicalEvent) -> list[Item]:
        return [Item(n, fact) for fact in event.facts if isinstance(fact, Document | Imaging) and self._wants(fact)]

    def _wants(self, fact: Document | Imaging) -> bool:
        if isinstance(fact, Document):
            return self._notes is not None and _is_note(fact)
        return self._images is not None and _is_picture(fact)

    async def _encode_notes(self, encoder: NoteEncoder, items: Sequence[Item]) -> None:
        for item in items:
            assert isinstance(item.fact, Document)
            item.arrays = encoder.prepare(item.fact.text, item.fact.title)
        await self._encode(encoder, items)

    async def _read_pictures(self, items: Sequence[Item]) -> None:
        """Fill each item's arrays, or its refusal. Of the objects themselves only a few are in memory at a time: as
        many as there are workers, and fewer once they come to `held_bytes`."""
        waiting = deque(items)
        while waiting:
            await self._decode(await self._fetch_some(waiting))

    async def _fetch_some(self, waiting: deque[Item]) -> list[tuple[Item, bytes]]:
        """Take items from the left until their objects are enough for one round of decoding."""
        at_hand: list[tuple[Item, bytes]] = []
        held = 0
        while waiting and len(at_hand) < self._pictures.workers and held < self._held_bytes:
            item = waiting.popleft()
            data = await self._fetch(item)
            if data is not None:
                at_hand.append((item, data))
                held += len(data)
        return at_hand

    async def _decode(self, at_hand: Sequence[tuple[Item, bytes]]) -> None:
        pictures = await self._pictures.pictures([data for _, data in at_hand])
        for (item, _), picture in zip(at_hand, pictures, strict=True):
            if isinstance(picture, Rejected):
                item.result = picture
            else:
                item.arrays, item.thumbnail = {"image": picture.image}, picture.thumbnail

    async def _fetch(self, item: Item) -> bytes | None:
        """The object's bytes; None, with the item's refusal set, when they are not there or not the ones meant."""
        assert isinstance(item.fact, Imaging)
        try:
            data = await self._objects.get(item.fact.object)
        except (ObjectMissing, BadReference):
            item.result = Rejected(RejectReason.OBJECT_MISSING, "object")
            return None
        except ObjectCorrupt:
            item.result = Rejected(RejectReason.OBJECT_CORRUPT, "object")
            return None
        if item.fact.object_sha256 and hashlib.sha256(data).hexdigest() != item.fact.object_sha256:
            item.result = Rejected(RejectReason.OBJECT_CORRUPT, "object_sha256")
            return None
        return data

    async def _encode(self, encoder: Encoder, items: Sequence[Item]) -> None:
        ready = [item for item in items if item.arrays is not None and item.result is None]
        ids = [int(digest(item.fact.id, item.fact.version.digest, size=7), 16) for item in ready]
        answers = await encoder.caller.ask([item.arrays for item in ready if item.arrays is not None], ids)
        for item, answer in zip(ready, answers, strict=True):
            if isinstance(answer, Invalid):
                item.result = Rejected(RejectReason.STEP_FAILED, item.fact.__class__.__name__.lower(), answer.reason)
            else:
                reference = await self._objects.put(item.thumbnail, "image/png") if item.thumbnail else ""
                item.result = embedding(item.fact, encoder.manifest, answer, reference)

    def _outputs(self, message: Message, event: ClinicalEvent, items: Sequence[Item]) -> list[Output]:
        outputs = []
        embeddings = [item.result for item in items if isinstance(item.result, Embedding)]
        if embeddings:
            models = [encoder.manifest for encoder in (self._notes, self._images) if encoder]
            made = event_of(event, embeddings, models)
            outputs.append(Output(RECORD_UPDATES, event.patient, encode_event(made), carried(message)))
        refusal = next((item.result for item in items if isinstance(item.result, Rejected)), None)
        if refusal is not None:
            outputs.append(dead_letter(message, refusal, self.name))
        return outputs


def _event(message: Message) -> ClinicalEvent | None:
    """The event, when it may hold a note or a picture; most hold neither and are told by their bytes."""
    if b"document" not in message.value and b"imaging" not in message.value:
        return None
    try:
        return decode_event(message.value)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _is_note(fact: Document) -> bool:
    """A text that stands; encapsulated documents (PDF, CDA) carry none."""
    return bool(fact.text.strip()) and fact.version.rank < Rank.CANCELLED


def _is_picture(fact: Imaging) -> bool:
    """An object of the kind that the encoder was trained for."""
    wanted = encodable(fact.modality, fact.body_part, fact.view_position)
    return wanted and bool(fact.object) and fact.version.rank < Rank.CANCELLED
