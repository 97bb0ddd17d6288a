"""What the edge needs of a message before it is stored: whose it is, and how to answer. No mapping is done."""

import msgspec

from services.domain.reasons import Rejected, RejectReason
from services.domain.site import Site
from services.formats.hl7v2 import er7
from services.formats.hl7v2.header import Header, check, header
from services.formats.hl7v2.mapping.context import tables
from services.formats.hl7v2.mapping.dispatch import unsupported
from services.formats.hl7v2.mapping.patient import key_of, patient_identifiers


class Routing(msgspec.Struct, frozen=True, kw_only=True):
    """Where a message goes and what the sender asked for.

    `patient` is the key of the first PID: the key that `read` gives the message's own patient. It is None for
    messages about nobody (a query, a schedule without a patient), which are filtered downstream with a reason.
    """

    patient: str | None
    header: Header

    @property
    def control_id(self) -> str:
        return self.header.control_id

    @property
    def type(self) -> str:
        return self.header.type

    @property
    def version(self) -> str:
        return self.header.version

    @property
    def processing_id(self) -> str:
        return self.header.processing_id

    @property
    def charset(self) -> str:
        return self.header.charset

    @property
    def accept_ack(self) -> str:
        return self.header.accept_ack

    @property
    def application_ack(self) -> str:
        return self.header.application_ack


def read_header(raw: bytes, site: Site) -> Header | Rejected:
    """The header alone, for the answer to a message that `routing` rejects. Rejects what cannot be split."""
    message = er7.parse(raw, site.default_charset)
    return message if isinstance(message, Rejected) else header(message)


def routing(raw: bytes, site: Site) -> Routing | Rejected:
    """Key and header of a message. Rejects what `read` would reject for its form, type, control id or patient.

    Times are not looked at: a message with a wrong clock is stored, and becomes a dead letter with its reason.
    """
    message = er7.parse(raw, site.default_charset)
    if isinstance(message, Rejected):
        return message
    head = header(message)
    problem = check(head)
    if problem is not None:
        return problem
    key = _key(message, head, site)
    if key is None and unsupported(head.code, head.event) is None:
        return Rejected(RejectReason.MISSING_PATIENT, "PID-3", "the patient's identifier and its assigning authority")
    return Routing(patient=key, header=head)


class _Place:
    """The part of a mapping context that identifiers need."""

    __slots__ = ("authority", "message", "site", "tables")

    def __init__(self, message: er7.Message, head: Header, site: Site) -> None:
        self.message = message
        self.site = site
        self.tables = tables(site)
        self.authority = site.default_authority or head.sending_facility


def _key(message: er7.Message, head: Header, site: Site) -> str | None:
    pid = message.first("PID")
    if pid is None:
        return None
    place = _Place(message, head, site)
    return key_of(place, patient_identifiers(place, pid))
