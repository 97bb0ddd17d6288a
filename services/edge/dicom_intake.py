"""Keeping one DICOM instance, however it arrived: the object to storage, then the event to `dicom.raw`.

Both must have answered before anybody is told that it is kept. An object whose event is not published stays in
storage without harm: the sender sends again, and the same bytes have the same name.
"""

import msgspec

from services.bus.objects import ObjectStore
from services.bus.topics import DICOM_RAW
from services.domain.identity import patient_key
from services.domain.site import Site
from services.edge.publisher import Publisher
from services.formats.dicom import DicomObject, encode_object, patient_identifier

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

    def __init__(self, objects: ObjectStore, publisher: Publisher, site: Site) -> None:
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
        key = patient_key(patient.authority, patient.value, self._site.secret) if patient else None
        await self._publisher.publish(DICOM_RAW, key, encode_object(kept), {})
        return kept
