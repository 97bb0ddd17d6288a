"""From the bytes of one FHIR message (a resource or a Bundle, JSON) to clinical events."""

from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import blake2b

import orjson

from services.domain.events import AnyFact, ClinicalEvent, digest
from services.domain.reasons import Filtered, FilterReason, Rejected, RejectReason
from services.domain.site import Site
from services.formats.attachments import Attachment
from services.formats.fhir.access import Object, first, items, obj, text
from services.formats.fhir.bundle import BUNDLE_TYPES, MAX_DEPTH, Entry, Message
from services.formats.fhir.context import Context, Found, Item
from services.formats.fhir.datatypes import identifier
from services.formats.fhir.dispatch import READERS, SUBJECTS, reason_unread
from services.formats.fhir.patient import mark, merges, patient
from services.formats.fhir.types import RESOURCE_TYPES
from services.formats.ours import PREDICTION_SYSTEM
from services.formats.reading import Reading

FORMAT = "fhir"
MAX_FACTS = 500
"""Facts in one event; a patient with more in one message has several, named `<id>.1`, `<id>.2`."""
UNKNOWN_TIME = datetime.fromtimestamp(0, UTC)
"""`occurred` of an event that holds no time at all: with a clock here, the same message would give other bytes."""

_NOT_JSON = "send one JSON document in UTF-8 (FHIR R4, application/fhir+json)"
_NOT_FHIR = "the document must be an object with a resourceType of FHIR R4"
_BOM = b"\xef\xbb\xbf"


class _About:
    """What the message says of one patient."""

    __slots__ = ("facts", "newest")

    def __init__(self) -> None:
        self.facts: list[AnyFact] = []
        self.newest: datetime | None = None

    def add(self, facts: list[AnyFact], newest: datetime | None) -> None:
        self.facts += facts
        if newest is not None and (self.newest is None or newest > self.newest):
            self.newest = newest


def parse(raw: bytes) -> Message | Rejected:
    """The resources of a message. Rejects EMPTY, NOT_JSON, NOT_FHIR, MALFORMED; the texts carry no content."""
    if not raw.strip():
        return Rejected(RejectReason.EMPTY, hint=_NOT_JSON)
    try:
        root = orjson.loads(raw.removeprefix(_BOM))
    except (orjson.JSONDecodeError, RecursionError) as error:
        line = getattr(error, "lineno", 0)
        return Rejected(RejectReason.NOT_JSON, f"line {line} column {getattr(error, 'colno', 0)}", _NOT_JSON)
    kind = text(root.get("resourceType")) if isinstance(root, dict) else ""
    if kind not in RESOURCE_TYPES:
        return Rejected(RejectReason.NOT_FHIR, "resourceType", _NOT_FHIR)
    message = Message(root)
    for bundle in message.nested() if kind == "Bundle" else ():
        problem = _check(bundle.root)
        if problem is not None:
            return problem
    return message


def _check(bundle: Object) -> Rejected | None:
    """What makes a Bundle unreadable as a whole."""
    if text(bundle.get("type")) not in BUNDLE_TYPES:
        hint = "one of transaction, batch, collection, searchset, message, document, history"
        return Rejected(RejectReason.MALFORMED, "Bundle.type", hint)
    entries = bundle.get("entry", [])
    if not isinstance(entries, list):
        return Rejected(RejectReason.MALFORMED, "Bundle.entry", "a list of entries")
    for n, entry in enumerate(entries):
        resource = entry.get("resource") if isinstance(entry, dict) else entry
        if not isinstance(entry, dict) or (resource is not None and not isinstance(resource, dict)):
            return Rejected(RejectReason.MALFORMED, f"entry[{n}]", "an object with a resource")
        if isinstance(resource, dict) and not text(resource.get("resourceType")):
            return Rejected(RejectReason.NOT_FHIR, f"entry[{n}].resource.resourceType", _NOT_FHIR)
    return None


def read(raw: bytes, site: Site, received_ms: int) -> Reading | Rejected:
    """What one message says, as one event per patient (several when it holds very much); or why it cannot be read.

    `received_ms` is when it came in, epoch milliseconds: it only decides what lies in the future, so the same bytes
    give the same events whenever they are read. Never raises for anything in `raw`.
    """
    message = _checked(raw, site)
    return message if isinstance(message, Rejected) else interpret(message, raw, site, received_ms)


def examine(raw: bytes, site: Site, received_ms: int) -> tuple[str | None, Reading, str] | Rejected:
    """`routing`, `read` and the resource's own id, parsing once: for the edge, before it takes a message."""
    message = _checked(raw, site)
    if isinstance(message, Rejected):
        return message
    reading = interpret(message, raw, site, received_ms)
    if isinstance(reading, Rejected):
        return reading
    return key_of(message, site), reading, text(message.root.get("id"))


def _checked(raw: bytes, site: Site) -> Message | Rejected:
    message = parse(raw)
    if isinstance(message, Rejected) or not site.check_fhir:
        return message
    from services.formats.fhir.validate import validate  # the models take about a second to load

    return validate(message.root) or message


def interpret(message: Message, raw: bytes, site: Site, received_ms: int) -> Reading | Rejected:
    """`read` of a message that is parsed already; `raw` names its events."""
    kind = text(message.root.get("resourceType"))
    about: dict[str, _About] = {}
    filtered: Found = {}
    attachments: dict[str, Attachment] = {}
    for part in message.nested():
        ctx = Context(part, site, received_ms)
        for entry in part.entries:
            problem = _entry(ctx, entry, about, filtered)
            if problem is not None:
                return problem
        attachments |= ctx.attachments
    parts = tuple(Filtered(reason, where) for reason, where in filtered)
    about = {key: said for key, said in about.items() if said.facts}
    if not about and not parts:
        parts = (Filtered(FilterReason.NO_CLINICAL_CONTENT, "entry"),)
    name = blake2b(FORMAT.encode() + b"\x1f" + raw, digest_size=12)
    events = tuple(_events(name, kind, about))
    return Reading(FORMAT, kind, message_id(message, raw), events, parts, tuple(attachments.values()))


