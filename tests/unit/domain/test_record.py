from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

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
