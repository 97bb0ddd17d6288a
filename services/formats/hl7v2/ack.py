"""Acknowledgements (v2.8 chapter 2.9): MSH, MSA, and ERR where something is wrong. They hold no PHI.

Original mode answers AA, AE or AR. Enhanced mode (MSH-15 or MSH-16 valued) answers the accept phase with CA, CE or
CR, as MSH-15 asks, and the application phase with AA, AE or AR, as MSH-16 asks.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from services.domain.reasons import Rejected, RejectReason
from services.formats.hl7v2 import times
from services.formats.hl7v2.er7 import STANDARD, Delimiters
from services.formats.hl7v2.escapes import escapes
from services.formats.hl7v2.header import Header
from services.formats.ours import APPLICATION

Spell = Callable[[str], str]


class Outcome(StrEnum):
    """What became of a message at the edge."""

    ACCEPTED = "accepted"  # kept: the broker has acknowledged it
    ERROR = "error"  # it could not be kept: the sender may send it again
    REJECTED = "rejected"  # it is not taken as it is


_ACCEPT = {Outcome.ACCEPTED: "CA", Outcome.ERROR: "CE", Outcome.REJECTED: "CR"}
_APPLICATION = {Outcome.ACCEPTED: "AA", Outcome.ERROR: "AE", Outcome.REJECTED: "AR"}

_CONDITIONS = {  # RejectReason -> HL7 table 0357
    RejectReason.MISSING_MESSAGE_TYPE: ("200", "Unsupported message type"),
    RejectReason.MISSING_CONTROL_ID: ("101", "Required field missing"),
    RejectReason.CONTROL_ID_REUSED: ("205", "Duplicate key identifier"),
    RejectReason.MISSING_PATIENT: ("101", "Required field missing"),
    RejectReason.MISSING_MERGE_PATIENT: ("101", "Required field missing"),
    RejectReason.BAD_TIMESTAMP: ("102", "Data type error"),
    RejectReason.FUTURE_TIMESTAMP: ("102", "Data type error"),
    RejectReason.UNKNOWN_CHARSET: ("103", "Table value not found"),
    RejectReason.UNDECODABLE_TEXT: ("102", "Data type error"),
    RejectReason.MALFORMED: ("100", "Segment sequence error"),
    RejectReason.NOT_HL7: ("100", "Segment sequence error"),
    RejectReason.EMPTY: ("100", "Segment sequence error"),
    RejectReason.TOO_LARGE: ("207", "Application internal error"),
}
_INTERNAL = ("207", "Application internal error")


@dataclass(frozen=True, slots=True)
class Fault:
    """What an ERR segment says: our reason, where, how to mend it, and HL7's own condition (table 0357)."""

    reason: str
    where: str = ""
    hint: str = ""
    condition: tuple[str, str] = _INTERNAL


def fault(rejected: Rejected) -> Fault:
    """The fault of a rejected message."""
    return Fault(rejected.reason, rejected.where, rejected.hint, _CONDITIONS.get(rejected.reason, _INTERNAL))


UNAVAILABLE = Fault("unavailable", hint="the message could not be stored; send it again")
"""The broker has not acknowledged in time."""

CONTROL_ID_REUSED = Fault(
    "control_id_reused",
    "MSH-10",
    "the same control id came with other bytes",
    _CONDITIONS[RejectReason.CONTROL_ID_REUSED],
)
"""An earlier message had this MSH-10 and other content."""


def codes(header: Header | None, outcome: Outcome) -> tuple[str, ...]:
    """MSA-1 of each answer that is due, in order; none where the sender wants none (v2.8 table 0155)."""
    if header is None or not header.enhanced:
        return (_APPLICATION[outcome],)
    due = []
    if _wanted(header.accept_ack, outcome):
        due.append(_ACCEPT[outcome])
        if outcome is not Outcome.ACCEPTED:  # what was not accepted is not applied either: one answer says so
            return tuple(due)
    if _wanted(header.application_ack, outcome):
        due.append(_APPLICATION[outcome])
    return tuple(due)


