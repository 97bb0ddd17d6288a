"""From the bytes of one HL7 v2 message to clinical events."""

from datetime import timedelta
from hashlib import blake2b

from services.domain.events import ClinicalEvent, FilteredPart, digest
from services.domain.reasons import Filtered, FilterReason, Rejected
from services.domain.site import Site
from services.formats.hl7v2 import er7
from services.formats.hl7v2.header import Header, check, header
from services.formats.hl7v2.mapping.context import Context, sent_at, tables
from services.formats.hl7v2.mapping.dispatch import About, facts, own_prediction, unsupported
from services.formats.reading import Reading

FORMAT = "hl7v2"


def read(raw: bytes, site: Site, received_ms: int) -> Reading | Rejected:
    """What one message (HL7 2.1 to 2.9, ER7) says, as one event per patient; or why it cannot be read.

    `received_ms` is when the message came in, epoch milliseconds: it only decides what lies in the future, so the
    same bytes give the same events whenever they are read. Never raises for anything in `raw`.
    """
    message = er7.parse(raw, site.default_charset)
    if isinstance(message, Rejected):
        return message
    head = header(message)
    problem = check(head)
    if problem is not None:
        return problem
    message_id = digest(FORMAT, head.sending_application, head.sending_facility, head.control_id, size=8)
    reason = unsupported(head.code, head.event)
    if reason is not None:
        return Reading(FORMAT, head.type, message_id, filtered=(Filtered(reason, "MSH-9"),))
    if site.refuse_test_messages and head.processing_id not in ("P", ""):
        return Reading(FORMAT, head.type, message_id, filtered=(Filtered(FilterReason.TEST_OR_TRAINING, "MSH-11"),))
    own = own_prediction(message, head)
    if own:
        return Reading(FORMAT, head.type, message_id, filtered=(Filtered(FilterReason.OWN_PREDICTION, own),))
    if site.check_structure:
        from services.formats.hl7v2.structure import enforce  # loads hl7apy, which few sites need

        problem = enforce(raw, site)
        if problem is not None:
            return problem
    site_tables = tables(site)
    sent = sent_at(message, head, site_tables.zone, received_ms, site.max_future)
    if isinstance(sent, Rejected):
        return sent
    latest_ms = received_ms + site.max_future // timedelta(milliseconds=1)
    ctx = Context(message, head, site_tables, sent, latest_ms)
    found = facts(ctx)
    if isinstance(found, Rejected):
        return found
    filtered = sorted(ctx.filtered)
    parts = [FilteredPart(reason.value, where) for reason, where in filtered]
    return Reading(
        FORMAT,
        head.type,
        message_id,
        _events(ctx, raw, found, parts),
        tuple(Filtered(reason, where) for reason, where in filtered),
        tuple(ctx.attachments.values()),
    )


def _events(ctx: Context, raw: bytes, found: list[About], parts: list[FilteredPart]) -> tuple[ClinicalEvent, ...]:
    """One event per patient; the parts set aside are told with the last, which is the message's own patient."""
    base = _name(ctx.head, raw)
    last = len(found) - 1
    events = []
    for n, about in enumerate(found):
        name = base
        if n:
            name = base.copy()
            name.update(about.key.encode())
        events.append(
            ClinicalEvent(
                event_id=name.hexdigest(),
                patient=about.key,
                format=FORMAT,
                type=ctx.head.type,
                occurred=ctx.sent,
                facts=about.facts,
                filtered=parts if n == last else [],
            )
        )
    return tuple(events)


def _name(head: Header, raw: bytes) -> "blake2b":
    """Hash of format, sender, control id and bytes: the same bytes are always the same event."""
    name = blake2b(digest_size=12)
    name.update(f"{FORMAT}\x1f{head.sending_application}\x1f{head.sending_facility}\x1f{head.control_id}\x1f".encode())
    name.update(raw)
    return name
