"""What every mapping needs while it reads one resource: site, times, identities, versions, what fell away."""

from datetime import datetime, timedelta, tzinfo
from typing import Any

import orjson

from services.domain.events import Rank, Version, digest
from services.domain.reasons import FilterReason
from services.domain.site import Site
from services.formats.attachments import Attachment
from services.formats.fhir import datatypes, times
from services.formats.fhir.access import Object, first, obj, text
from services.formats.fhir.bundle import Entry, Message, target
from services.formats.fhir.subject import Subjects

Found = dict[tuple[FilterReason, str], None]
"""What was set aside, in order: (reason, place)."""


class Context:
    """One message on its way to facts."""

    def __init__(self, message: Message, site: Site, received_ms: int) -> None:
        self.message = message
        self.site = site
        self.zone: tzinfo = site.zone
        self.latest_ms = received_ms + site.max_future // timedelta(milliseconds=1)
        self.subjects = Subjects(message, site)
        self.attachments: dict[str, Attachment] = {}  # by reference


class Item:
    """One resource."""

    __slots__ = ("_content", "ctx", "entry", "filtered", "issued", "newest", "resource", "sequence", "type")

    def __init__(self, ctx: Context, entry: Entry) -> None:
        self.ctx = ctx
        self.entry = entry
        self.resource: Object = entry.resource
        self.type = entry.type
        self.filtered: Found = {}
        self.newest: datetime | None = None
        self._content = ""
        meta = obj(self.resource.get("meta"))
        version_id = text(meta.get("versionId"))
        self.sequence = int(version_id) if version_id.isascii() and version_id.isdigit() and len(version_id) < 16 else 0
        updated = times.parse(text(meta.get("lastUpdated")), ctx.zone)
        self.issued = times.epoch_ms(updated) if updated else 0

    def place(self, path: str) -> str:
        """Where an element stands in the message."""
        return f"{self.entry.where}.{path}" if self.entry.where and path else self.entry.where or path

    def drop(self, reason: FilterReason, path: str = "") -> None:
        """Set a part aside."""
        self.filtered[reason, self.place(path)] = None

    def moment(self, value: Any, path: str, *, future: bool = False) -> datetime | None:
        """A moment from a dateTime; None when it is absent, or bad or future, which is set aside."""
        said = text(value)
        if not said:
            return None
        moment = times.parse(said, self.ctx.zone)
        if moment is None:
            self.drop(FilterReason.BAD_ITEM_TIMESTAMP, path)
            return None
        if times.epoch_ms(moment) > self.ctx.latest_ms:
            if not future:
                self.drop(FilterReason.FUTURE_ITEM_TIMESTAMP, path)
                return None
        elif self.newest is None or moment > self.newest:
            self.newest = moment
        return moment

    def choice(self, name: str, *, end: bool = False) -> datetime | None:
        """The moment of a choice element (`effective` -> effectiveDateTime, -Instant, -Period, -Timing).

        Of a period its start, or with `end` its end where there is one: a result over time is known at its end.
        """
        get = self.resource.get
        for kind in ("DateTime", "Instant"):
            if get(name + kind):
                return self.moment(get(name + kind), name + kind)
        period = obj(get(name + "Period"))
        for side in ("end", "start") if end else ("start", "end"):
            if period.get(side):
                return self.moment(period[side], f"{name}Period.{side}")
        events = obj(get(name + "Timing")).get("event")
        if isinstance(events, list) and events:
            return self.moment(events[-1], f"{name}Timing.event")
        return None

    def about_when(self) -> datetime | None:
        """For what says no time of its own and is no measurement: the visit's beginning, else when it was recorded."""
        reference = obj(self.resource.get("encounter") or self.resource.get("context"))
        entry = self.ctx.message.find(text(reference.get("reference")), self.entry)
        if entry is not None and entry.type == "Encounter":
            start = times.parse(text(obj(entry.resource.get("period")).get("start")), self.ctx.zone)
            if start is not None and times.epoch_ms(start) <= self.ctx.latest_ms:
                return start
        return self.told()

    def told(self) -> datetime | None:
        """When it was recorded: meta.lastUpdated, else the Bundle's timestamp."""
        meta = obj(self.resource.get("meta"))
        return self.moment(meta.get("lastUpdated"), "meta.lastUpdated") or self.moment(
            self.ctx.message.root.get("timestamp"), "timestamp"
        )

    def version(self, rank: int = Rank.FINAL, issued: datetime | None = None) -> Version:
        """A fact's version: status, then the later of `issued` and meta.lastUpdated, then meta.versionId."""
        at = max(self.issued, times.epoch_ms(issued) if issued else 0)
        return Version(rank, at, self.sequence, self.content)

    @property
    def content(self) -> str:
        """Short hash of the resource."""
        if not self._content:
            try:
                whole = orjson.dumps(self.resource, option=orjson.OPT_SORT_KEYS)
            except orjson.JSONEncodeError:  # nested deeper than orjson writes; FHIR never is
                whole = b""
            self._content = digest(whole.decode(), size=4)
        return self._content

    def id(self, kind: str, *instead: str) -> str:
        """A fact's identity: the resource's id, else its first identifier, else what the mapping gives instead."""
        return digest("fhir", kind, *(identity(self.entry) or instead), size=8)

    def encounter(self, reference: object) -> str:
        """The Encounter.id that a reference means; '' when there is none."""
        value = obj(reference) if isinstance(reference, dict) else first(reference)
        literal = text(value.get("reference"))
        entry = self.ctx.message.find(literal, self.entry) if literal else None
        if entry is not None and entry.type == "Encounter":
            return encounter_id(entry)
        named = target(literal) if literal else None
        if named is not None and named.type == "Encounter":
            return digest("fhir", "encounter", "Encounter", named.id, size=8)
        number = datatypes.identifier(obj(value.get("identifier")))
        return digest("encounter", number.authority.casefold(), number.value, size=8) if number else ""


def identity(entry: Entry) -> tuple[str, ...]:
    """The name of a resource that stays the same over its versions; empty when it has none."""
    if entry.id:
        return entry.type, entry.id
    named = target(entry.url)
    if named is not None:
        return entry.type, named.id
    number = datatypes.identifier(first(entry.resource.get("identifier")))
    return (entry.type, number.authority, number.value) if number else ()


def encounter_id(entry: Entry) -> str:
    """Encounter.id of an Encounter resource: by its id, else as HL7 v2 names a visit (authority and number)."""
    if not entry.id and target(entry.url) is None:
        number = datatypes.identifier(first(entry.resource.get("identifier")))
        if number is not None:
            return digest("encounter", number.authority.casefold(), number.value, size=8)
    return digest("fhir", "encounter", *(identity(entry) or (entry.url,)), size=8)
