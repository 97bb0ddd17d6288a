"""An optional check of a message's structure by hl7apy, for sites that ask for it. About 20 ms a message.

It answers what is wrong and where in the words of the standard. hl7apy's own texts carry values of the message, so
nothing of them is passed on but names of segments, fields and data types.
"""

import re
from dataclasses import dataclass

from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.exceptions import (
    ChildNotFound,
    ChildNotValid,
    HL7apyException,
    InvalidDataType,
    InvalidName,
    MaxChildLimitReached,
    MaxLengthReached,
    UnsupportedVersion,
    ValidationError,
)
from hl7apy.parser import parse_message

from services.domain.reasons import Rejected, RejectReason
from services.domain.site import Site
from services.formats.hl7v2 import er7
from services.formats.hl7v2.header import header

_HINTS: tuple[tuple[type[Exception], str], ...] = (
    (UnsupportedVersion, "MSH-12 is a version that hl7apy knows: 2.1 to 2.8.2"),
    (MaxChildLimitReached, "an element stands more often than its structure allows"),
    (MaxLengthReached, "a value is longer than its data type allows"),
    (InvalidDataType, "a value does not fit its data type"),
    (ChildNotFound, "an element that the structure does not have here"),
    (ChildNotValid, "an element that the structure does not have here"),
    (InvalidName, "a segment or field that this version does not have"),
    (ValidationError, "a required element is missing, or a value does not fit its data type"),
)
_NAME = re.compile(r"\b([A-Z][A-Z0-9]{2})_(\d{1,3})\b")
_MESSAGE_CODES = re.compile(r"\b(?:ADT|ORU|ORM|OMG|OML|OMI|MDM|RDE|RDS|RAS|VXU|PPR|OUL|ACK)_[A-Z]\d\d\b")


@dataclass(frozen=True, slots=True)
class Finding:
    """One departure from the standard: where (PID-8, or a message structure) and what is wrong with it."""

    where: str
    hint: str


def check(raw: bytes, site: Site) -> Finding | Rejected | None:
    """The first departure from the structure of the message's own version; None when there is none.

    A message that cannot be split at all is `Rejected`, as `read` would do.
    """
    message = er7.parse(raw, site.default_charset)
    if isinstance(message, Rejected):
        return message
    head = header(message)
    field = message.delimiters.field
    lines = [message.msh[0] + field + field.join(message.msh[2:]), *(field.join(s) for s in message.segments[1:])]
    try:
        parsed = parse_message("\r".join(lines) + "\r", validation_level=VALIDATION_LEVEL.TOLERANT)
        parsed.validate()
    except HL7apyException as error:
        return Finding(_place(str(error)) or head.type, _hint(error))
    except Exception as error:  # noqa: BLE001 - hl7apy raises KeyError, AttributeError... for shapes it cannot follow
        return Finding(head.type, f"hl7apy cannot follow this structure ({type(error).__name__})")
    return None


def enforce(raw: bytes, site: Site) -> Rejected | None:
    """`check` as a rejection, for a site that takes only what conforms."""
    found = check(raw, site)
    if found is None or isinstance(found, Rejected):
        return found
    return Rejected(RejectReason.MALFORMED, found.where, found.hint)


def _place(text: str) -> str:
    """The field or structure that an error text names; names alone, never a value."""
    match = _NAME.search(text)
    if match:
        return f"{match[1]}-{match[2]}"
    structure = _MESSAGE_CODES.search(text)
    return structure[0] if structure else ""


def _hint(error: Exception) -> str:
    return next((hint for kind, hint in _HINTS if isinstance(error, kind)), "the structure is not the standard's")
