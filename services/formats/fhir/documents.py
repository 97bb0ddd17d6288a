"""DiagnosticReport, DocumentReference, Composition: notes, reports, attachments (R4 sections 10.2, 2.42 and 2.43)."""

import base64
import binascii
from collections.abc import Iterator
from datetime import datetime
from hashlib import sha256

from services.domain.events import AnyFact, Code, Document, Rank, digest
from services.domain.reasons import FilterReason, replaces
from services.formats.attachments import Form, form
from services.formats.fhir import datatypes
from services.formats.fhir.access import Object, first, items, numbered, obj, text
from services.formats.fhir.bundle import Entry
from services.formats.fhir.context import Item, identity
from services.formats.fhir.observation import RANKS, observations
from services.formats.texts import html_text

_EMPTY = Form("text/plain", "", None)

_DOC_STATUS = {"preliminary": Rank.PRELIMINARY, "final": Rank.FINAL, "amended": Rank.AMENDED}


def report(item: Item) -> list[AnyFact]:
    """A report's attached forms, or else its conclusion (in words or codes), as documents; and results within itself.

    A report of results alone says nothing that its results do not: NO_CLINICAL_CONTENT.
    """
    resource = item.resource
    rank = RANKS.get(text(resource.get("status")), Rank.UNKNOWN)
    facts: list[AnyFact] = list(_contained_results(item))
    forms = list(numbered(resource.get("presentedForm")))
    codes = (datatypes.concept_text(code) for code in items(resource.get("conclusionCode")))
    conclusion = text(resource.get("conclusion")) or "\n".join(filter(None, codes))
    if forms or conclusion or rank >= Rank.AMENDED:
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


def media(item: Item) -> list[AnyFact]:
    """A photograph, video or sound recording of the patient (R4 section 10.9)."""
    status = text(item.resource.get("status"))
    withdrawn = {"entered-in-error": Rank.ENTERED_IN_ERROR, "not-done": Rank.CANCELLED, "aborted": Rank.CANCELLED}
    forms = [(0, obj(item.resource.get("content")))]
    return _documents(item, forms, "content", withdrawn.get(status, Rank.FINAL), "")


def composition(item: Item) -> list[AnyFact]:
    """The narrative of a Composition's sections (R4 section 2.43) as one note.

    One whose sections only list their entries says nothing that these do not: NO_CLINICAL_CONTENT.
    """
    rank = RANKS.get(text(item.resource.get("status")), Rank.UNKNOWN)
    narrative = "" if rank.retracted else "\n\n".join(_narrative(items(item.resource.get("section"))))
    if not narrative and rank < Rank.AMENDED:
        item.drop(FilterReason.NO_CLINICAL_CONTENT)
        return []
    facts = _documents(item, [], "section", rank, narrative)
    return facts + _replaced(item, facts[0]) if facts else []


MAX_DEPTH = 8
"""Sections within sections that are read; people write three."""


def _narrative(sections: list[Object], depth: int = 0) -> Iterator[str]:
    """Each section's title and text, in reading order."""
    for section in sections if depth < MAX_DEPTH else []:
        said = html_text(text(obj(section.get("text")).get("div")).encode())
        if said:
            yield "\n".join(filter(None, (text(section.get("title")), said)))
        yield from _narrative(items(section.get("section")), depth + 1)


def _replaced(item: Item, by: AnyFact) -> list[AnyFact]:
    assert isinstance(by, Document)
    found: list[AnyFact] = []
    for relation in items(item.resource.get("relatesTo")):
        if text(relation.get("code")) != "replaces":
            continue
        literal = text(obj(relation.get("target") or relation.get("targetReference")).get("reference"))
        entry = item.ctx.message.find(literal, item.entry)
        named = identity(entry) if entry is not None else tuple(literal.rsplit("/", 2)[-2:])
        if len(named) > 1:
            old = digest("fhir", "document", *named, size=8)
            version = item.version(Rank.CANCELLED)
            found.append(Document(id=old, version=version, time=by.time, title=by.title, code=by.code))
    return found