def _wanted(condition: str, outcome: Outcome) -> bool:
    good = outcome is Outcome.ACCEPTED
    return {"AL": True, "SU": good, "ER": not good}.get(condition.upper(), False)


def acknowledge(
    header: Header | None,
    code: str,
    control_id: str,
    at: datetime,
    *,
    fault: Fault | None = None,
) -> bytes:
    """One answer, in the sender's delimiters and character set.

    `code` is MSA-1, `control_id` our own MSH-10, `at` our MSH-7. `header` is None where the message has none that
    can be read: the answer then names nobody. Sender and receiver (MSH-3 to 6) are echoed crosswise.
    """
    head = header or _NOBODY
    marks = head.delimiters
    spell = escapes(*marks, head.codec).encode
    sep, part = marks.field, marks.component
    app, facility, our_app, our_facility = head.raw_parties
    fields = [
        "MSH",
        "".join(marks[1:]),
        our_app or spell(APPLICATION),
        our_facility,
        app,
        facility,
        times.render(at),
        "",
        _message_type(head, part),
        spell(control_id),
        spell(head.processing_id) or "P",
        spell(head.version) or "2.5.1",
    ]
    if head.charset:
        fields += [""] * (17 - len(fields)) + [head.charset]
    msa = ["MSA", code, spell(head.control_id)]
    if fault and not _modern(head.version):
        msa += [spell(fault.reason)]
    segments = [sep.join(fields), sep.join(msa)]
    if fault:
        segments.append(_modern_err(fault, head, spell) if _modern(head.version) else _old_err(fault, head, spell))
    return ("\r".join(segments) + "\r").encode(head.codec, "replace")


def _message_type(head: Header, part: str) -> str:
    """ACK^A01^ACK; the structure since 2.3.1, the event since 2.2."""
    if not head.event or not part:
        return "ACK"
    structure = "" if head.version in ("2.1", "2.2", "2.3") else f"{part}ACK"
    return f"ACK{part}{head.event}{structure}"


def _modern(version: str) -> bool:
    """Whether ERR has its own error-location fields: 2.5 and later (and where no version is told)."""
    numbers = version.split(".")
    if len(numbers) < 2 or not (numbers[0].isascii() and numbers[0].isdigit() and numbers[1].isascii()):
        return True
    minor = numbers[1]
    return (int(numbers[0]), int(minor) if minor.isdigit() else 0) >= (2, 5)


_WHERE = re.compile(r"([A-Z][A-Z0-9]{2})(?:\[(\d+)\])?(?:-(\d+))?")


def _place(where: str) -> tuple[str, str, str]:
    """Segment, its number, field of `OBX[3]-5`; empty where there is no such place."""
    match = _WHERE.fullmatch(where)
    return (match[1], match[2] or "1", match[3] or "") if match else ("", "", "")


def _modern_err(fault: Fault, head: Header, spell: Spell) -> str:
    """ERR of 2.5 and later: 2 location (ERL), 3 condition (table 0357), 4 severity, 5 our reason, 7 and 8 the hint."""
    part = head.delimiters.component
    location = part.join(p for p in _place(fault.where) if p) if part else _place(fault.where)[0]
    condition = part.join((fault.condition[0], spell(fault.condition[1]), "HL70357")) if part else fault.condition[0]
    reason = part.join((spell(fault.reason), "", "L")) if part else spell(fault.reason)
    fields = ["ERR", "", location, condition, "E", reason, "", "", spell(fault.hint)]
    return head.delimiters.field.join(fields).rstrip(head.delimiters.field)


def _old_err(fault: Fault, head: Header, spell: Spell) -> str:
    """ERR before 2.5: one field, segment^number^field^code&text&system (ELD)."""
    marks = head.delimiters
    segment, number, field = _place(fault.where)
    code = marks.subcomponent.join((fault.condition[0], spell(fault.condition[1]), "HL70357"))
    if not marks.subcomponent:
        code = fault.condition[0]
    return marks.field.join(("ERR", marks.component.join((segment, number, field, code)) if marks.component else code))


_NOBODY = Header(code="", delimiters=Delimiters(*STANDARD))
