"""A replay says what the data set says: same values, same times, same patients; the same bytes every time."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message
from hypothesis import given
from hypothesis import strategies as st

from services.domain.events import ClinicalEvent, Condition, Document, Encounter, Observation, Patient
from services.domain.features import inputs_at
from services.domain.record import PatientRecord, fold
from services.domain.site import Site
from services.edge.mllp_client import control_id
from services.formats.hl7v2 import read
from services.formats.reading import Reading
from services.local.replay.cinc2012 import Cinc2012
from services.local.replay.cinc2019 import Cinc2019
from services.local.replay.eicu import Eicu, age_years, icd10
from services.local.replay.files import Hl7Files
from services.local.replay.nih_cxr import NihCxr
from services.local.replay.run import items, write_to
from services.local.replay.source import HOUR_MS, Item, Source, Stay, arrival_ms, merged
from services.local.simulate.source import Simulation
from tests.support import shared
from tests.unit.local.replay import samples
from training.datasets import cinc2012 as training2012
from training.datasets import cinc2019 as training2019
from training.datasets.stays import Stay as TrainingStay
from training.datasets.stays import record_of

SITE = Site(secret=b"test")
LATER_MS = 2_000_000_000_000


def events(item: Item) -> tuple[ClinicalEvent, ...]:
    reading = read(item.content(), SITE, LATER_MS)
    assert isinstance(reading, Reading), reading
    return reading.events


def facts(sent: Iterable[Item], kind: type) -> list:
    return [f for item in sent if item.kind == "hl7v2" for e in events(item) for f in e.facts if isinstance(f, kind)]


def of(source: Source, patient: str) -> list[Item]:
    return [item for item in items(source, None) if item.patient == patient]


def hl7apy_accepts(item: Item) -> None:
    message = parse_message(item.content().decode(), validation_level=VALIDATION_LEVEL.TOLERANT, find_groups=True)
    assert message.validate()


def sources(folder: Path) -> list[Source]:
    (folder / "2019").mkdir()
    (folder / "2012").mkdir()
    return [
        Cinc2019(samples.cinc2019(folder / "2019")),
        Cinc2012(samples.cinc2012(folder / "2012")),
        Simulation(patients=3),
    ]


def test_two_replays_send_the_same_bytes_in_the_order_of_event_time(tmp_path):
    for source in sources(tmp_path):
        first = [(i.time_ms, i.kind, i.patient, i.content()) for i in items(source, None)]
        assert first == [(i.time_ms, i.kind, i.patient, i.content()) for i in items(source, None)]
        assert [one[0] for one in first] == sorted(one[0] for one in first)


def test_control_ids_are_unique_and_short_enough_for_any_version(tmp_path):
    for source in sources(tmp_path):
        names = Counter(control_id(i.content()) for i in items(source, None) if i.kind == "hl7v2")
        assert set(names.values()) == {1}
        assert max(map(len, names)) <= 20


def test_hl7apy_accepts_every_kind_of_message(tmp_path):
    kinds: dict[tuple[str, str], Item] = {}
    for source in sources(tmp_path):
        for item in items(source, None):
            if item.kind == "hl7v2":
                kinds.setdefault((source.name, item.label), item)
    assert {label for _, label in kinds} == {"ADT^A01", "ADT^A02", "ADT^A03", "ADT^A08", "ORU^R01", "MDM^T02"}
    for item in kinds.values():
        hl7apy_accepts(item)


def test_a_cinc2019_patient_is_admitted_moved_measured_diagnosed_and_discharged(tmp_path):
    sent = of(Cinc2019(samples.cinc2019(tmp_path)), "p000001")
    arrival = arrival_ms("cinc2019", "p000001")
    hours = [(item.label, (item.time_ms - arrival) / HOUR_MS) for item in sent]
    assert hours == [
        ("ADT^A01", -3.25),
        ("ADT^A02", 0),
        ("ORU^R01", 1),
        ("ORU^R01", 3),
        ("ORU^R01", 4),
        ("ORU^R01", 5),
        ("ADT^A08", 9),  # the label is set six hours before the onset
        ("ADT^A03", 10),
    ]
    (sepsis,) = facts(sent, Condition)
    assert sepsis.code.code == "A41.9"
    assert round(sepsis.time.timestamp() * 1000) == arrival + 9 * HOUR_MS


def test_a_patient_who_was_never_elsewhere_is_admitted_to_the_unit(tmp_path):
    sent = of(Cinc2019(samples.cinc2019(tmp_path)), "p000002")
    assert [item.label for item in sent[:2]] == ["ADT^A01", "ORU^R01"]
    first = facts(sent[:1], Encounter)[0]
    assert (first.unit, first.start) == ("ICU", first.unit_since)


def test_ages_and_sexes_arrive_as_they_were(tmp_path):
    sent = of(Cinc2019(samples.cinc2019(tmp_path)), "p000001")
    assert {p.sex for p in facts(sent, Patient)} == {"male"}
    age = next(o for o in facts(sent, Observation) if o.code.code == "30525-0")
    assert age.value == 61.5
    (born,) = {p.birth_date for p in facts(sent, Patient)}
    assert int(age.time.year - int(born[:4])) in (61, 62)


def replayed(source: Source, patient: str) -> PatientRecord:
    found = [event for item in of(source, patient) for event in events(item)]
    record = PatientRecord(patient=found[0].patient)
    for event in found:
        fold(record, event)
    return record


def assert_same_inputs(stay: TrainingStay, record: PatientRecord, arrival: int) -> None:
    """The models' inputs from the replayed messages are those that training computes, at every decision."""
    moments = stay.decision_ms
    offset = arrival - (moments[0] - round(stay.decisions[0] * HOUR_MS))
    trained = inputs_at(record_of(stay), moments)
    served = inputs_at(record, [moment + offset for moment in moments])
    for moment, expected, found in zip(moments, trained, served, strict=True):
        for name, array in expected.arrays.items():
            np.testing.assert_array_equal(found.arrays[name], array, err_msg=f"{name} at {moment}")


