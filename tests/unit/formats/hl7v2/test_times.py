"""HL7 times: every precision, offsets, zones with daylight saving, and what is no time."""

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.formats.hl7v2 import times

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("2020", "2020-01-01T00:00:00+00:00"),
        ("202005", "2020-05-01T00:00:00+00:00"),
        ("20200502", "2020-05-02T00:00:00+00:00"),
        ("2020050213", "2020-05-02T13:00:00+00:00"),
        ("202005021307", "2020-05-02T13:07:00+00:00"),
        ("20200502130709", "2020-05-02T13:07:09+00:00"),
        ("20200502130709.1234", "2020-05-02T13:07:09.123400+00:00"),
        ("20200502130709.5-0330", "2020-05-02T13:07:09.500000-03:30"),
        ("202005021307+0215", "2020-05-02T13:07:00+02:15"),
        ("2020+0100", "2020-01-01T00:00:00+01:00"),
        (" 20200502 ", "2020-05-02T00:00:00+00:00"),
        ("20161231235960", "2017-01-01T00:00:00+00:00"),
    ],
)
def test_every_precision_is_read(text: str, iso: str) -> None:
    found = times.parse(text, UTC)
    assert found is not None
    assert found.isoformat() == iso


@pytest.mark.parametrize(
    "text",
    [
        "",
        "20",
        "202",
        "20201",
        "20201301",
        "20200230",
        "2020050225",
        "202005021360",
        "20200502130761",
        "00000000",
        "2020-05-02",
        "20200502T130709",
        "20200502130709+2500",
        "20200502130709+0160",
        "today",
        "２０２０",
        "1e5",
    ],
)
def test_what_is_no_time_gives_none(text: str) -> None:
    assert times.parse(text, UTC) is None


def test_a_local_time_takes_the_zones_offset_of_that_day() -> None:
    assert times.parse("20200115120000", BERLIN).isoformat() == "2020-01-15T12:00:00+01:00"  # type: ignore[union-attr]
    assert times.parse("20200715120000", BERLIN).isoformat() == "2020-07-15T12:00:00+02:00"  # type: ignore[union-attr]


def test_a_time_that_happens_twice_means_the_first_and_one_that_never_does_is_moved() -> None:
    assert times.parse("20201025023000", BERLIN).isoformat() == "2020-10-25T02:30:00+02:00"  # type: ignore[union-attr]
    assert times.parse("20200329023000", BERLIN).isoformat() == "2020-03-29T03:30:00+02:00"  # type: ignore[union-attr]


@given(st.datetimes(datetime(1850, 1, 1), datetime(2150, 1, 1)), st.integers(-18 * 60, 18 * 60))
def test_a_rendered_time_is_read_back(moment: datetime, minutes: int) -> None:
    aware = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)), microsecond=moment.microsecond // 1000 * 1000)
    assert times.parse(times.render(aware), UTC) == aware
    assert times.epoch_ms(aware) == round(aware.timestamp() * 1000)


@given(st.text(max_size=30))
def test_any_text_gives_a_time_or_none(text: str) -> None:
    found = times.parse(text, BERLIN)
    assert found is None or found.tzinfo is not None
    times.date_text(text)
    times.iso(text, BERLIN)
    times.own_offset(text)


@given(st.datetimes(datetime(1950, 1, 1), datetime(2049, 1, 1)))
def test_local_times_keep_their_order_but_for_the_hour_that_is_gone_through_twice(moment: datetime) -> None:
    def read(at: datetime) -> datetime:
        found = times.parse(at.strftime("%Y%m%d%H%M%S"), BERLIN)
        assert found is not None
        return found

    assert read(moment) < read(moment + timedelta(hours=3, seconds=1))


def test_a_birth_date_keeps_its_precision() -> None:
    assert [times.date_text(t) for t in ("1963", "196308", "19630815", "19630815120000+0100", "x")] == [
        "1963",
        "1963-08",
        "1963-08-15",
        "1963-08-15",
        None,
    ]
