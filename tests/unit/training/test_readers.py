"""The data sets' readers give what the stream would."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from services.domain.features import model_inputs
from services.domain.features.static import STATIC
from tests.support import shared
from training.datasets import cinc2012, cinc2019
from training.datasets.stays import EPOCH, Stay, record_of

HEADER = [*cinc2019.COLUMNS, "Age", "Gender", "Unit1", "Unit2", "HospAdmTime", "ICULOS", "SepsisLabel"]


def psv(folder: Path, rows: list[dict[str, float]]) -> Path:
    lines = ["|".join(HEADER), *("|".join(str(row.get(name, "NaN")) for name in HEADER) for row in rows)]
    file = folder / "p000001.psv"
    file.write_text("\n".join(lines) + "\n")
    return file


ROWS = [
    {"HR": 98.0, "Temp": 36.9, "FiO2": 0.4, "ICULOS": 1, "SepsisLabel": 0},
    {"HR": 101.5, "FiO2": 4000.0, "Lactate": 2.1, "ICULOS": 2, "SepsisLabel": 1},
]
FIXED = {"Age": 83.14, "Gender": 0, "Unit1": 1, "Unit2": 0, "HospAdmTime": -11.5}


@pytest.fixture
def stay(tmp_path: Path) -> Stay:
    psv(tmp_path, [{**FIXED, **row} for row in ROWS])
    return next(cinc2019.read(tmp_path))


def test_a_row_of_cinc2019_is_the_hour_after_admission_to_the_unit(stay: Stay) -> None:
    start = round(EPOCH.timestamp() * 1000)
    assert stay.decision_ms == [start + 3_600_000, start + 7_200_000]
    assert stay.labels["sepsis-6h"].tolist() == [0, 1]
    static = dict(
        zip(STATIC, model_inputs(record_of(stay), stay.decision_ms[1]).arrays["static"].tolist(), strict=True)
    )
    assert (static["age_years"], static["male"], static["unit_medical"]) == (83, 0, 1)
    assert (static["hours_in_unit"], static["hours_in_hospital"], static["hours_before_unit"]) == (2, 13.5, 11.5)


def test_what_the_normaliser_would_drop_is_dropped_here(stay: Stay) -> None:
    inputs = model_inputs(record_of(stay), stay.decision_ms[1])
    value, age = inputs.observed("fio2")
    assert (round(value or 0, 6), age) == (0.4, 1.0)  # 4000 is impossible: the hour before still stands
    assert inputs.observed("heart_rate") == (101.5, 0.0)


def test_the_text_and_the_parquet_form_give_the_same_record(tmp_path: Path) -> None:
    rows = [{**FIXED, **row} for row in ROWS]
    psv(tmp_path, rows)
    columns = {name: pa.array([row.get(name, np.nan) for row in rows], pa.float32()) for name in HEADER}
    (tmp_path / "t").mkdir()
    names = {"patient_id": ["p000001"] * 2, "site": ["B"] * 2}
    pq.write_table(pa.table({**names, **columns}), tmp_path / "t" / "x.parquet")
    text, parquet = next(cinc2019.read(tmp_path / "p000001.psv")), next(cinc2019.read(tmp_path / "t"))
    for moment in text.decision_ms:
        one, other = model_inputs(record_of(text), moment), model_inputs(record_of(parquet), moment)
        assert one.sha256 == other.sha256


def test_cinc2012_reads_its_text_form_with_the_outcome_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "set-b"
    folder.mkdir()
    lines = ["Time,Parameter,Value", "00:00,RecordID,132539", "00:00,Age,54", "00:00,Gender,0", "00:00,Height,-1"]
    lines += [
        "00:00,ICUType,4",
        "00:00,Weight,-1",
        "00:07,HR,73",
        "01:30,NISysABP,147",
        "47:59,FiO2,0.5",
        "02:00,pH,735",
    ]
    (folder / "132539.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "Outcomes-b.txt").write_text(
        "RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death\n132539,6,1,5,-1,1\n"
    )
    stay = next(cinc2012.read(folder))
    assert stay.labels["mortality"].tolist() == [1.0] * len(cinc2012.DECISIONS)
    last = model_inputs(record_of(stay), stay.decision_ms[-1])
    assert last.observed("sbp") == (147.0, 46.5)
    assert last.observed("height") == last.observed("ph") == (None, None)  # missing; impossible
    assert dict(zip(STATIC, last.arrays["static"].tolist(), strict=True))["unit_surgical"] == 1


def test_a_course_falls_with_the_days_that_a_patient_lived_on_after_discharge(tmp_path: Path) -> None:
    ends = {
        "death in hospital": "1,6,1,20,18,1",
        "the day after": "2,6,1,20,21,0",
        "a year later": "3,6,1,20,385,0",
        "not known to have died": "4,6,1,20,-1,0",
        "length of stay not known": "5,6,1,-1,30,0",
    }
    for number in range(1, 6):
        (tmp_path / f"{number}.txt").write_text("Time,Parameter,Value\n00:00,Age,54\n00:07,HR,73\n")
    header = "RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death"
    (tmp_path / "Outcomes-a.txt").write_text("\n".join([header, *ends.values()]) + "\n")
    course = [stay.labels["mortality-course"] for stay in cinc2012.read(tmp_path)]
    died, after, later, lived, unknown = (float(c[0]) for c in course)
    assert died == 1
    assert lived == 0 < later < unknown < after < cinc2012.AFTERWARDS < died
    (tmp_path / "Outcomes-a.txt").write_text("RecordID,In-hospital_death\n1,1\n2,0\n")
    bare = [float(stay.labels["mortality-course"][0]) for stay in cinc2012.read(tmp_path)]
    assert bare[:2] == [1, 0]
    assert np.isnan(bare[2:]).all()


@pytest.mark.parametrize(("read", "name"), [(cinc2019.read, ".psv"), (cinc2012.read, ".txt")])
def test_an_empty_folder_is_named(read: object, name: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=name):
        list(read(tmp_path))  # type: ignore[operator]


@pytest.mark.data
def test_the_shared_data_sets_are_read() -> None:
    first = next(cinc2019.read(shared("data/cinc2019/train.parquet")))
    assert first.results
    assert len(first.decisions) == len(first.labels["sepsis-6h"])
    stay = next(cinc2012.read(shared("data/cinc2012")))
    assert (stay.patient_id, stay.unit, stay.labels["mortality"][0]) == ("132539", "SICU", 0)
