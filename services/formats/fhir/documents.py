"""DiagnosticReport and DocumentReference: notes, reports, attachments (R4 sections 10.2 and 2.42)."""

import base64
import binascii
from datetime import datetime
from hashlib import sha256

from services.domain.events import AnyFact, Code, Document, Rank, digest
from services.domain.reasons import FilterReason
from services.formats.fhir import datatypes
from services.formats.fhir.access import Object, first, items, numbered, obj, text
from services.formats.fhir.bundle import Entry
from services.formats.fhir.context import Item, identity
from services.formats.fhir.observation import RANKS, observations

_TEXTUAL = frozenset({"text/plain", "text/markdown"})
_DOC_STATUS = {"preliminary": Rank.PRELIMINARY, "final": Rank.FINAL, "amended": Rank.AMENDED}


def report(item: Item) -> list[AnyFact]:
    """A report's attached forms, or else its conclusion, as documents; and results that it carries within itself.

    A report of results alone says nothing that its results do not: NO_CLINICAL_CONTENT.
    """
    resource = item.resource
    rank = RANKS.get(text(resource.get("status")), Rank.UNKNOWN)
    facts: list[AnyFact] = list(_contained_results(item))
    forms = list(numbered(resource.get("presentedForm")))
    conclusion = text(resource.get("conclusion"))
    if forms or conclusion or rank.retracted:
        facts += _documents(item, forms, "presentedForm", rank, conclusion)
    elif not facts:
        item.drop(FilterReason.NO_CLINICAL_CONTENT)
    return facts


def _contained_results(item: Item) -> list[AnyFact]:
    referred = {text(r.get("reference")) for r in items(item.resource.get("result"))}
    found: list[AnyFact] = []
    for n, held in numbered(item.resource.get("contained")):
        if held.get("resourceType") != "Observation" or f"#{text(held.get('id'))}" not in referred:
            continue
        own_time = any(key.startswith("effective") for key in held)
        defaults = {
            key: value
            for key, value in item.resource.items()
            if key in ("encounter", "issued") or (key.startswith("effective") and not own_time)
        }
        name = "/".join((*identity(item.entry), text(held.get("id"))))
        inner = Item(item.ctx, Entry({**defaults, **held, "id": name}, item.place(f"contained[{n}]")))
        inner.issued, inner.sequence = item.issued, item.sequence
        found += observations(inner)
        item.filtered |= inner.filtered
        item.newest = max(filter(None, (item.newest, inner.newest)), default=None)
    return found


def reference(item: Item) -> list[AnyFact]:
    """The attachments of a DocumentReference; one that replaces another also withdraws that one."""
    resource = item.resource
    rank = _DOC_STATUS.get(text(resource.get("docStatus")), Rank.FINAL)
    if "entered-in-error" in (text(resource.get("status")), text(resource.get("docStatus"))):
        rank = Rank.ENTERED_IN_ERROR
    forms = [(n, obj(content.get("attachment"))) for n, content in numbered(resource.get("content"))]
    facts = _documents(item, forms, "content", rank, "")
    if facts:
        facts += _replaced(item, facts[0])
    return facts


def _replaced(item: Item, by: AnyFact) -> list[AnyFact]:
    assert isinstance(by, Document)
    found: list[AnyFact] = []
    for relation in items(item.resource.get("relatesTo")):
        if text(relation.get("code")) != "replaces":
            continue
        literal = text(obj(relation.get("target")).get("reference"))
        entry = item.ctx.message.find(literal, item.entry)
        named = identity(entry) if entry is not None else tuple(literal.rsplit("/", 2)[-2:])
        if len(named) > 1:
            old = digest("fhir", "document", *named, size=8)
            version = item.version(Rank.CANCELLED)
            found.append(Document(id=old, version=version, time=by.time, title=by.title, code=by.code))
    return found


def _documents(item: Item, forms: list[tuple[int, Object]], element: str, rank: Rank, conclusion: str) -> list[AnyFact]:
    resource = item.resource
    at = _when(item)
    if at is None:
        item.drop(FilterReason.NO_TIME)
        return []
    issued = item.moment(resource.get("issued"), "issued")
    sent = datatypes.codings(resource.get("type")) or datatypes.codings(resource.get("code"))
    code = sent[0] if sent else None
    encounter = item.encounter(resource.get("encounter") or obj(resource.get("context")).get("encounter"))
    found: list[AnyFact] = []

    def add(n: int, content: str, payload: bytes, kind: str) -> None:
        body = content.encode() if content else payload
        found.append(
            Document(
                id=_id(item, n),
                version=item.version(rank, issued),
                time=at,
                title=_title(code),
                code=code,
                text=content,
                text_sha256=sha256(body).hexdigest() if body else "",
                encounter=encounter,
                content_type=kind,
            )
        )

    for n, attachment in forms:
        form = _payload(attachment)
        if isinstance(form, FilterReason):
            item.drop(form, f"{element}[{n}]")
        else:
            add(n, *form)
    if not found and (conclusion or rank.retracted):
        add(0, conclusion, b"", "text/plain")
    if not found and not forms:
        item.drop(FilterReason.NO_VALUE, element)
    return found


def _when(item: Item) -> datetime | None:
    """When the document was written, else what it is about ended."""
    get = item.resource.get
    context = obj(get("context"))
    return (
        item.moment(get("date"), "date")
        or item.choice("effective", end=True)
        or item.moment(get("issued"), "issued")
        or item.moment(obj(first(get("content")).get("attachment")).get("creation"), "content[0].attachment.creation")
        or item.moment(obj(context.get("period")).get("end"), "context.period.end")
        or item.about_when()
    )


def _id(item: Item, n: int) -> str:
    code = datatypes.concept(item.resource.get("type")) or datatypes.concept(item.resource.get("code")) or Code("", "")
    whole = item.id("document", code.system, code.code, text(item.resource.get("date")), item.content)
    return whole if n == 0 else digest(whole, str(n), size=8)


def _title(code: Code | None) -> str:
    """The type's name; what people typed as a description may hold anything."""
    return (code.display or (code.code if code.system else "")) if code else ""


def _payload(attachment: Object) -> tuple[str, bytes, str] | FilterReason:
    """(text, bytes, content type) of an Attachment. Of what is not text, type and SHA-256 are kept.

    NO_VALUE when the data lie elsewhere (`url`), UNSUPPORTED_VALUE_TYPE when they are not base64.
    """
    data = text(attachment.get("data"))
    if not data:
        return FilterReason.NO_VALUE
    try:
        payload = base64.b64decode("".join(data.split()), validate=True)
    except (ValueError, binascii.Error):
        return FilterReason.UNSUPPORTED_VALUE_TYPE
    full = text(attachment.get("contentType")).lower() or "application/octet-stream"
    kind, _, parameters = full.partition(";")
    kind = kind.strip()
    if kind not in _TEXTUAL:
        return "", payload, kind if kind.isprintable() and len(kind) < 100 else "application/octet-stream"
    charset = parameters.partition("charset=")[2].strip().strip('"') or "utf-8"
    try:
        content = payload.decode(charset, "replace")
    except (LookupError, ValueError):
        content = payload.decode("utf-8", "replace")
    content = content.replace("\r\n", "\n").strip()
    return (content, payload, kind) if content else FilterReason.NO_VALUE
