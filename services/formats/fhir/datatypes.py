"""FHIR datatypes to the domain's: Identifier, CodeableConcept, Coding (R4 section 2.24)."""

from services.domain import codes
from services.domain.events import Code, Identifier
from services.formats.fhir.access import Object, first, items, obj, text

_TYPE_SYSTEM = "v2-0203"
_DATA_ABSENT = "http://terminology.hl7.org/CodeSystem/data-absent-reason"


def identifier(value: Object, default_authority: str = "") -> Identifier | None:
    """An Identifier: `system`, else the assigner, is the authority; the type is its HL7 table 0203 code."""
    number = text(value.get("value"))
    if not number:
        return None
    assigner = obj(value.get("assigner"))
    authority = (
        text(value.get("system"))
        or text(obj(assigner.get("identifier")).get("value"))
        or text(assigner.get("display"))
        or default_authority
    )
    return Identifier(authority, number, _identifier_type(obj(value.get("type"))))


def _identifier_type(kind: Object) -> str:
    codings = items(kind.get("coding"))
    for coding in codings:
        if text(coding.get("system")).endswith(_TYPE_SYSTEM):
            return text(coding.get("code"))
    return text(codings[0].get("code")) if codings else ""


def identifiers(value: object, default_authority: str = "") -> list[Identifier]:
    """All identifiers still in use, without repeats, in order. Identifiers of use `old` are history."""
    found = (identifier(i, default_authority) for i in items(value) if text(i.get("use")) != "old")
    return list(dict.fromkeys(i for i in found if i is not None))


def coding(value: Object) -> Code | None:
    """A Coding; None without a code."""
    code = text(value.get("code"))
    return Code(codes.system_uri(text(value.get("system"))), code, text(value.get("display"))) if code else None


def codings(concept: object) -> list[Code]:
    """The codings of a CodeableConcept, the user's choice first; its text alone is a code without a system."""
    value = obj(concept)
    listed = items(value.get("coding"))
    listed.sort(key=lambda c: c.get("userSelected") is not True)
    found = [code for code in map(coding, listed) if code is not None and code.system != _DATA_ABSENT]
    said = text(value.get("text"))
    if not found and said and not listed:
        return [Code("", said, said)]
    return found


def concept(value: object) -> Code | None:
    """The main code of a CodeableConcept (or of the first of several)."""
    found = codings(value if isinstance(value, dict) else first(value))
    return found[0] if found else None


def concept_text(value: object) -> str:
    """What a CodeableConcept says: its text, else its main coding's display, else the code."""
    said = text(obj(value).get("text"))
    if said:
        return said
    code = concept(value)
    return (code.display or code.code) if code else ""
