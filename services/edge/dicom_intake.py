"""Keeping one DICOM instance, however it arrived: the object to storage, then the event to `dicom.raw`.

Both must have answered before anybody is told that it is kept. An object whose event is not published stays in
storage without harm: the sender sends again, and the same bytes have the same name.

An object that is refused is kept, too: its bytes in storage, and a dead letter that holds the `DicomObject` by which
they are found (its header as far as it could be read). Retried, such a letter is as if the object were sent to
`dicom.raw`. Only what never came in whole is not kept.
"""

import logging
import time
from collections.abc import Callable
from hashlib import sha256

import msgspec

from services.bus import metrics
from services.bus.messages import Message, dead_letter
from services.bus.objects import ObjectStore
from services.bus.topics import DICOM_RAW
from services.domain.identity import key_of
from services.domain.reasons import Rejected
from services.domain.site import Site
from services.edge.publisher import Publisher, TooLarge
from services.formats.dicom import DicomObject, encode_object, patient_identifier

log = logging.getLogger(__name__)

STEP = "edge"
NOT_ON_A_TOPIC = -1
CONTENT_TYPE = "application/dicom"
MAX_OBJECT_BYTES = 256 << 20
"""Default cap on one instance, which is held in memory until it is kept."""
SMALL_BYTES = 16 << 20
LARGE_AT_ONCE = 2
"""Of instances above SMALL_BYTES (a plain radiograph is below) so many are received at once and others wait, so that
all senders together take no more than their number times SMALL_BYTES and LARGE_AT_ONCE times the cap."""
KEEP_TIMEOUT_S = 45.0
"""Longest wait for storage and broker together: above their own limits of 30 s and 10 s."""


class DicomIntake:
    """Where the C-STORE provider and STOW-RS put what they receive."""

    def __init__(
        self, objects: ObjectStore, publisher: Publisher, site: Site, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._clock = clock
        self._objects = objects
        self._publisher = publisher
        self._site = site

    async def keep(self, found: DicomObject, data: bytes) -> DicomObject:
        """Return when object and event are kept. Raises ObjectError or PublishFailed; then nothing is promised.

        `found` is what `read_header` read in `data`.
        """
        reference = await self._objects.put(data, CONTENT_TYPE)
        kept = msgspec.structs.replace(found, object=reference)
        patient = patient_identifier(kept.header, self._site)
        key = key_of(patient, self._site) if patient else None
        await self._publisher.publish(DICOM_RAW, key, encode_object(kept), {})
        return kept

    async def refuse(self, found: DicomObject | None, data: bytes, rejected: Rejected) -> None:
        """Return when object and dead letter are kept. Raises ObjectError or PublishFailed; then nothing is promised.

        `found` is None where no header could be read.
        """
        reference = await self._objects.put(data, CONTENT_TYPE)
        bare = DicomObject(sha256=sha256(data).hexdigest(), size=len(data), pixels=False, header={})
        try:
            await self._bury(msgspec.structs.replace(found or bare, object=reference), rejected)
        except TooLarge:  # its header is: the object in storage has it
            await self._bury(msgspec.structs.replace(bare, object=reference), rejected)
        metrics.DEAD_LETTERS.labels(STEP, rejected.reason.value).inc()
        log.info("a DICOM object was refused: %s at %s", rejected.reason.value, rejected.where or "-")

    async def _bury(self, kept: DicomObject, rejected: Rejected) -> None:
        now = int(self._clock() * 1000)
        message = Message(DICOM_RAW.name, NOT_ON_A_TOPIC, NOT_ON_A_TOPIC, None, encode_object(kept), {}, now)
        letter = dead_letter(message, rejected, STEP)
        await self._publisher.publish(letter.topic, letter.key, letter.value, letter.headers)
