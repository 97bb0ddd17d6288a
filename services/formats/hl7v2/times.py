"""HL7 date/time values: DTM, TS, DT (v2.8 chapter 2A.3.21-22), every precision, with and without an offset."""

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

_DTM = re.compile(
    r"(?P<year>\d{4})(?:(?P<month>\d{2})(?:(?P<day>\d{2})(?:(?P<hour>\d{2})(?:(?P<minute>\d{2})"
    r"(?:(?P<second>\d{2})(?:\.(?P<fraction>\d{1,9}))?)?)?)?)?)?\s*(?P<offset>[+-]\d{4})?\Z",
    re.ASCII,
)


@lru_cache(maxsize=16384)
def parse(text: str, zone: tzinfo) -> datetime | None:
    """The moment that a DTM means, with its own offset, else `zone`'s; None where it is not a DTM.

    A coarser precision means its beginning (2020 is 1 January 2020, 00:00). The result carries a fixed offset, to
    the microsecond. Where clocks go back, a local time that happens twice means the first; where they go
    forward, a time that does not happen is moved by the gap (02:30 is 03:30). So the same text always gives the
    same moment. Second 60 (a leap second) is the next minute's first.
    """
    match = _DTM.match(text.strip())
    if match is None:
        return None
    fraction = (match["fraction"] or "")[:6].ljust(6, "0")
    second = int(match["second"] or 0)
    try:
        moment = datetime(
            int(match["year"]),
            int(match["month"] or 1),
            int(match["day"] or 1),
            int(match["hour"] or 0),
            int(match["minute"] or 0),
            min(second, 59) if second <= 60 else second,
            int(fraction),
        )
        if second == 60:
            moment = moment.replace(microsecond=0) + timedelta(seconds=1)
        own = offset(match["offset"])
        return moment.replace(tzinfo=own) if own else _local(moment, zone)
    except (ValueError, OverflowError):
        return None


@lru_cache(maxsize=65536)
def instant(text: str, zone: tzinfo) -> tuple[datetime, int] | None:
    """`parse`, and the moment's epoch milliseconds."""
    moment = parse(text, zone)
    return None if moment is None else (moment, epoch_ms(moment))


def _local(moment: datetime, zone: tzinfo) -> datetime:
    """A wall-clock time in a zone, as a moment with a fixed offset that the clocks really showed."""
    if not isinstance(zone, ZoneInfo):
        return moment.replace(tzinfo=zone)
    real = moment.replace(tzinfo=zone).astimezone(UTC).astimezone(zone)
    shown = real.utcoffset() or timedelta()
    return real.replace(tzinfo=timezone(shown) if shown else UTC)


@lru_cache(maxsize=256)
def offset(text: str | None) -> tzinfo | None:
    """Fixed zone of `+hhmm`; None for none. Raises ValueError for an offset that no place can have."""
    if not text:
        return None
    hours, minutes = int(text[1:3]), int(text[3:5])
    if minutes > 59:
        raise ValueError("offset minutes")
    if hours == minutes == 0:
        return UTC
    delta = timedelta(hours=hours, minutes=minutes)
    if delta > timedelta(hours=18):
        raise ValueError("offset hours")
    return timezone(-delta if text[0] == "-" else delta)


@lru_cache(maxsize=4096)
def own_offset(text: str) -> tzinfo | None:
    """The offset that a DTM carries itself (MSH-7's is the message's default); None when it has none or is bad."""
    match = _DTM.match(text.strip())
    try:
        return offset(match["offset"]) if match else None
    except ValueError:
        return None


@lru_cache(maxsize=65536)
def date_text(text: str) -> str | None:
    """ISO 8601 date of a DT or DTM, as precise as it is to the day: 1963, 1963-08, 1963-08-15; None when bad."""
    match = _DTM.match(text.strip())
    if match is None or parse(text, UTC) is None:
        return None
    return "-".join(part for part in (match["year"], match["month"], match["day"]) if part)


def iso(text: str, zone: tzinfo) -> str | None:
    """ISO 8601 text of a DTM as precise as it was sent, for results that are dates or times themselves."""
    match = _DTM.match(text.strip())
    moment = parse(text, zone)
    if match is None or moment is None:
        return None
    return moment.isoformat() if match["hour"] else date_text(text)


def epoch_ms(moment: datetime) -> int:
    """Milliseconds since 1970, rounded down; exact for every year (no float)."""
    delta = moment - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1000 + delta.microseconds // 1000


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def render(moment: datetime) -> str:
    """DTM text of a moment, to the second (to the millisecond where it has them), with its offset."""
    shown = moment.strftime("%Y%m%d%H%M%S").rjust(14, "0")
    if moment.microsecond:
        shown += f".{moment.microsecond // 1000:03d}"
    return shown + moment.strftime("%z")[:5]
