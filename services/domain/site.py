"""What differs from hospital to hospital and that the pure code needs to know."""

from datetime import timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import msgspec

from services.domain.identity import PREFERRED_TYPES


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """A site's conventions. `secret` keys the pseudonyms and is never printed."""

    secret: bytes
    name: str = "default"
    time_zone: str = "UTC"  # for HL7 times without an offset; IANA name or +hh:mm
    default_charset: str = "utf-8"  # when MSH-18 is empty
    preferred_identifier_types: tuple[str, ...] = PREFERRED_TYPES
    default_authority: str = ""  # of identifiers that name none; where this is empty, HL7's is the sending facility
    authority_aliases: dict[str, str] = {}  # assigning authority as sent -> the one it stands for
    refuse_test_messages: bool = False  # MSH-11 other than P
    check_structure: bool = False  # hold HL7 v2 messages to their version's structure (hl7apy, about 20 ms each)
    check_fhir: bool = False  # hold FHIR resources to the R4 models (fhir.resources, about 0.3 ms each)
    max_future: timedelta = timedelta(days=1)
    unit_aliases: dict[str, str] = {}  # the site's own, before the built-in table
    code_aliases: dict[str, str] = {}  # "system|code" or "code" -> LOINC, before the built-in table

    def __repr__(self) -> str:
        return f"Site({self.name!r})"

    @property
    def zone(self) -> tzinfo:
        """The zone object; raises ValueError with the setting's name when it is not one."""
        return _zone(self.time_zone)


def _zone(name: str) -> tzinfo:
    if name[:1] in "+-":
        sign = -1 if name[0] == "-" else 1
        hours, _, minutes = name[1:].partition(":")
        return timezone(sign * timedelta(hours=int(hours), minutes=int(minutes or 0)))
    try:
        return ZoneInfo(name)
    except Exception as error:
        raise ValueError(f"time_zone {name!r} is no IANA zone and no +hh:mm offset") from error
