"""A message's resources and the references between them (R4 sections 2.36.4 and 2.3.0)."""

from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import parse_qs

from services.formats.fhir.access import Object, items, numbered, obj, text

BUNDLE_TYPES = frozenset(
    {
        *("document", "message", "transaction", "transaction-response", "batch", "batch-response"),
        *("history", "searchset", "collection", "subscription-notification"),
    }
)


MAX_DEPTH = 5
"""Bundles within Bundles, panels within panels: people build two or three."""

_LISTS = {"DiagnosticReport": "result", "Observation": "hasMember"}


class Entry(NamedTuple):
    """One resource of a message: where it stands (`entry[7]`, '' for a message of one), its URL and its request."""

    resource: Object
    where: str
    url: str = ""
    method: str = ""

    @property
    def type(self) -> str:
        return text(self.resource.get("resourceType"))

    @property
    def id(self) -> str:
        return text(self.resource.get("id"))


class Message:
    """The entries of one message, and what in it answers to a reference.

    Of a Bundle within a Bundle `where` is its place, and `depth` how deep it lies.
    """

    def __init__(self, root: Object, where: str = "", depth: int = 0) -> None:
        self.root = root
        self.depth = depth
        self.is_bundle = root.get("resourceType") == "Bundle"
        self.entries: list[Entry] = list(_entries(root, where)) if self.is_bundle else [Entry(root, "")]
        self._by_url: dict[str, Entry] = {}
        self._by_identifier: dict[tuple[str, str, str], Entry] = {}
        self._lists: dict[str, Entry] = {}  # URL or Type/id of a result -> the report or panel that lists it
        for entry in self.entries:
            self._index(entry)

    def _index(self, entry: Entry) -> None:
        if entry.url:
            self._by_url.setdefault(entry.url, entry)
        if entry.id:
            self._by_url.setdefault(f"{entry.type}/{entry.id}", entry)
            self._by_url.setdefault(f"urn:uuid:{entry.id}", entry)
        for result in items(entry.resource.get(_LISTS.get(entry.type, ""))):
            self._lists.setdefault(text(result.get("reference")), entry)
        if entry.type == "Patient":
            for found in items(entry.resource.get("identifier")):
                name = (entry.type, text(found.get("system")), text(found.get("value")))
                self._by_identifier.setdefault(name, entry)

    def find(self, reference: str, near: Entry) -> Entry | None:
        """The entry that a literal reference in `near` means (R4 section 2.36.4.1); versions are ignored.

        By fullUrl; a relative one within the server of `near`, else by Type/id, as senders of urn: fullUrls do. An
        absolute one is never another server's namesake: by Type/id it finds only an entry without a fullUrl.
        """
        plain = reference.partition("/_history/")[0]
        if "://" not in plain:
            served = target(near.url)
            own = self._by_url.get(f"{served.base}/{plain}") if served is not None and served.base else None
            return own or self._by_url.get(plain)
        entry = self._by_url.get(plain)
        if entry is None:
            tail = self._by_url.get("/".join(plain.rsplit("/", 2)[-2:]))
            entry = tail if tail is not None and not tail.url else None
        return entry

    def lists_of(self, entry: Entry) -> Iterator[Entry]:
        """What of this message lists the entry as a result, inmost first: panels (hasMember), a DiagnosticReport."""
        for _ in range(MAX_DEPTH):
            names = (entry.url, f"{entry.type}/{entry.id}" if entry.id else "")
            found = next((self._lists[name] for name in names if name and name in self._lists), None)
            if found is None:
                return
            yield found
            entry = found

    def nested(self) -> Iterator["Message"]:
        """This message and the Bundles among its entries, each of which answers to its own references."""
        yield self
        for entry in self.entries if self.depth < MAX_DEPTH else []:
            if entry.type == "Bundle":
                yield from Message(entry.resource, entry.where, self.depth + 1).nested()

    def by_identifier(self, kind: str, system: str, value: str) -> Entry | None:
        """The entry of a type that carries an identifier."""
        return self._by_identifier.get((kind, system, value))


def _entries(bundle: Object, where: str) -> Iterator[Entry]:
    for position, entry in numbered(bundle.get("entry")):
        request = obj(entry.get("request"))
        yield Entry(
            obj(entry.get("resource")),
            f"{where}.entry[{position}]".lstrip("."),
            text(entry.get("fullUrl")),
            text(request.get("method")).upper(),
        )


class Target(NamedTuple):
    """What a literal reference names outside the message."""

    base: str  # URL of the server, '' for a relative reference
    type: str
    id: str


def target(reference: str) -> Target | None:
    """`[base/]Type/id[/_history/v]`; None for anything else (urn:, fragments, conditional)."""
    parts = reference.partition("/_history/")[0].rsplit("/", 2)
    if len(parts) < 2 or not parts[-1] or "?" in reference or reference.startswith(("urn:", "#")):
        return None
    kind = parts[-2]
    if not kind[:1].isupper() or not kind.isalpha():
        return None
    return Target(parts[0] if len(parts) == 3 else "", kind, parts[-1])


def conditional(reference: str) -> tuple[str, str, str] | None:
    """(Type, system, value) of a conditional reference by identifier, `Patient?identifier=system|value`."""
    head, mark, query = reference.partition("?")
    if not mark:
        return None
    try:
        values = parse_qs(query, max_num_fields=16).get("identifier", [])
    except ValueError:
        return None
    if not values:
        return None
    system, bar, value = values[0].rpartition("|")
    return (head.rsplit("/", 1)[-1], system if bar else "", value) if value else None
