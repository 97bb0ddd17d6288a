"""What reading one source message gives."""

import msgspec

from services.domain.events import ClinicalEvent
from services.domain.reasons import Filtered
from services.formats.attachments import Attachment


class Reading(msgspec.Struct, frozen=True):
    """A message that was understood: its events (one per patient it speaks of), and the parts set aside.

    `filtered` covers the whole message; normalize writes it into the first event. With no events it says why and
    holds at least one reason: nothing vanishes. `attachments` are the payloads that the events refer to by name.
    """

    format: str
    type: str
    message_id: str  # digest of the control id / resource id / SOP instance UID and its sender
    events: tuple[ClinicalEvent, ...] = ()
    filtered: tuple[Filtered, ...] = ()
    attachments: tuple[Attachment, ...] = ()