def _documents(item: Item, forms: list[tuple[int, Object]], element: str, rank: Rank, conclusion: str) -> list[AnyFact]:
    """The forms, else the conclusion. What cannot be read, and the content that a correction takes away, is a document
    without content: it takes the place of what was sent before."""
    resource = item.resource
    own, issued = _when(item), item.moment(resource.get("issued"), "issued")
    at = own or issued or item.about_when()
    if at is None:
        item.drop(FilterReason.NO_TIME)
        return []
    sent = next(filter(None, (datatypes.codings(resource.get(name)) for name in ("type", "code", "modality"))), None)
    code = sent[0] if sent else None
    encounter = item.encounter(resource.get("encounter") or obj(resource.get("context")).get("encounter"))
    found: list[AnyFact] = []

    def add(n: int, read: Form | None) -> None:
        one = read or _EMPTY
        body = one.text.encode() or (one.attachment.data if one.attachment else b"")
        found.append(
            Document(
                id=_id(item, n),
                part_of=_id(item, 0) if n else "",
                version=item.version(rank, issued),
                time=at,
                title=_title(code),
                code=code,
                text=one.text,
                text_sha256=sha256(body).hexdigest() if body else "",
                encounter=encounter,
                encapsulated=one.reference,
                content_type=one.content_type,
                time_assumed=own is None,
                unusable=read is None,
            )
        )

    for n, one in _forms(item, forms, element, rank):
        add(n, one)
    if not found and (conclusion or rank.retracted):
        add(0, Form("text/plain", conclusion, None))
    if not found and not forms:
        item.drop(FilterReason.NO_VALUE, element)
    if not found and rank >= Rank.AMENDED:
        add(0, None)
    return found


def _forms(item: Item, forms: list[tuple[int, Object]], element: str, rank: Rank) -> Iterator[tuple[int, Form | None]]:
    """The document's forms with their positions, None where one cannot be read; nothing of what a withdrawn one said.

    They say the same (R4 sections 10.2.4, 2.42.4), so the first that has text speaks for all: a note counts once.
    """
    said = False
    for n, attachment in forms:
        one = _EMPTY if rank.retracted else _form(item, attachment)
        if isinstance(one, FilterReason):
            item.drop(one, f"{element}[{n}]")
            if replaces(one, rank):
                yield n, None
            continue
        if said:
            one = Form(one.content_type, "", one.attachment)
            if one.attachment is None:
                continue
        said = said or bool(one.text)
        if one.attachment is not None:
            item.ctx.attachments[one.reference] = one.attachment
        yield n, one


def _when(item: Item) -> datetime | None:
    """When the document was written, else when what it is about ended; None where nobody says."""
    get = item.resource.get
    context = obj(get("context"))
    return (
        item.moment(get("date"), "date")
        or item.choice("effective", end=True)
        or item.choice("created")
        or item.moment(obj(first(get("content")).get("attachment")).get("creation"), "content[0].attachment.creation")
        or item.moment(obj(context.get("period")).get("end"), "context.period.end")
    )


def _id(item: Item, n: int) -> str:
    code = datatypes.concept(item.resource.get("type")) or datatypes.concept(item.resource.get("code")) or Code("", "")
    whole = item.id("document", code.system, code.code, text(item.resource.get("date")), item.content)
    return whole if n == 0 else digest(whole, str(n), size=8)


def _title(code: Code | None) -> str:
    """The type's name; what people typed as a description may hold anything."""
    return (code.display or (code.code if code.system else "")) if code else ""


def _form(item: Item, attachment: Object) -> Form | FilterReason:
    """An Attachment's payload, or that of the Binary of this message to which its `url` leads.

    CONTENT_ELSEWHERE when the data lie elsewhere, NO_VALUE when there are none, UNSUPPORTED_VALUE_TYPE when they are
    not base64.
    """
    data, kind, url = text(attachment.get("data")), text(attachment.get("contentType")), text(attachment.get("url"))
    if not data and url:
        binary = _binary(item, url)
        data, kind = text(binary.get("data")), kind or text(binary.get("contentType"))
    if not data:
        return FilterReason.CONTENT_ELSEWHERE if url else FilterReason.NO_VALUE
    try:
        payload = base64.b64decode("".join(data.split()), validate=True)
    except (ValueError, binascii.Error):
        return FilterReason.UNSUPPORTED_VALUE_TYPE
    found = form(payload, kind, kind.lower().partition("charset=")[2].partition(";")[0])
    return found if found.text or (found.attachment and payload) else FilterReason.NO_VALUE


def _binary(item: Item, url: str) -> Object:
    """The Binary that a URL means within the resource or its message; an empty object when it is not there."""
    if url[0] == "#":
        held = (one for one in items(item.resource.get("contained")) if text(one.get("id")) == url[1:])
        return next(held, {})
    entry = item.ctx.message.find(url, item.entry)
    return entry.resource if entry is not None and entry.type == "Binary" else {}
