"""CE, CWE, CNE: coded values, their systems, and units (v2.8 chapter 2A.3.12; HL7 tables 0396 and 0834)."""

import re
from functools import lru_cache

from services.domain import codes
from services.domain.events import Code
from services.formats.hl7v2.er7 import NULL
from services.formats.hl7v2.mapping.context import Context, room

_TABLE = re.compile(r"HL7(?:0*)(\d{1,4})\Z")


@lru_cache(maxsize=4096)
def system_uri(name: str) -> str:
    """FHIR's URI of a coding system by its table 0396 name, HL7's own tables included; else the name itself."""
    table = _TABLE.match(name.upper())
    return f"http://terminology.hl7.org/CodeSystem/v2-{int(table[1]):04d}" if table else codes.system_uri(name)


def codings(ctx: Context, raw: str) -> list[Code]:
    """The codings of one CE/CWE repetition, the main one first: components 1-3, then 4-6 and 10-12.

    A coding without a code takes its text (component 2, or CWE's original text, 9) as its code.
    """
    message = ctx.message
    parts = message.components(raw)
    found = []
    for first in (0, 3, 9):
        code, display, system = (
            message.decoded(parts[n]) if n < len(parts) and parts[n] != NULL else "" for n in range(first, first + 3)
        )
        if code or display:
            found.append(Code(system_uri(system), code or display, display))
    if not found and len(parts) > 8 and parts[8] not in ("", NULL):
        text = message.decoded(parts[8])
        found.append(Code("", text, text))
    return [code for code in found if code.code]


def coding(ctx: Context, raw: str) -> Code | None:
    """The main coding of a CE/CWE, as sent."""
    found = codings(ctx, raw)
    return found[0] if found else None


def observed_code(ctx: Context, raw: str) -> tuple[Code, Code] | None:
    """(LOINC where known, as sent) for an OBX-3 or OBR-4; None when there is no code. Looked up once per site."""
    key = (raw, ctx.message.spelling)
    known = ctx.tables.codes.get(key)
    if known is None:
        found = codings(ctx, raw)
        if not found:
            return None
        code, sent = ctx.tables.loinc(found[0], found[1:]), found[0]
        same = (code.system, code.code) == (sent.system, sent.code)
        known = (code, code if same else sent)
        room(ctx.tables.codes)[key] = known
    return known


def unit(ctx: Context, raw: str) -> str:
    """Unit text of an OBX-6: its code, else its text. `\"\"` is none."""
    if not raw or raw == NULL:
        return ""
    key = (raw, ctx.message.spelling)
    known = ctx.tables.units.get(key)
    if known is None:
        known = ctx.message.part(raw, 1) or ctx.message.part(raw, 2)
        if ctx.message.delimiters.subcomponent in known:  # an unescaped '&' inside: take it as it stands
            known = known.strip()
        room(ctx.tables.units)[key] = known
    return known


def text_of(code: Code) -> str:
    """What a coded value says: its display, else its code."""
    return code.display or code.code
