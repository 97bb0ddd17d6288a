"""FHIR date, dateTime and instant (R4 section 2.24.0.1), every precision."""

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

_DATE_TIME = re.compile(
    r"(?P<year>\d{4})(?:-(?P<month>\d{2})(?:-(?P<day>\d{2})(?:[Tt ](?P<hour>\d{2}):(?P<minute>\d{2})"
    r"(?::(?P<second>\d{2})(?:\.(?P<fraction>\d{1,9}))?)?\s?(?P<zone>[Zz]|[+-]\d{2}:?\d{2})?)?)?)?\Z",
    re.ASCII,
)
_DATE = re.compile(r"\d{4}(-\d{2}(-\d{2})?)?\Z", re.ASCII)
EARLIEST = datetime(1850, 1, 1, tzinfo=UTC)
"""Nobody who is observed now was then: an earlier time is a placeholder (0001-01-01)."""


@lru_cache(maxsize=65536)
def parse(text: str, zone: tzinfo) -> datetime | None:
    """The moment a FHIR dateTime means, with its own offset, else `zone`'s; None where it is none.

    A partial date means its beginning. FHIR asks for an offset with every time; senders leave it out all the same.
    """
    match = _DATE_TIME.match(text)
    if match is None:
        return None
    second = int(match["second"] or 0)
    try:
        moment = datetime(
            int(match["year"]),
            int(match["month"] or 1),
            int(match["day"] or 1),
            int(match["hour"] or 0),
            int(match["minute"] or 0),
            min(second, 59) if second == 60 else second,
            int((match["fraction"] or "")[:6].ljust(6, "0")),
            tzinfo=_offset(match["zone"]) or zone,
        )
        moment = _fixed(moment)
    except (ValueError, OverflowError):
        return None
    return moment if moment >= EARLIEST else None


def _offset(text: str | None) -> tzinfo | None:
    """Fixed zone of `Z` or `+hh:mm`; None for none. Raises ValueError beyond the 14 hours that FHIR allows."""
    if not text:
        return None
    if text in "Zz":
        return UTC
    hours, minutes = int(text[1:3]), int(text[-2:])
    if hours > 14 or minutes > 59:
        raise ValueError("offset")
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(-offset if text[0] == "-" else offset)


def _fixed(moment: datetime) -> datetime:
    """A moment in a named zone, with the offset that its clocks showed."""
    if not isinstance(moment.tzinfo, ZoneInfo):
        return moment
    real = moment.astimezone(UTC).astimezone(moment.tzinfo)
    shown = real.utcoffset() or timedelta()
    # Local mean times before standard time have seconds, which RFC 3339 cannot write.
    return real.astimezone(timezone(timedelta(minutes=round(shown.total_seconds() / 60))) if shown else UTC)


def date_text(text: str) -> str | None:
    """A FHIR date (YYYY, YYYY-MM or YYYY-MM-DD) as it stands when it is a real one, else None."""
    day = text[:10]
    return day if _DATE.match(day) and parse(day, UTC) is not None else None


def epoch_ms(moment: datetime) -> int:
    """Epoch milliseconds."""
    return round(moment.timestamp() * 1000)
