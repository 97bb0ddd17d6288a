"""eICU's tables: nothing of the outcome and nothing after 24 hours reaches a record or a note."""

import gzip
from math import isnan, log
from pathlib import Path

import pandas as pd
import pytest

from services.domain.events import Document, Observation
from services.domain.features.variables import MODEL_VARIABLES
from tests.support import shared
from training.eicu import observations
from training.eicu.cohort import NOT_HOME
from training.eicu.dataset import AS_OF, AS_OF_MS, Stay, load_stays
from training.eicu.tables import OUTCOME_COLUMNS, read_cut
from training.eicu.targets import EXPECTED, read_targets

EXAM = "notes/Progress Notes/Physical Exam/Physical Exam/Constitutional"
TABLES = {
    "patient": (
        "patientunitstayid,patienthealthsystemstayid,gender,age,ethnicity,hospitalid,apacheadmissiondx,admissionheight,"
        "hospitaladmitoffset,hospitaldischargeoffset,hospitaldischargestatus,unittype,admissionweight,uniquepid,"
        "unitdischargeoffset,unitdischargestatus,hospitaldischargelocation\n"
        '1,11,Female,> 89,Caucasian,7,"Sepsis, pulmonary",160,-60,5000,Expired,MICU,62,002-1,3000,Alive,Death\n'
        "2,12,Male,50,Hispanic,8,,1,-10,1439,Alive,CCU-CTICU,80,002-2,1000,Alive,Home\n"
        "3,13,Male,61,Asian,8,CABG,170,-10,9000,Alive,CCU-CTICU,80,002-3,2000,Alive,Rehabilitation\n"
        "4,14,Male,61,Asian,8,CABG,170,-10,9000,,CCU-CTICU,80,002-4,2000,Alive,\n"
    ),
    "vitalAperiodic": (
        "vitalaperiodicid,patientunitstayid,observationoffset,noninvasivesystolic,noninvasivediastolic,noninvasivemean\n"
        "1,1,100,90,50,63\n2,1,1439,85,45,58\n3,1,1440,10,10,10\n4,3,5,,70,\n5,1,200,9000,60,70\n"
    ),
    "respiratoryCharting": (
        "respchartid,patientunitstayid,respchartoffset,respchartentryoffset,respcharttypecat,respchartvaluelabel,respchartvalue\n"
        "1,1,60,61,x,FiO2,40%\n2,1,70,71,x,FiO2,0.5\n3,1,80,1500,x,RR (patient),33\n4,1,90,91,x,RR (patient),22\n"
    ),
    "physicalExam": (
        "physicalexamid,patientunitstayid,physicalexamoffset,physicalexampath,physicalexamvalue,physicalexamtext\n"
        "1,1,30,notes/Progress Notes/Physical Exam/Physical Exam/Neurologic/GCS/Eyes Score/3,3,3\n"
        "2,1,30,notes/Progress Notes/Physical Exam/Physical Exam/Neurologic/GCS/Verbal Score/4,4,4\n"
        "3,1,30,notes/Progress Notes/Physical Exam/Physical Exam/Neurologic/GCS/Motor Score/6,6,6\n"
        f"4,1,30,{EXAM}/Vital Sign and Physiological Data/HR/HR Current,HR,118\n"
        f"5,1,30,{EXAM}/Appearance/Acuity/critically ill-appearing,x,critically ill-appearing\n"
    ),
    "diagnosis": (
        "diagnosisid,patientunitstayid,activeupondischarge,diagnosisoffset,diagnosisstring,icd9code,diagnosispriority\n"
        "1,1,True,120,pulmonary|respiratory failure,x,Major\n2,1,True,2000,neurologic|brain death,x,Major\n"
    ),
    "apachePredVar": (
        "apachepredvarid,patientunitstayid,diedinhospital,dischargelocation,metastaticcancer,readmit\n1,1,1,9,1,0\n"
    ),
    "apacheApsVar": (
        "apacheapsvarid,patientunitstayid,intubated,vent,dialysis,eyes,motor,verbal,meds,urine,wbc,temperature,"
        "respiratoryrate,sodium,heartrate,meanbp,ph,hematocrit,creatinine,albumin,pao2,pco2,bun,glucose,bilirubin,fio2\n"
        "1,1,0,1,1,3,6,4,0,-1,17.5,38.9,31,133,128,52,-1,31,2.4,-1,-1,-1,41,190,-1,-1\n"
    ),
    "apachePatientResult": (
        "apachepatientresultsid,patientunitstayid,apacheversion,predictedhospitalmortality,actualhospitalmortality\n"
        "1,1,IVa,0.41,EXPIRED\n2,1,IV,0.39,EXPIRED\n3,3,IVa,-1,ALIVE\n"
    ),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in TABLES.items():
        (tmp_path / f"{name}.csv.gz").write_bytes(gzip.compress(text.encode()))
    return tmp_path


@pytest.fixture
def stays(folder: Path) -> dict[int, Stay]:
    return {stay.stay: stay for stay in load_stays(folder)}


def test_the_cohort_is_alive_in_hospital_at_24_hours_with_a_known_end(stays: dict[int, Stay]) -> None:
    assert sorted(stays) == [1, 3]  # 2 left before 24 h, 4 has no known end
    assert stays[1].death
    assert not stays[3].death
    assert stays[1].apache_iva == 0.41
    assert stays[3].apache_iva != stays[3].apache_iva  # -1 means none


def test_nothing_at_or_after_24_hours_reaches_the_facts(stays: dict[int, Stay]) -> None:
    for stay in stays.values():
        for fact in stay.facts:
            if isinstance(fact, Observation | Document):
                assert fact.time < AS_OF
    assert "brain death" not in " ".join(note.text for note in stays[1].notes)


def test_what_was_entered_after_24_hours_is_not_known_before(stays: dict[int, Stay]) -> None:
    rates = [f.value for f in stays[1].facts if isinstance(f, Observation) and f.code.code == "9279-1"]
    assert 33 not in rates
    assert 22 in rates


def test_a_course_is_worse_the_nearer_a_stay_came_to_death(folder: Path, stays: dict[int, Stay]) -> None:
    assert (stays[1].course, stays[3].course) == (1.0, NOT_HOME)
    for end, course in ((TABLES["patient"].replace("Rehabilitation", "Home"), 0.0), (_unlocated(), 0.0)):
        (folder / "patient.csv.gz").write_bytes(gzip.compress(end.encode()))
        assert {stay.stay: stay.course for stay in load_stays(folder)} == {1: 1.0, 3: course}


def _unlocated() -> str:
    """The table without where they went, which evaluation does not need."""
    return "".join(line.rpartition(",")[0] + "\n" for line in TABLES["patient"].splitlines())


def test_no_outcome_column_is_ever_read(folder: Path, stays: dict[int, Stay]) -> None:
    table = read_cut(folder, "apachePredVar", pd.Index([1]))
    assert not OUTCOME_COLUMNS & set(table.columns)
    told = " ".join(note.text for note in stays[1].notes).lower()
    assert "died" not in told
    assert "discharge" not in told
    assert "metastaticcancer" in told  # chronic health is told


def test_changing_the_outcome_changes_no_fact(folder: Path, stays: dict[int, Stay]) -> None:
    for name, old, new in (("patient", "Expired", "Alive"), ("apachePredVar", "1,1,1,9", "1,1,0,1")):
        text = TABLES[name].replace(old, new)
        (folder / f"{name}.csv.gz").write_bytes(gzip.compress(text.encode()))
    again = {stay.stay: stay for stay in load_stays(folder)}
    assert not again[1].death
    assert again[1].facts == stays[1].facts


def test_what_a_published_score_expects_is_learnt_from_and_no_fact(folder: Path) -> None:
    header, *rows = TABLES["patient"].splitlines()
    patients = "\n".join([f"unitadmitsource,{header}", *(f"Floor,{row}" for row in rows)])
    (folder / "patient.csv.gz").write_bytes(gzip.compress(patients.encode()))
    expected, facts = {}, []
    for risk in ("0.41", "0.9"):
        text = TABLES["apachePatientResult"].replace("0.41", risk)
        (folder / "apachePatientResult.csv.gz").write_bytes(gzip.compress(text.encode()))
        again = {stay.stay: stay for stay in load_stays(folder)}
        assert again[1].apache_iva == float(risk)
        facts.append(again[1].facts)
        expected[risk], none = read_targets(folder, pd.Index([1, 3]))[EXPECTED]
        assert isnan(none)
    assert expected["0.41"] == pytest.approx(log(0.41 / 0.59))
    assert expected["0.9"] == pytest.approx(log(9))
    assert facts[0] == facts[1]


def test_values_are_in_canonical_units_and_slips_are_left_out(stays: dict[int, Stay]) -> None:
    values: dict[str, list[float]] = {}
    for fact in stays[1].facts:
        if isinstance(fact, Observation):
            values.setdefault(fact.code.code, []).append(float(fact.value or 0))
    assert sorted(values["3150-6"]) == [0.4, 0.5]  # '40%' and 0.5
    assert sorted(values["8480-6"]) == [85, 90]  # 9000 is a slip
    assert values["9269-2"] == [13, 13]  # charted together, and APACHE's
    assert 118 in values["8867-4"]


def test_age_survives_as_completed_years(stays: dict[int, Stay]) -> None:
    from services.domain.features import model_inputs

    assert model_inputs(stays[1].record(), AS_OF_MS).arrays["static"][0] == 90
    assert model_inputs(stays[3].record(), AS_OF_MS).arrays["static"][0] == 61


def test_every_code_is_one_that_the_models_read() -> None:
    known = {variable.loinc for variable in MODEL_VARIABLES}
    tables = (observations.VITALS, observations.CHARTED, observations.EXAMINED, observations.APS)
    assert {loinc for table in tables for loinc in table.values()} | {observations.VENTILATED} <= known


@pytest.mark.data
def test_the_real_tables_give_the_whole_cohort() -> None:
    import pandas as pd

    from training.eicu.cohort import read_cohort

    folder = shared("data/eicu")
    cohort = read_cohort(folder)
    patient = pd.read_csv(folder / "patient.csv.gz")
    assert len(cohort) == ((patient.hospitaldischargeoffset >= 1440) & patient.hospitaldischargestatus.notna()).sum()
    assert 0.05 < cohort["death"].mean() < 0.10
