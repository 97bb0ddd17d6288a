"""DICOM dates and times (PS3.5 section 6.2: DA, TM, DT; PS3.3 C.12.1.1.8: the offset of DA and TM)."""

import re
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo

from services.formats.dicom.model import Header, text

_DATE = re.compile(r"(\d{4})(\d\d)(\d\d)|(\d{4})\.(\d\d)\.(\d\d)", re.ASCII)  # the second is ACR-NEMA's, still met
_TIME = re.compile(r"(\d\d)(?::?(\d\d)(?::?(\d\d)(?:\.(\d{1,6}))?)?)?", re.ASCII)
_OFFSET = re.compile(r"([+-])(\d\d)(\d\d)", re.ASCII)
_DATETIME = re.compile(r"(\d{8})(\d{2}(?:\d\d(?:\d\d(?:\.\d{1,6})?)?)?)?([+-]\d{4})?", re.ASCII)

OF_IMAGE = (
    ("00080022", "00080032"),  # Acquisition
    ("00080023", "00080033"),  # Content
    ("00080021", "00080031"),  # Series
    ("00080020", "00080030"),  # Study
)
"""Date and time elements that tell when an image was made, the closest first."""


def parse_date(value: str) -> date | None:
    """A DA value; None when it is not one."""
    match = _DATE.fullmatch(value)
    try:
        return date(*(int(part) for part in match.groups() if part)) if match else None
    except ValueError:
        return None


def parse_time(value: str) -> time | None:
    """A TM value as precise as given, the rest zero; a leap second counts as the second before."""
    match = _TIME.fullmatch(value)
    if not match:
        return None
    hour, minute, second, fraction = match.groups()
    try:
        return time(int(hour), int(minute or 0), min(int(second or 0), 59), int((fraction or "").ljust(6, "0")))
    except ValueError:
        return None


def parse_offset(value: str) -> timezone | None:
    """`+0100` and its like, between -1200 and +1400; None for anything else."""
    match = _OFFSET.fullmatch(value)
    if not match:
        return None
    sign, hours, minutes = match.groups()
    offset = timedelta(hours=int(hours), minutes=int(minutes)) * (-1 if sign == "-" else 1)
    inside = timedelta(hours=-12) <= offset <= timedelta(hours=14) and int(minutes) < 60
    return timezone(offset) if inside else None


def parse_datetime(value: str, zone: tzinfo) -> datetime | None:
    """A DT value of at least a day's precision; `zone` where it has no offset of its own."""
    match = _DATETIME.fullmatch(value)
    if not match:
        return None
    day, clock, offset = match.groups()
    own = parse_offset(offset) if offset else zone
    return _joined(parse_date(day), parse_time(clock) if clock else time(), own)


def zone_of(header: Header, site_zone: tzinfo) -> tzinfo:
    """The zone of the header's DA and TM: Timezone Offset From UTC (0008,0201), else the site's."""
    return parse_offset(text(header, "00080201")) or site_zone


def image_time(header: Header, site_zone: tzinfo) -> datetime | str | None:
    """When the image was made; None where no time is given; the place of a time that cannot be read otherwise.

    Acquisition DateTime, then the pairs of `OF_IMAGE` that have both date and time, then those with a date alone
    (taken as midnight, which is as precise as the sender was).
    """
    zone = zone_of(header, site_zone)
    bad = ""
    stamp = text(header, "0008002A")
    if stamp:
        found = parse_datetime(stamp, zone)
        if found:
            return found
        bad = "(0008,002A)"
    for needs_time in (True, False):
        for date_tag, time_tag in OF_IMAGE:
            day, clock = text(header, date_tag), text(header, time_tag)
            if not day or (needs_time and not clock):
                continue
            found = _joined(parse_date(day), parse_time(clock) if needs_time else time(), zone)
            if found:
                return found
            bad = bad or f"({date_tag[:4]},{date_tag[4:]})"
    return bad or None


def created_ms(header: Header, site_zone: tzinfo) -> int:
    """When the instance was made (0008,0012 and 0008,0013), epoch milliseconds; 0 where not given."""
    day, clock = text(header, "00080012"), text(header, "00080013")
    found = _joined(parse_date(day), parse_time(clock) if clock else time(), zone_of(header, site_zone))
    return round(found.timestamp() * 1000) if found else 0


def _joined(day: date | None, clock: time | None, zone: tzinfo | None) -> datetime | None:
    if day is None or clock is None or zone is None:
        return None
    moment = datetime.combine(day, clock, zone)
    try:
        moment.astimezone(UTC)  # the first and last day of the calendar cannot be moved
    except (OverflowError, ValueError):
        return None
    return moment