def message_id(message: Message, raw: bytes) -> str:
    """Digest of the message's own name: type, id and version; a Bundle's identifier; else its bytes."""
    root = message.root
    kind, logical_id = text(root.get("resourceType")), text(root.get("id"))
    number = identifier(obj(root.get("identifier")) or first(root.get("identifier")))
    if logical_id:
        meta = obj(root.get("meta"))
        return digest(FORMAT, kind, logical_id, text(meta.get("versionId")) or text(meta.get("lastUpdated")), size=8)
    if number is not None:
        return digest(FORMAT, kind, number.authority, number.value, size=8)
    return blake2b(FORMAT.encode() + b"\x1f" + raw, digest_size=8).hexdigest()


def _entry(ctx: Context, entry: Entry, about: dict[str, _About], filtered: Found) -> Rejected | None:
    """Add what one resource says, or why nothing of it is used."""
    if not entry.resource:  # a DELETE, a response without its resource, a GET
        asked = entry.method in ("GET", "HEAD")
        filtered[FilterReason.QUERY if asked else FilterReason.NO_CLINICAL_CONTENT, entry.where] = None
        return None
    if entry.type == "Bundle":  # gone through by itself
        if ctx.message.depth == MAX_DEPTH:
            filtered[FilterReason.UNSUPPORTED_RESOURCE, entry.where] = None
        return None
    if entry.type == "Patient":
        return _patient(ctx, entry, about, filtered)
    if any(text(number.get("system")) == PREDICTION_SYSTEM for number in items(entry.resource.get("identifier"))):
        filtered[FilterReason.OWN_PREDICTION, entry.where or entry.type] = None
        return None
    reader = READERS.get(entry.type)
    if reader is None:
        filtered[reason_unread(entry.type), entry.where or entry.type] = None
        return None
    item = Item(ctx, entry)
    element = SUBJECTS.get(entry.type, "subject")
    key = ctx.subjects.of_reference(_subject(ctx, entry, element), entry, item.place(element))
    if isinstance(key, Rejected):
        return key
    if isinstance(key, FilterReason):
        filtered[key, item.place(element)] = None
        return None
    facts = list(reader(item))
    filtered |= item.filtered
    if facts:
        about.setdefault(key, _About()).add(facts, item.newest)
    elif not item.filtered:
        filtered[FilterReason.NO_CLINICAL_CONTENT, entry.where or entry.type] = None
    return None


def _subject(ctx: Context, entry: Entry, element: str) -> object:
    """Whom a resource is about; of a result that does not say it, whom the panel or report that lists it is about."""
    lists = () if entry.resource.get(element) else ctx.message.lists_of(entry)
    return next((one.resource["subject"] for one in lists if one.resource.get("subject")), entry.resource.get(element))


def _patient(ctx: Context, entry: Entry, about: dict[str, _About], filtered: Found) -> Rejected | None:
    key = ctx.subjects.of_patient(entry)
    if isinstance(key, Rejected):
        return key
    item = Item(ctx, entry)
    marks = merges(item, key)
    if isinstance(marks, Rejected):
        return marks
    at = datetime.fromtimestamp(item.issued / 1000, UTC) if item.issued else None
    marks += [(alias, mark(item.version(), key)) for alias in ctx.subjects.aliases(entry, key)]
    about.setdefault(key, _About()).add([patient(item)], at)
    for superseded, merge in marks:
        about.setdefault(superseded, _About()).add([merge], at)
    filtered |= item.filtered
    return None


def _events(name: "blake2b", kind: str, about: dict[str, _About]) -> Iterator[ClinicalEvent]:
    """One event per patient and MAX_FACTS facts. What was set aside of the message is the Reading's to tell."""
    for n, (key, said) in enumerate(about.items()):
        own = name.copy()
        if n:
            own.update(key.encode())
        for chunk, start in enumerate(range(0, len(said.facts), MAX_FACTS)):
            yield ClinicalEvent(
                event_id=own.hexdigest() + (f".{chunk}" if chunk else ""),
                patient=key,
                format=FORMAT,
                type=kind,
                occurred=said.newest or UNKNOWN_TIME,
                facts=said.facts[start : start + MAX_FACTS],
            )


def routing(raw: bytes, site: Site) -> str | None:
    """The key under which a raw message is published: of the first patient it speaks of, None when of none."""
    message = parse(raw)
    return None if isinstance(message, Rejected) else key_of(message, site)


def key_of(message: Message, site: Site) -> str | None:
    """`routing` of a message that is parsed already: a Patient's own key, else the first subject's."""
    parts = [(Context(part, site, 0), part.entries) for part in message.nested()]
    for ctx, entries in parts:
        for entry in entries:
            key = ctx.subjects.of_patient(entry) if entry.type == "Patient" else None
            if isinstance(key, str):
                return key
    for ctx, entries in parts:
        for entry in entries:
            if entry.type in READERS:
                subject = _subject(ctx, entry, SUBJECTS.get(entry.type, "subject"))
                found = ctx.subjects.of_reference(subject, entry, "")
                if isinstance(found, str) and not isinstance(found, FilterReason):
                    return found
    return None