def test_what_models_see_of_a_replay_is_what_training_sees(tmp_path):
    (tmp_path / "2019").mkdir()
    (tmp_path / "2012").mkdir()
    folder = samples.cinc2019(tmp_path / "2019")
    for stay in training2019.read(folder):
        assert_same_inputs(stay, replayed(Cinc2019(folder), stay.patient_id), arrival_ms("cinc2019", stay.patient_id))
    folder = samples.cinc2012(tmp_path / "2012")
    for stay in training2012.read(folder):
        assert_same_inputs(stay, replayed(Cinc2012(folder), stay.patient_id), arrival_ms("cinc2012", stay.patient_id))


def beginning(file: Path, column: str, count: int, folder: Path) -> Path:
    """A parquet file with the first `count` patients of another."""
    import pyarrow.parquet as pq

    table = next(pq.ParquetFile(file).iter_batches(20_000))
    names = table.column(column).to_pylist()
    chosen = list(dict.fromkeys(names))[:count]
    end = len(names) - names[::-1].index(chosen[-1])
    pq.write_table(pa.Table.from_batches([table.slice(0, end)]), folder / "part.parquet")
    return folder / "part.parquet"


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "path", "column", "source", "reader"),
    [
        ("cinc2019", "data/cinc2019/train.parquet", "patient_id", Cinc2019, training2019.read),
        ("cinc2012", "data/cinc2012/set-a.parquet", "RecordID", Cinc2012, training2012.read),
    ],
)
def test_real_patients_arrive_as_training_sees_them(name, path, column, source, reader, tmp_path):
    count = 8
    file = beginning(shared(path), column, count, tmp_path)
    records: dict[str, PatientRecord] = {}
    for item in items(source(file), count):
        for event in events(item):
            fold(records.setdefault(item.patient, PatientRecord(patient=event.patient)), event)
    stays = {stay.patient_id: stay for stay in reader(file)}
    assert set(records) == set(stays)
    for patient, stay in stays.items():
        assert_same_inputs(stay, records[patient], arrival_ms(name, patient))


