"""Whom a resource is about.

The patient key is made from, in this order:
  1. the Patient resource that the reference finds in the same message: its identifier of the type that the site
     prefers (MR first), else its server's URL and `Patient/id`;
  2. the reference's own logical `identifier`;
  3. a conditional reference's identifier (`Patient?identifier=system|value`);
  4. the literal reference: the server's URL (the site's name for a relative reference) and `Patient/id`.
A Patient resource that has both an id by which others can refer to it and an identifier joins the two keys with a
forwarding mark, so that results that say only `Patient/123` reach the record of the MRN, whichever comes first.
"""

from services.domain.events import Identifier
from services.domain.identity import key_of, patient_key, primary_identifier
from services.domain.reasons import FilterReason, Rejected, RejectReason
from services.domain.site import Site
from services.formats.fhir import datatypes
from services.formats.fhir.access import Object, items, obj, text
from services.formats.fhir.bundle import Entry, Message, conditional, target

_MISSING = "give Patient.identifier, or an id by which results refer to it"
_UNRESOLVED = "a urn: reference must be the fullUrl of an entry of the same Bundle; else refer by identifier"


class Subjects:
    """Resolves references to patient keys within one message."""

    def __init__(self, message: Message, site: Site) -> None:
        self.message = message
        self.site = site
        self._keys: dict[tuple[str, str], str] = {}  # (reference, server of the entry that holds it)

    def of_identifier(self, found: Identifier) -> str:
        """The key of an identifier."""
        return key_of(found, self.site)

    def of_logical_id(self, base: str, logical_id: str) -> str:
        """The key of `Patient/id` on a server; a relative reference is to the site's own server."""
        name = base.rstrip("/") or f"fhir:{self.site.name}"
        return patient_key(name, f"Patient/{logical_id}", self.site.secret)

    def of_patient(self, entry: Entry) -> str | Rejected:
        """The key of a Patient resource. Rejects MISSING_PATIENT."""
        numbers = self.identifiers(entry.resource)
        primary = primary_identifier(numbers, self.site.preferred_identifier_types)
        if primary is not None:
            return self.of_identifier(primary)
        found = target(entry.url)
        if found is not None and found.base:
            return self.of_logical_id(found.base, found.id)
        if entry.id:
            return self.of_logical_id("", entry.id)
        where = f"{entry.where}.identifier".lstrip(".")
        return Rejected(RejectReason.MISSING_PATIENT, where, _MISSING)

    def identifiers(self, patient: Object) -> list[Identifier]:
        """The patient's identifiers."""
        return datatypes.identifiers(patient.get("identifier"), self.site.default_authority)

    def aliases(self, entry: Entry, key: str) -> list[str]:
        """Keys under which a Patient's other resources may arrive: its logical id's, where that is a stable name.

        An entry that is POSTed, or is known by a urn: alone, gets its real id from the server only later.
        """
        if not entry.id or entry.method == "POST" or (entry.url.startswith("urn:") and entry.method != "PUT"):
            return []
        found = target(entry.url)
        base = found.base if found is not None else ""
        alias = self.of_logical_id(base, entry.id)
        return [alias] if alias != key else []

    def of_reference(self, reference: object, near: Entry, where: str) -> str | FilterReason | Rejected:
        """The patient key that a Reference means; NO_PATIENT_REFERENCE when it means none, a Group or a Device.

        Rejects UNRESOLVED_REFERENCE (a urn: that no entry has), MISSING_PATIENT.
        """
        value = obj(reference)
        literal = text(value.get("reference"))
        served = target(near.url)
        name = (literal, served.base if served is not None else "")
        known = self._keys.get(name) if literal and literal[0] != "#" else None
        if known is not None:
            return known
        found = self._literal(literal, near, where) if literal else FilterReason.NO_PATIENT_REFERENCE
        if isinstance(found, str) and not isinstance(found, FilterReason) and literal[0] != "#":
            self._keys[name] = found
            return found
        if literal and self._within(literal, near) is not None:
            return found
        logical = datatypes.identifier(obj(value.get("identifier")), self.site.default_authority)
        if logical is not None and text(value.get("type")) in ("", "Patient"):
            within = self.message.by_identifier("Patient", logical.authority, logical.value)
            return self.of_patient(within) if within else self.of_identifier(logical)
        if found is FilterReason.NO_PATIENT_REFERENCE and literal:
            return self._outside(literal, where)
        return found

    def _within(self, literal: str, near: Entry) -> Entry | None:
        if literal[0] == "#":
            held = (c for c in items(near.resource.get("contained")) if text(c.get("id")) == literal[1:])
            return next((Entry(c, "") for c in held), None)
        return self.message.find(literal, near)

    def _literal(self, literal: str, near: Entry, where: str) -> str | FilterReason | Rejected:
        """The key of a reference that the message itself answers."""
        entry = self._within(literal, near)
        if entry is None or entry.type != "Patient":
            return FilterReason.NO_PATIENT_REFERENCE
        key = self.of_patient(entry if literal[0] != "#" else entry._replace(resource={**entry.resource, "id": ""}))
        return Rejected(key.reason, f"{where}", key.hint) if isinstance(key, Rejected) else key

    def _outside(self, literal: str, where: str) -> str | FilterReason | Rejected:
        """The key of a reference to something that is not in the message."""
        query = conditional(literal)
        if query is not None:
            if query[0] != "Patient":
                return FilterReason.NO_PATIENT_REFERENCE
            within = self.message.by_identifier(*query)
            authority = query[1] or self.site.default_authority
            return self.of_patient(within) if within else self.of_identifier(Identifier(authority, query[2]))
        named = target(literal)
        if named is not None and named.type == "Patient":
            return self.of_logical_id(named.base, named.id)
        if named is not None:
            return FilterReason.NO_PATIENT_REFERENCE
        return Rejected(RejectReason.UNRESOLVED_REFERENCE, where, _UNRESOLVED)
