"""MSH, read once: what routing, acknowledging and mapping need of it (v2.8 chapter 2.14.9)."""

import re

import msgspec

from services.domain.reasons import Rejected, RejectReason
from services.formats.hl7v2.er7 import NULL, Delimiters, Message

_CODE = re.compile(r"[A-Z][A-Z0-9]{2}\Z")


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """The header's fields as text; the four sender and receiver fields stay raw, to be echoed as they came."""

    code: str  # MSH-9.1: ADT, ORU
    event: str = ""  # MSH-9.2, else EVN-1: A01, R01
    control_id: str = ""  # MSH-10
    sending_application: str = ""  # MSH-3.1
    sending_facility: str = ""  # MSH-4.1
    raw_parties: tuple[str, str, str, str] = ("", "", "", "")  # MSH-3 to MSH-6
    sent: str = ""  # MSH-7
    processing_id: str = ""  # MSH-11.1: P, D, T
    version: str = ""  # MSH-12.1
    sequence: str = ""  # MSH-13
    accept_ack: str = ""  # MSH-15: AL, NE, ER, SU
    application_ack: str = ""  # MSH-16
    charset: str = ""  # MSH-18, raw
    codec: str = "utf-8"
    delimiters: Delimiters = Delimiters()

    def __repr__(self) -> str:
        return f"<Header {self.type}>"

    @property
    def type(self) -> str:
        """ADT^A01; the code alone where there is no event."""
        return f"{self.code}^{self.event}" if self.event else self.code

    @property
    def enhanced(self) -> bool:
        """Whether the sender asks for enhanced acknowledgement (v2.8 chapter 2.9.3): MSH-15 or MSH-16 is valued."""
        return bool(self.accept_ack or self.application_ack)


def header(message: Message) -> Header:
    """The header of a message that could be split; what is missing is empty (`check` says whether that matters)."""
    msh = message.msh
    value = message.value
    code, event = value(msh, 9, 1), value(msh, 9, 2)
    if not event and (evn := message.first("EVN")):
        event = value(evn, 1)
    raw = [msh[n] if n < len(msh) else "" for n in range(3, 7)]
    return Header(
        code=code,
        event=event,
        control_id=value(msh, 10),
        sending_application=value(msh, 3),
        sending_facility=value(msh, 4),
        raw_parties=(raw[0], raw[1], raw[2], raw[3]),
        sent=value(msh, 7),
        processing_id=value(msh, 11),
        version=value(msh, 12),
        sequence=value(msh, 13),
        accept_ack=value(msh, 15),
        application_ack=value(msh, 16),
        charset=msh[18] if len(msh) > 18 and msh[18] != NULL else "",
        codec=message.codec,
        delimiters=message.delimiters,
    )


def check(head: Header) -> Rejected | None:
    """What the header must have to be processed: MISSING_MESSAGE_TYPE, MISSING_CONTROL_ID; None when it has."""
    if not _CODE.match(head.code) or (head.event and not _CODE.match(head.event)):
        hint = "message code and trigger event of three characters each, e.g. ADT^A01"
        return Rejected(RejectReason.MISSING_MESSAGE_TYPE, "MSH-9", hint)
    if not head.control_id:
        return Rejected(RejectReason.MISSING_CONTROL_ID, "MSH-10", "each message carries a control id of its own")
    return None
