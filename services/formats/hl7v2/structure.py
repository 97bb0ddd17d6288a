"""An optional check of a message's structure by hl7apy, for sites that ask for it. About 20 ms a message.

It answers what is wrong and where in the words of the standard. hl7apy's own texts carry values of the message, so
nothing of them is passed on but names of segments, fields and data types.
"""

import re
from dataclasses import dataclass

from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.exceptions import HL7apyException, UnsupportedVersion
from hl7apy.parser import parse_message

from services.domain.reasons import Rejected, RejectReason
from services.domain.site import Site
from services.formats.hl7v2 import er7
from services.formats.hl7v2.header import Header, header

_STRUCTURES = {  # HL7 table 0354: structures that serve several events, for senders that leave MSH-9.3 empty
    **dict.fromkeys(("ADT^A04", "ADT^A08", "ADT^A13"), "ADT_A01"),
    **dict.fromkeys(("ADT^A14", "ADT^A28", "ADT^A31"), "ADT_A05"),
    **dict.fromkeys(("ADT^A07",), "ADT_A06"),
    **dict.fromkeys(("ADT^A10", "ADT^A11", "ADT^A12"), "ADT_A09"),
    **dict.fromkeys(("ADT^A22", "ADT^A23", "ADT^A25", "ADT^A26", "ADT^A27", "ADT^A29", "ADT^A32"), "ADT_A21"),
    **dict.fromkeys(("ADT^A34", "ADT^A36", "ADT^A46", "ADT^A47"), "ADT_A30"),
    "ADT^A40": "ADT_A39",
    **dict.fromkeys(("MDM^T03", "MDM^T05", "MDM^T07", "MDM^T09", "MDM^T11"), "MDM_T01"),
    **dict.fromkeys(("MDM^T04", "MDM^T06", "MDM^T08", "MDM^T10"), "MDM_T02"),
}

_N = r"([A-Z][A-Z0-9]{2}(?:_[A-Z0-9_]{1,40})?)"  # a segment, field, group or structure name
_TEXTS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(rf"Missing required child {_N}\.{_N}"), "{1} is required in {0}"),
    (re.compile(rf"Child limit exceeded {_N}\.{_N}"), "{1} stands more often in {0} than its structure allows"),
    (re.compile(rf"Invalid children detected for <\w+ {_N}.*"), "{0} holds an element that this version does not have"),
    (re.compile(rf"Datatype \w+ is not correct for {_N}\.{_N} .*"), "{1} has components that its data type does not"),
    (re.compile(rf"(?:Unknown|Invalid) element found: <\w+ {_N}.*"), "{0} is not an element of this version"),
)
"""hl7apy's error texts, and what is passed on of each: names, never values."""


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
    try:
        parse_message(_text(message, head), validation_level=VALIDATION_LEVEL.TOLERANT).validate()
    except UnsupportedVersion:
        return Finding("MSH-12", "a version that hl7apy knows: 2.1 to 2.8.2")
    except HL7apyException as error:
        return _finding(str(error), head)
    except AttributeError:
        return Finding("MSH-9", "the message structure is not one of this version")
    except Exception as error:  # noqa: BLE001 - hl7apy raises KeyError and others for shapes that it cannot follow
        return Finding(head.type, f"hl7apy cannot follow this structure ({type(error).__name__})")
    return None


def _text(message: er7.Message, head: Header) -> str:
    """The message as hl7apy wants it: CR after each segment, the structure named in MSH-9."""
    marks = message.delimiters
    msh = list(message.msh)
    structure = _STRUCTURES.get(head.type)
    if structure and len(msh) > 9 and not message.value(msh, 9, 3):
        msh[9] = marks.component.join((head.code, head.event, structure))
    lines = [msh[0] + marks.field + marks.field.join(msh[2:])]
    lines += [marks.field.join(segment) for segment in message.segments[1:]]
    return "\r".join(lines) + "\r"


def _finding(text: str, head: Header) -> Finding:
    for pattern, hint in _TEXTS:
        match = pattern.fullmatch(text)
        if match:
            return Finding(_place(match[match.lastindex or 1]), hint.format(*map(_place, match.groups())))
    return Finding(head.type, "the structure is not the standard's")


def _place(name: str) -> str:
    """PID_3 as PID-3; groups and structures as they are."""
    segment, _, number = name.rpartition("_")
    return f"{segment}-{number}" if number.isdigit() and len(segment) == 3 else name


def enforce(raw: bytes, site: Site) -> Rejected | None:
    """`check` as a rejection, for a site that takes only what conforms."""
    found = check(raw, site)
    if found is None or isinstance(found, Rejected):
        return found
    return Rejected(RejectReason.MALFORMED, found.where, found.hint)