def test_cinc2012_descriptors_outcome_and_repeated_codes(tmp_path):
    source = Cinc2012(samples.cinc2012(tmp_path))
    first, second = of(source, "132539"), of(source, "132540")
    pressures = [o.value for o in facts(first, Observation) if o.code.code == "8480-6"]
    assert sorted(pressures) == [147.0, 151.0]  # two of one code at one time: neither hides the other
    assert [o.value for o in facts(first, Observation) if o.code.code == "3150-6"] == [0.5]
    known = {o.code.code: o.value for o in facts(second[:1], Observation)}
    assert known == {"30525-0": 76.0, "8302-2": 175.3, "29463-7": 80.6}
    assert facts(second[-1:], Encounter)[0].disposition == "expired"
    assert facts(second[-1:], Patient)[0].deceased is True
    assert facts(first[-1:], Encounter)[0].disposition == "01"
    arrival = arrival_ms("cinc2012", "132540")
    assert second[-1].time_ms == arrival + 8 * 24 * HOUR_MS


@pytest.mark.data
def test_eicu_stays_have_pressures_notes_diagnoses_and_an_outcome():
    sent = list(items(Eicu(shared("data/eicu")), 30))
    kinds = Counter(item.label for item in sent)
    assert kinds["ADT^A01"] == kinds["ADT^A03"] == 30
    assert min(kinds["ORU^R01"], kinds["MDM^T02"], kinds["ADT^A08"], kinds["ADT^A02"]) > 0
    found = [event for item in sent for event in events(item)]
    assert all(d.text for e in found for d in e.facts if isinstance(d, Document))
    ends = {e.patient: f.disposition for e in found for f in e.facts if isinstance(f, Encounter) and f.disposition}
    assert set(ends.values()) <= {"expired", "01"}
    for patient in {item.patient for item in sent}:
        mine = [item.label for item in sent if item.patient == patient]
        assert (mine[0], mine[-1]) == ("ADT^A01", "ADT^A03")


@pytest.mark.parametrize(
    ("codes", "code"),
    [("038.9, A41.9", "A41.9"), ("V58.61, Z79.01", "Z79.01"), ("401.9", ""), ("", ""), ("E87.1", "E87.1")],
)
def test_eicu_codes_give_their_icd10(codes, code):
    assert icd10(codes) == code


def test_eicu_ages():
    assert (age_years("> 89"), age_years("34"), str(age_years(None))) == (90.0, 34.0, "nan")


@pytest.mark.data
def test_nih_images_are_dicom_of_the_patient_that_was_registered():
    from io import BytesIO

    from pydicom import dcmread

    sent = list(items(NihCxr(shared("data/nih_cxr")), 5))
    images = [item for item in sent if item.kind == "dicom"]
    registered = {item.patient for item in sent if item.label == "ADT^A04"}
    assert len(registered) == 5
    for item in images:
        dataset = dcmread(BytesIO(item.content()))
        assert (dataset.PatientID, dataset.IssuerOfPatientID) == (item.patient, "NIH-CXR")
        assert dataset.pixel_array.shape == (384, 384)
        assert item.content() == item.content()


def test_everything_a_simulation_sends_says_that_it_is_synthetic():
    from io import BytesIO

    from pydicom import dcmread

    sent = list(items(Simulation(seed=1, patients=8), None))
    for item in sent:
        if item.kind == "hl7v2":
            head, *rest = item.content().split(b"\r")
            assert head.split(b"|")[2:4] == [b"WARDSTREAM-SIM", b"SYNTHETIC"]
            assert head.split(b"|")[10] == b"T"
            (pid,) = [s for s in rest if s.startswith(b"PID")]
            assert pid.split(b"|")[3].split(b"^")[3] == b"SYNTHETIC"
        else:
            assert dcmread(BytesIO(item.content())).IssuerOfPatientID == "SYNTHETIC"
    assert {item.kind for item in sent} == {"hl7v2", "dicom"}
    for note in facts(sent, Document):
        assert note.text.startswith("SYNTHETIC")


