"""Senders' codes reach LOINC."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain import codes
from services.domain.code_tables import EQUIVALENT, LOCAL_NAMES, MDC, SYSTEM_URIS
from services.domain.events import Code
from services.domain.site import Site
from services.domain.ucum import parse
from tests.support import shared

SITE = Site(secret=b"test")


def loinc(system: str, code: str, display: str = "", site: Site = SITE) -> str:
    found = codes.to_loinc(Code(system, code, display), (), site)
    return found.code if found.system == codes.LOINC else ""


def luhn(code: str) -> bool:
    """LOINC's check digit (mod 10)."""
    body, check = code.split("-")
    total = 0
    for n, digit in enumerate(reversed(body)):
        value = int(digit) * (2 if n % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return (10 - total % 10) % 10 == int(check)


def test_every_loinc_code_in_the_tables_has_its_right_check_digit():
    every = {v.loinc for v in codes.VARIABLES} | set(EQUIVALENT) | set(EQUIVALENT.values())
    every |= set(LOCAL_NAMES.values()) | set(MDC.values())
    every.discard("3150-6")  # the one whose published check digit does not follow the rule (US Core pulse oximetry)
    assert not [code for code in every if not luhn(code)]


def test_the_variables_are_named_once_and_in_units_that_we_read():
    assert len(codes.BY_LOINC) == len(codes.BY_NAME) == len(codes.VARIABLES)
    for variable in codes.VARIABLES:
        assert parse(variable.unit)
        assert variable.low < variable.high


def test_the_variables_of_the_sepsis_challenge_are_all_there():
    names = (
        "HR O2Sat Temp SBP MAP DBP Resp EtCO2 BaseExcess HCO3 FiO2 pH PaCO2 SaO2 AST BUN Alkalinephos Calcium Chloride "
        "Creatinine Bilirubin_direct Glucose Lactate Magnesium Phosphate Potassium Bilirubin_total TroponinI Hct Hgb "
        "PTT WBC Fibrinogen Platelets"
    )
    assert [v.name for v in codes.VARIABLES][:34] == names.split()


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("HR", 20, 300),
        ("Temp", 13.7, 46.5),
        ("pH", 6.7, 7.8),
        ("GCS", 3, 15),
        ("PaCO2", 10, 501),
        ("Glucose", 10, 2656),
        ("O2Sat", 20, 100),
        ("FiO2", 0.21, 1),
        ("Weight", 0.212, 635),
        ("Creatinine", 0.1, 73.8),
        ("SBP", 0, 375),
        ("Potassium", 1.3, 22.9),
        ("Sodium", 98, 177),
        ("WBC", 0.1, 1000),
        ("Hct", 9, 70),
        ("Lactate", 0.3, 33),
    ],
)
def test_bounds_admit_what_has_been_measured_in_living_patients(name: str, low: float, high: float):
    variable = codes.BY_NAME[name]
    assert variable.low <= low < high <= variable.high


def test_no_equivalent_code_is_canonical_itself_or_leads_to_another_equivalent():
    assert not set(EQUIVALENT) & set(codes.BY_LOINC)
    assert not set(EQUIVALENT) & set(EQUIVALENT.values())


@pytest.mark.parametrize(
    ("system", "code", "display", "expected"),
    [
        ("http://loinc.org", "2947-0", "Sodium", "2951-2"),
        ("LN", "14682-9", "", "2160-0"),
        ("urn:oid:2.16.840.1.113883.6.1", "8331-1", "", "8310-5"),
        ("WinPath", "tt-0003-01", "Creatinine", "2160-0"),
        ("WinPath", "tt-0003-04", "Urea", "3094-0"),
        ("L", "HR", "", "8867-4"),
        ("", "UREA", "", "3094-0"),
        ("L", "x1", "C-Reactive Protein", "1988-5"),
        ("L", "x1", "K+", "2823-3"),
        ("MDC", "tt-0005-07", "MDC_PULS_RATE_NON_INV", "8867-4"),
        ("urn:iso:std:iso:11073:10101", "150456", "", "59408-5"),
        ("SCT", "271649006", "Systolic blood pressure", "8480-6"),
        ("LN", "76215-3", "", "8480-6"),
        ("LN", "12345-5", "Something else", "12345-5"),
    ],
)
def test_a_code_in_any_senders_words_reaches_its_loinc(system: str, code: str, display: str, expected: str):
    assert loinc(system, code, display) == expected


@pytest.mark.parametrize(
    ("system", "code", "display"),
    [
        ("http://www.nlm.nih.gov/research/umls/rxnorm", "4850", "Glucose"),  # a drug, not a blood sugar
        ("http://snomed.info/sct", "67079006", "Glucose"),
        ("L", "ABC", "Urine glucose"),
        ("LN", "not-loinc", "zzz"),
    ],
)
def test_what_is_not_known_keeps_its_own_code(system: str, code: str, display: str):
    found = codes.to_loinc(Code(system, code, display), (), SITE)
    assert (found.system, found.code) == (codes.system_uri(system), code)


def test_the_sites_own_alias_wins_over_the_built_in_table():
    site = Site(secret=b"test", code_aliases={"WinPath|CREA": "14682-9", "GLU2": "2339-0"})
    assert loinc("WinPath", "CREA", "Potassium", site) == "2160-0"
    assert loinc("anything", "GLU2", "", site) == "2345-7"
    assert loinc("L", "HR", "", site) == "8867-4"


def test_an_alternative_in_loinc_wins_over_a_local_first_coding():
    local, standard = Code("L", "77", "whatever"), Code("LN", "2160-0", "Creat")
    assert codes.to_loinc(local, (standard,), SITE).code == "2160-0"


def test_the_pulse_oximeters_code_wins_in_the_fhir_oxygen_saturation_profile():
    pair = (Code(codes.LOINC, "2708-6"), Code(codes.LOINC, "59408-5"))
    assert codes.to_loinc(pair[0], pair[1:], SITE) == codes.to_loinc(pair[1], pair[:1], SITE)
    assert codes.to_loinc(pair[0], pair[1:], SITE).code == "59408-5"
    assert codes.to_loinc(pair[0], (), SITE).code == "2708-6"


def test_zero_width_characters_in_a_display_do_not_make_another_code():
    assert codes.to_loinc(Code("LN", "786-4", "[Mass/​volume]"), (), SITE) == Code(codes.LOINC, "786-4", "[Mass/volume]")


def test_system_names_are_looked_up_whatever_their_case():
    assert codes.system_uri("ln") == codes.system_uri("LN") == codes.system_uri(codes.LOINC) == codes.LOINC
    assert codes.system_uri("WinPath") == "WinPath"
    assert all(key == key.casefold() for key in SYSTEM_URIS)


@given(st.builds(Code, st.text(max_size=20), st.text(max_size=20), st.text(max_size=20)))
def test_any_code_has_an_answer_and_the_answer_is_stable(code: Code):
    once = codes.to_loinc(code, (), SITE)
    assert codes.to_loinc(once, (), SITE) == once


@pytest.mark.corpus
def test_every_numeric_result_of_simhospital_reaches_a_loinc_code():
    text = shared("corpus/simhospital/messages.out").read_text(errors="replace")
    numeric = set(re.findall(r"^OBX\|\d+\|NM\|([^|]*)\|", text, re.MULTILINE))
    assert len(numeric) > 30
    for field in numeric:
        code, display, system = field.split("^")[:3]
        assert loinc(system, code, display), field
