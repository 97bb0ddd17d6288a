"""The normalizing step: a raw message -> its clinical events, or a filtered message, or a dead letter.

What a message carries within itself (a PDF, an image) goes to the object store, and only when it is kept there do the
events that refer to it go out. While the store is away the step waits.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence

import msgspec

from services.bus.messages import ORIGIN, FilteredMessage, Message, Origin, Output, carried, dead_letter
from services.bus.objects import ObjectStore, Persistent
from services.bus.topics import CLINICAL_EVENTS, DICOM_RAW, FHIR_RAW, FILTERED_MESSAGES, HL7_RAW, Topic
from services.domain.events import FilteredPart, encode_event
from services.domain.reasons import Rejected
from services.domain.site import Site
from services.formats.reading import Reading
from services.normalize.read import read

EVENTS = "ws-events"
"""Header of clinical events: `n/N`, which of how many its raw message gave, so that one that is missing shows."""

FORMAT_OF_TOPIC = {HL7_RAW.name: "hl7v2", FHIR_RAW.name: "fhir", DICOM_RAW.name: "dicom"}

_ENCODER = msgspec.json.Encoder(order="deterministic")


class Normalize:
    """The batch step of the normalize service. Its one I/O is keeping attachments."""

    name = "normalize"
    inputs: tuple[Topic, ...] = (HL7_RAW, FHIR_RAW, DICOM_RAW)
    max_batch = 200

    def __init__(
        self,
        site: Site,
        objects: ObjectStore,
        *,
        on_wait: Callable[[], None] = lambda: None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.site = site
        self._objects = Persistent(objects, on_wait, sleep)

    async def __call__(self, messages: Sequence[Message]) -> Sequence[Sequence[Output]]:
        # One after another, so that the payloads of one message alone are in memory beside the batch itself.
        return [await self._answered(message) for message in messages]

    async def _answered(self, message: Message) -> list[Output]:
        reading = read(FORMAT_OF_TOPIC[message.topic], message.value, self.site, message.timestamp_ms)
        if isinstance(reading, Reading) and reading.attachments:
            await asyncio.gather(*(self._objects.put(one.data, one.content_type) for one in reading.attachments))
        return list(self._answer(message, reading))

    def _answer(self, message: Message, reading: Reading | Rejected) -> Iterator[Output]:
        """What one raw message gives: never nothing."""
        if isinstance(reading, Rejected):
            yield dead_letter(message, reading, self.name)
        elif reading.events:
            yield from self._events(message, reading)
        else:
            yield _filtered(message, reading)

    def _events(self, message: Message, reading: Reading) -> Iterator[Output]:
        origin = f"{message.topic}/{message.partition}/{message.offset}".encode()
        headers = {**carried(message), ORIGIN: origin}
        parts = [FilteredPart(part.reason, part.where) for part in reading.filtered]
        count = len(reading.events)
        for number, event in enumerate(reading.events, 1):  # the first tells what was set aside of the whole message
            event = msgspec.structs.replace(event, filtered=parts)
            parts = []
            numbered = {**headers, EVENTS: f"{number}/{count}".encode()}
            yield Output(CLINICAL_EVENTS, event.patient, encode_event(event), numbered)


def _filtered(message: Message, reading: Reading) -> Output:
    value = FilteredMessage(
        origin=Origin(message.topic, message.partition, message.offset),
        format=reading.format,
        type=reading.type,
        message_id=reading.message_id,
        reasons=sorted({part.reason for part in reading.filtered}),
    )
    return Output(FILTERED_MESSAGES, None, _ENCODER.encode(value), carried(message))