def test_simulated_patients_with_sepsis_are_worse_after_its_onset_than_before():
    from services.local.simulate.people import person
    from services.local.simulate.physiology import course

    better = worse = 0
    for number in range(60):
        one = person(0, number)
        if one.onset_h is None:
            continue
        rows = course(one, 0)
        rate = [next((r.value for r in row if r.loinc == "8867-4"), None) for row in rows]
        before = [v for v in rate[: max(1, one.onset_h - 8)] if v is not None]
        after = [v for v in rate[one.onset_h : one.onset_h + 6] if v is not None]
        better, worse = better + (np.mean(after) <= np.mean(before)), worse + (np.mean(after) > np.mean(before))
    assert worse > 10 * max(1, better)


def test_values_are_what_they_were_to_the_last_digit(tmp_path):
    value = 0.1 + 0.2
    samples.psv(tmp_path, "p1", [{"Lactate": repr(value)}])
    found = [o.value for o in facts(items(Cinc2019(tmp_path), None), Observation) if o.code.code == "2524-7"]
    assert found == [value]


def test_a_missing_data_set_is_named(tmp_path):
    for source in (Cinc2019, Cinc2012, Eicu, NihCxr, Hl7Files):
        with pytest.raises(FileNotFoundError):
            list(items(source(tmp_path), None))


def test_messages_in_a_file_are_sent_with_carriage_returns_and_nothing_else_changed(tmp_path):
    (tmp_path / "a.hl7").write_bytes(b"MSH|^~\\&|A\nPID|1\n\nMSH|^~\\&|B\r\nPID|2\r\n")
    (tmp_path / "b.hl7").write_bytes(b"\x0bMSH|^~\\&|C\rPID|3\r\x1c\r")
    sent = [item.content() for item in items(Hl7Files(tmp_path), None)]
    assert [m.rstrip(b"\r") for m in sent] == [b"MSH|^~\\&|A\rPID|1", b"MSH|^~\\&|B\rPID|2", b"MSH|^~\\&|C\rPID|3"]


@pytest.mark.corpus
def test_simhospitals_file_is_1013_messages():
    assert sum(1 for _ in items(Hl7Files(shared("corpus/simhospital/messages.out")), None)) == 1013


def test_files_hold_what_would_be_sent(tmp_path):
    samples.cinc2019(tmp_path)
    source = Cinc2019(tmp_path)
    assert write_to(tmp_path / "out", source) == len(list(items(source, None)))
    assert [f.read_bytes() for f in sorted((tmp_path / "out").iterdir())] == [i.content() for i in items(source, None)]


times = st.lists(st.integers(0, 50), max_size=6)


@given(st.lists(times, max_size=6))
def test_streams_are_merged_in_time_each_in_its_own_order_and_opened_when_their_time_comes(streams):
    opened: list[str] = []
    yielded: list[Item] = []

    def stay(number: int, moments: list[int]) -> Stay:
        name = f"p{number}"

        def begin():
            opened.append(name)
            assert not yielded or yielded[-1].time_ms <= min(moments, default=99)
            return iter([Item(at, "hl7v2", name, b"%d" % n) for n, at in enumerate(sorted(moments))])

        return Stay(name, min(moments, default=0), 0, begin)

    finished: list[str] = []
    for item in merged([stay(n, m) for n, m in enumerate(streams)], finished.append):
        yielded.append(item)
    assert [i.time_ms for i in yielded] == sorted(at for moments in streams for at in moments)
    for number, moments in enumerate(streams):
        mine = [i.payload for i in yielded if i.patient == f"p{number}"]
        assert mine == [b"%d" % n for n in range(len(moments))]
    assert sorted(opened) == sorted(finished) == sorted(f"p{n}" for n in range(len(streams)))
