"""What is put on `hl7v2.out`: for whom, under which numbers, and again after a crash."""

from collections.abc import Iterable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.bus.messages import DeadLetter, Message
from services.bus.topics import DEAD_LETTERS, HL7_OUT, PATIENT_RECORDS, RISK_PREDICTIONS, Topic
from services.deliver.hl7.announce import Announce, Receiver
from services.deliver.hl7.policy import Policy
from services.domain.events import Identifier, Patient, Version
from services.domain.identity import patient_key
from services.domain.prediction import Status
from services.domain.record import PatientRecord, encode_record
from services.domain.site import Site
from services.formats.hl7v2 import structure
from tests.unit.deliver.support import MRN, prediction, record

NOW_MS = 1_800_000_000_000
SITE = Site(secret=b"s", check_structure=True, authority_aliases={"1.2.3": "HOSPITAL"})
RECEIVER = Receiver(sending_facility="north", application="EHR", facility="MAIN", authority="HOSPITAL")


def step(policy: Policy | None = None, receiver: Receiver = RECEIVER) -> Announce:
    return Announce(policy or Policy(), receiver, SITE, max_age=60.0, now=lambda: NOW_MS / 1000)


class Patients:
    """Folds messages as an engine does: a state for each key, offsets counted for each topic."""

    def __init__(self, made: Announce | None = None) -> None:
        self.step = made or step()
        self.states: dict[bytes, bytes | None] = {}
        self.offsets = {PATIENT_RECORDS.name: 0, RISK_PREDICTIONS.name: 0}

    def message(self, topic: Topic, value: bytes, key: bytes = b"p", at: int = NOW_MS) -> Message:
        self.offsets[topic.name] += 1
        return Message(topic.name, 0, self.offsets[topic.name], key, value, {}, at)

    def take(self, message: Message) -> list[bytes]:
        assert message.key is not None
        result = self.step(message, self.states.get(message.key))
        self.states[message.key] = result.state
        assert all((output.topic, output.key) == (HL7_OUT, message.key.decode()) for output in result.outputs)
        return [output.value for output in result.outputs]

    def record(self, value: bytes | None = None) -> list[bytes]:
        return self.take(self.message(PATIENT_RECORDS, value or record()))

    def prediction(self, *course, at: int = NOW_MS, **more) -> list[bytes]:
        return self.take(self.message(RISK_PREDICTIONS, prediction("p", *course, **more), at=at))


def fields(raw: bytes, segment: bytes) -> list[list[bytes]]:
    return [line.split(b"|") for line in raw.split(b"\r") if line.startswith(segment)]


def test_a_prediction_goes_to_the_hospital_under_its_own_number() -> None:
    patients = Patients()
    assert patients.record() == []
    (raw,) = patients.prediction()
    assert structure.check(raw, SITE) is None
    ((msh,), (pid,), (visit,), (order,)) = (fields(raw, name) for name in (b"MSH", b"PID", b"PV1", b"OBR"))
    assert msh[2:6] == [b"WARDSTREAM", b"north", b"EHR", b"MAIN"]
    assert (len(msh[9]), msh[10]) == (20, b"P")
    assert (pid[3], pid[7], pid[8]) == (f"{MRN}^^^HOSPITAL^MR".encode(), b"19500615", b"F")
    assert visit[3].startswith(b"ICU^")
    assert (order[3], order[25]) == (b"p1risk-fusion", b"F")


def test_the_receivers_own_number_is_taken_and_without_one_nothing_is_told() -> None:
    more = Patient(id="d", version=Version(), identifiers=[Identifier("A", "1", "PI"), Identifier("EHR", "2", "PT")])
    both = record(facts=[more])
    for authority, number in (("EHR", b"2^^^EHR^PT"), ("", f"{MRN}^^^HOSPITAL^MR".encode())):
        patients = Patients(step(receiver=Receiver(authority=authority)))
        patients.record(both)
        (raw,) = patients.prediction()
        assert fields(raw, b"PID")[0][3] == number
    stranger = Patients(step(receiver=Receiver(authority="ELSEWHERE")))
    stranger.record(both)
    assert stranger.prediction() == []


@pytest.mark.parametrize(("mine", "other"), [("1", "2"), ("2", "1")])
def test_after_a_merge_the_survivor_goes_by_its_own_number(mine: str, other: str) -> None:
    key = patient_key("HOSPITAL", mine, SITE.secret)
    merged = Patient(id="m", version=Version(), identifiers=[Identifier("HOSPITAL", other, "MR")])
    patients = Patients()
    patients.take(patients.message(PATIENT_RECORDS, record(key, number=mine, facts=[merged]), key.encode()))
    (raw,) = patients.take(patients.message(RISK_PREDICTIONS, prediction(key), key.encode()))
    assert fields(raw, b"PID")[0][3] == f"{mine}^^^HOSPITAL^MR".encode()


@pytest.mark.parametrize(("mine", "other"), [("1", "2"), ("2", "1")])
def test_where_the_receivers_number_does_not_key_the_record_it_stays_what_it_was(mine: str, other: str) -> None:
    patients = Patients(step(receiver=Receiver(authority="ehr")))
    numbers = [Identifier("EHR", one, "PT") for one in (mine, other)]
    for known in (numbers[:1], numbers):
        patients.record(record(facts=[Patient(id="d2", version=Version(), identifiers=known)]))
    (raw,) = patients.prediction()
    assert fields(raw, b"PID")[0][3] == f"{mine}^^^EHR^PT".encode()


