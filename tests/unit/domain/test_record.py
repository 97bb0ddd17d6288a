from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.domain import record as record_module
from services.domain.events import ClinicalEvent, Code, Observation, Rank, Version, decode_event, encode_event
from services.domain.record import HORIZON_MS, PatientRecord, decode_record, encode_record, fold, join
from tests.unit.strategies import T0, events


def folded(*stream: ClinicalEvent) -> PatientRecord:
    record = PatientRecord(patient="p")
    for event in stream:
        fold(record, event)
    return record


@given(st.data(), st.lists(events(), max_size=8))
def test_any_order_and_any_duplication_give_the_same_record_byte_for_byte(data, stream):
    shuffled = data.draw(st.permutations(stream + stream[: len(stream) // 2]))
    assert encode_record(folded(*shuffled)) == encode_record(folded(*stream))


@given(st.lists(events(), max_size=8), st.integers(0, 8))
def test_joining_two_records_is_folding_all_events_of_both(stream, cut):
    left, right = folded(*stream[:cut]), folded(*stream[cut:])
    join(left, right)
    assert encode_record(left) == encode_record(folded(*stream))


@given(st.lists(events(), max_size=6), st.integers(0, 6))
def test_a_restart_between_any_two_events_changes_nothing(stream, cut):
    record = decode_record(encode_record(folded(*stream[:cut])))
    for event in stream[cut:]:
        fold(record, decode_event(encode_event(event)))
    assert encode_record(record) == encode_record(folded(*stream))


def observation(value, *, rank=Rank.FINAL, issued=0, time=T0, name="o1"):
    return ClinicalEvent(
        event_id=f"{name}-{value}-{rank}",
        patient="p",
        format="hl7v2",
        type="ORU^R01",
        occurred=time,
        facts=[
            Observation(
                id=name,
                version=Version(rank, issued, 0, str(value)),
                code=Code("http://loinc.org", "2160-0"),
                time=time,
                value=value,
                unit="mg/dL",
            )
        ],
    )


def test_a_correction_wins_though_it_arrives_before_the_result_it_corrects():
    record = PatientRecord(patient="p")
    assert fold(record, observation(1.2, rank=Rank.AMENDED, issued=5)) == "applied"
    assert fold(record, observation(9.9, issued=1)) == "superseded"
    assert [row.value for row in record.values("2160-0")] == [1.2]


def test_a_withdrawn_result_is_not_shown():
    record = folded(observation(9.9), observation(None, rank=Rank.ENTERED_IN_ERROR))
    assert list(record.values("2160-0")) == []


def test_a_repeat_is_told_as_a_repeat():
    record = folded(observation(1.2))
    assert fold(record, observation(1.2)) == "repeated"


def test_what_is_older_than_the_horizon_is_told_as_expired():
    record = folded(observation(1.2, time=T0 + timedelta(milliseconds=HORIZON_MS + 1), name="new"))
    assert fold(record, observation(3.4)) == "expired"
    assert [row.value for row in record.values("2160-0")] == [1.2]


@pytest.fixture(params=[(2, 100), (100, 3), (3, 4)], ids=["of a series", "of all", "of both"])
def small_caps(request, monkeypatch):
    """(rows of a series, rows of all series)."""
    monkeypatch.setattr(record_module, "MAX_ROWS", request.param[0])
    monkeypatch.setattr(record_module, "MAX_ALL_ROWS", request.param[1])
    return request.param


crowded = st.lists(events(), min_size=4, max_size=12)
capped = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def naive(stream, caps):
    """{series: [(time, id)]} of what is to be kept, from the rules alone: a set, cut from the newest."""
    facts = [fact for event in stream for fact in event.facts if isinstance(fact, Observation)]
    rows = {(round(f.time.timestamp() * 1000), f.code.code, f.id) for f in facts}
    newest = max((time for time, _, _ in rows), default=0)
    by_age = sorted((row for row in rows if row[0] >= newest - HORIZON_MS), reverse=True)
    of_series: dict[str, list] = {}
    for row in by_age:
        of_series.setdefault(row[1], []).append(row)
    kept = sorted((row for found in of_series.values() for row in found[: caps[0]]), reverse=True)[: caps[1]]
    return {key: sorted((t, i) for t, k, i in kept if k == key) for key in {row[1] for row in kept}}


@capped
@given(data=st.data(), stream=crowded)
def test_a_full_record_keeps_the_newest_rows_whatever_the_order(small_caps, data, stream):
    shuffled = data.draw(st.permutations(stream + stream[: len(stream) // 2]))
    found = folded(*shuffled)
    kept = {key: [(row.time, row.id) for row in series.rows] for key, series in found.observations.items()}
    assert kept == naive(stream, small_caps)
    assert encode_record(found) == encode_record(folded(*stream))


@capped
@given(stream=crowded, cut=st.integers(0, 12))
def test_joining_full_records_is_folding_all_events_of_both(small_caps, stream, cut):
    left, right = folded(*stream[:cut]), folded(*stream[cut:])
    join(left, right)
    assert encode_record(left) == encode_record(folded(*stream))


def minute(n, name=""):
    return observation(float(n), time=T0 + timedelta(minutes=n), name=name or f"o{n:05}")


def test_what_a_full_series_has_no_room_for_is_told_as_expired(monkeypatch):
    monkeypatch.setattr(record_module, "MAX_ROWS", 2)
    record = folded(minute(1), minute(3))
    assert fold(record, minute(2)) == "applied"
    assert fold(record, minute(1)) == "expired"
    assert fold(record, minute(2)) == "repeated"
    assert [row.value for row in record.values("2160-0")] == [2.0, 3.0]


def test_a_week_of_a_value_a_minute_stays_within_the_rows_of_a_series():
    record = folded(*(minute(n) for n in range(7 * 24 * 60)))
    values = [row.value for row in record.values("2160-0")]
    assert values == [float(n) for n in range(7 * 24 * 60 - record_module.MAX_ROWS, 7 * 24 * 60)]
    assert len(encode_record(record)) < 90 * record_module.MAX_ROWS


def test_the_record_version_is_the_content_s_name():
    a, b = folded(observation(1.2)), folded(observation(1.3))
    encode_record(a), encode_record(b)
    assert a.record_version != b.record_version
    assert decode_record(encode_record(a)).record_version == a.record_version


def test_values_until_a_time_do_not_see_the_future():
    later = T0 + timedelta(hours=1)
    record = folded(observation(1.2), observation(2.0, time=later, name="o2"))
    until = round(T0.timestamp() * 1000)
    assert [row.value for row in record.values("2160-0", until)] == [1.2]


def test_a_record_s_repr_shows_nothing_of_the_patient():
    assert "mg/dL" not in repr(folded(observation(1.2)))
