"""What every mapping needs while it reads one message: the site's tables, times, identities, what fell away."""

from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from msgspec import UnsetType

from services.domain import codes, identity, units
from services.domain.events import Code, Identifier, Rank, Version
from services.domain.reasons import FilterReason, Rejected, RejectReason
from services.domain.site import Site
from services.formats.attachments import Attachment
from services.formats.hl7v2 import times
from services.formats.hl7v2.er7 import NULL, Message, Segment
from services.formats.hl7v2.header import Header

_CACHE_LIMIT = 20_000
"""Entries in each of a site's lookup tables. A hospital has some thousand codes; a full table is begun anew."""


Place = str | None | UnsetType


class SiteTables:
    """One site's lookups, kept between messages."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.zone: tzinfo = site.zone
        self.codes: dict[tuple[str, str], tuple[Code, Code]] = {}
        self.units: dict[tuple[str, str], str] = {}
        self.identifiers: dict[tuple[str, str, str], Identifier] = {}
        self.places: dict[tuple[str, str], tuple[Place, Place, Place, Place]] = {}
        self.keys: dict[tuple[str, str], str] = {}

    def patient_key(self, authority: str, value: str) -> str:
        """The pseudonymous key of an identifier."""
        key = self.keys.get((authority, value))
        if key is None:
            key = identity.key_of(Identifier(authority, value), self.site)
            room(self.keys)[authority, value] = key
        return key

    def loinc(self, code: Code, alternatives: Sequence[Code]) -> Code:
        """LOINC for a code where an alias table knows it, else the code."""
        return codes.to_loinc(code, alternatives, self.site)

    def canonical(self, loinc: str, value: float, unit: str) -> "units.Quantity | FilterReason":
        """The value in the code's canonical unit, or why not."""
        return units.canonical(loinc, value, unit, self.site)


def room(table: dict[Any, Any]) -> dict[Any, Any]:
    """The table, emptied first when it is full."""
    if len(table) >= _CACHE_LIMIT:
        table.clear()
    return table


_tables: dict[int, SiteTables] = {}


def tables(site: Site) -> SiteTables:
    """The tables of a site; those of the last few sites are kept."""
    known = _tables.get(id(site))
    if known is not None and known.site is site:
        return known
    if len(_tables) >= 16:
        _tables.clear()
    made = _tables[id(site)] = SiteTables(site)
    return made


class Context:
    """One message on its way to facts."""

    __slots__ = (
        "_names",
        "attachments",
        "authority",
        "filtered",
        "head",
        "issued",
        "latest_ms",
        "message",
        "sent",
        "sequence",
        "site",
        "tables",
        "zone",
    )

    def __init__(self, message: Message, head: Header, site_tables: SiteTables, sent: datetime, latest_ms: int) -> None:
        self.message = message
        self.head = head
        self.tables = site_tables
        self.site = site_tables.site
        self.sent = sent
        self.issued = times.epoch_ms(sent)
        self.sequence = _sequence(head.sequence)
        self.zone: tzinfo = times.own_offset(head.sent) or site_tables.zone
        self.latest_ms = latest_ms
        source = f"{head.sending_application}|{head.sending_facility}\x1f"
        self._names = blake2b(source.encode(), digest_size=8)
        self.authority = self.site.default_authority or head.sending_facility
        self.filtered: dict[tuple[FilterReason, str], None] = {}
        self.attachments: dict[str, Attachment] = {}  # by reference

    def drop(self, reason: FilterReason, where: str) -> None:
        """Set a part aside."""
        self.filtered[reason, where] = None

    def version(self, *content: str, rank: int = Rank.FINAL, issued: int | None = None) -> Version:
        """A fact's version. Where it was issued before it was sent, the delay breaks ties between two sendings."""
        content_digest = blake2b("\x1f".join(content).encode(), digest_size=4).hexdigest()
        if issued is None or issued == self.issued:
            return Version(rank, self.issued, self.sequence, content_digest)
        return Version(rank, issued, self.sequence or max(0, self.issued - issued), content_digest)

    def id(self, *parts: str) -> str:
        """A fact's identity within what this source sends: `digest(source, *parts, size=8)`."""
        name = self._names.copy()
        name.update("\x1f".join(parts).encode())
        return name.hexdigest()

    def time(self, segment: Segment, field: int, where: str, component: int = 1) -> datetime | None:
        """A moment from a field's first repetition. None when it is empty, or bad or future, which is set aside."""
        found = self.instant(segment, field, where, component)
        return found[0] if found else None

    def instant(self, segment: Segment, field: int, where: str, component: int = 1) -> tuple[datetime, int] | None:
        """`time`, with the moment's epoch milliseconds."""
        raw = segment[field] if field < len(segment) else ""
        if not raw:
            return None
        text = raw if raw.isdigit() else self.message.value(segment, field, component)
        if not text:
            return None
        found = times.instant(text, self.zone)
        if found is None:
            self.drop(FilterReason.BAD_ITEM_TIMESTAMP, f"{where}-{field}")
        elif found[1] > self.latest_ms:
            self.drop(FilterReason.FUTURE_ITEM_TIMESTAMP, f"{where}-{field}")
            return None
        return found

    def entity(self, segment: Segment, field: int) -> str:
        """An entity identifier (EI) as one text: its own value and its namespace; '' when empty."""
        raw = segment[field] if field < len(segment) else ""
        if not raw or raw == NULL:
            return ""
        if raw.isalnum():
            return raw
        value = self.message.value
        number = value(segment, field, 1)
        namespace = value(segment, field, 2) or value(segment, field, 3)
        return f"{number}|{namespace}" if number and namespace else number


@lru_cache(maxsize=1024)
def _sequence(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 15 else 0


_FALLBACKS = (("EVN", 2), ("EVN", 6), ("OBR", 22), ("ORC", 9), ("OBR", 7), ("TXA", 4), ("PV1", 44))
"""Where the message's time is looked for, in order, when MSH-7 is empty (it was optional before v2.5)."""


def sent_at(message: Message, head: Header, zone: tzinfo, received_ms: int, future: timedelta) -> datetime | Rejected:
    """When the message was sent. Rejects BAD_TIMESTAMP, and FUTURE_TIMESTAMP beyond the site's tolerance."""
    where, text = "MSH-7", head.sent
    if not text:
        for name, field in _FALLBACKS:
            segment = message.first(name)
            text = message.value(segment, field) if segment else ""
            if text:
                where = f"{name}-{field}"
                break
    moment = times.parse(text, times.own_offset(head.sent) or zone)
    if moment is None:
        return Rejected(RejectReason.BAD_TIMESTAMP, where, "YYYYMMDDHHMMSS[.S][+/-ZZZZ]")
    if times.epoch_ms(moment) > received_ms + future // timedelta(milliseconds=1):
        return Rejected(RejectReason.FUTURE_TIMESTAMP, where, "the sender's clock or time zone is ahead")
    return moment