def test_the_receivers_authority_may_be_said_as_any_of_its_names() -> None:
    patients = Patients(step(receiver=Receiver(authority="urn:oid:1.2.3")))
    patients.record()
    (raw,) = patients.prediction()
    assert fields(raw, b"PID")[0][3].startswith(MRN.encode())


def test_a_prediction_that_comes_before_its_record_waits_for_it() -> None:
    patients = Patients()
    assert patients.prediction(1, 0.1) == patients.prediction(2, 0.4) == []
    (raw,) = patients.record()
    assert fields(raw, b"OBR")[0][3] == b"p2risk-fusion"
    assert patients.record() == []


def test_what_replaces_an_earlier_message_says_so_and_names_it() -> None:
    patients = Patients()
    patients.record()
    patients.prediction(2, 0.4)
    (raw,) = patients.prediction(1, 0.1)  # the newest result was withdrawn
    assert (fields(raw, b"OBR")[0][3], fields(raw, b"OBX")[0][11]) == (b"p2risk-fusion", b"C")
    (newer,) = patients.prediction(3, 0.4)
    assert (fields(newer, b"OBR")[0][3], fields(newer, b"OBX")[0][11]) == (b"p3risk-fusion", b"F")


def test_what_was_told_of_a_merged_number_is_withdrawn_under_that_number() -> None:
    patients = Patients()
    patients.record()
    patients.prediction(2, 0.4)
    patients.record(encode_record(PatientRecord(patient="p", merged_into="survivor")))
    (raw,) = patients.prediction(0, status=Status.SUPERSEDED, superseded_by="survivor")
    (result,) = fields(raw, b"OBX")
    assert fields(raw, b"PID")[0][3].startswith(MRN.encode())
    assert fields(raw, b"OBR")[0][3] == b"p2risk-fusion"
    assert (result[2], result[5].split(b"^")[0], result[11]) == (b"CWE", b"superseded", b"C")
    assert patients.prediction(0, status=Status.SUPERSEDED, superseded_by="survivor", prediction_id="again") == []


def test_simulated_and_replayed_patients_are_marked_as_tests() -> None:
    patients = Patients(step(receiver=Receiver()))
    patients.record(record(authority="SYNTHETIC"))
    (raw,) = patients.prediction()
    assert fields(raw, b"MSH")[0][10] == b"T"


def test_what_was_published_long_ago_is_not_told_and_what_follows_is() -> None:
    patients = Patients()
    patients.record()
    assert patients.prediction(1, 0.4, at=NOW_MS - 61_000) == []
    assert len(patients.prediction(2, 0.4)) == 1


def test_a_prediction_that_does_not_fit_its_schema_becomes_a_dead_letter_without_its_content() -> None:
    patients = Patients()
    result = patients.step(patients.message(RISK_PREDICTIONS, b'{"patient": "secret"}'), b"")
    (output,) = result.outputs
    letter = msgspec.json.decode(output.value, type=DeadLetter)
    assert (output.topic, letter.reason, letter.hint) == (DEAD_LETTERS, "schema_violation", "not a Prediction")


@pytest.mark.parametrize("value", [b"", b"{}x", b"[]"])
def test_an_unreadable_record_is_passed_over_and_the_state_stays(value: bytes) -> None:
    patients = Patients()
    patients.record()
    before = patients.states[b"p"]
    assert patients.record(value or b"\xff") == []
    assert patients.states[b"p"] == before


steps = st.one_of(
    st.just("record"), st.tuples(st.integers(0, 6), st.sampled_from([0.05, 0.1, 0.3, 0.5])), st.just("again")
)


@given(st.lists(steps, max_size=25), st.data(), st.booleans())
def test_after_a_crash_the_same_messages_come_again_whatever_was_kept(course, data, every) -> None:
    """The state may be newer than the last commit, and every message since that commit may have been lost."""
    patients = Patients(step(Policy(every=every)))
    inputs: list[Message] = []
    for n, one in enumerate(course):
        if one == "record":
            inputs.append(patients.message(PATIENT_RECORDS, record()))
        elif one == "again" and inputs and inputs[-1].topic == RISK_PREDICTIONS.name:
            inputs.append(patients.message(RISK_PREDICTIONS, inputs[-1].value))
        elif one != "again":
            value = prediction("p", *one, prediction_id=f"{n}")
            inputs.append(patients.message(RISK_PREDICTIONS, value, at=NOW_MS + n // 3))
    told = [patients.take(message) for message in inputs]
    committed = data.draw(st.integers(0, len(inputs)))
    for _ in range(2):
        assert distinct(patients.take(message) for message in inputs[committed:]) == distinct(told[committed:])


def distinct(messages: Iterable[list[bytes]]) -> list[bytes]:
    """Each message once, in the order in which they first came."""
    return list(dict.fromkeys(one for some in messages for one in some))


def test_a_topic_that_was_made_anew_is_not_taken_for_repeats() -> None:
    patients = Patients()
    patients.record()
    for hours in range(1, 4):
        patients.prediction(hours, 0.4 if hours % 2 else 0.1)
    patients.offsets[RISK_PREDICTIONS.name] = 0
    assert len(patients.prediction(9, 0.1, at=NOW_MS + 1)) == 1


def test_the_state_of_a_patient_stays_small() -> None:
    patients = Patients(step(Policy(every=True)))
    patients.record()
    for n in range(600):
        patients.prediction(n, 0.4)
    assert len(patients.states[b"p"] or b"") < 40_000
