"""Values reach the canonical unit of their code, or a reason."""

import itertools
import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from services.domain import codes, units
from services.domain.reasons import FilterReason
from services.domain.site import Site
from services.domain.ucum import UcumError, parse
from services.domain.unit_tables import ALIASES, FOLDED, MOLAR_MASS, fold

SITE = Site(secret=b"test")
CREATININE, GLUCOSE, HEART_RATE, TEMPERATURE = "2160-0", "2345-7", "8867-4", "8310-5"


def value(loinc: str, number: float, unit: str) -> float | FilterReason:
    found = units.canonical(loinc, number, unit, SITE)
    return found if isinstance(found, FilterReason) else found.value


@pytest.mark.parametrize(
    ("loinc", "number", "unit", "expected"),
    [
        # Young & Huth 1998 / AMA Manual of Style conversion factors, as laboratories print them.
        (CREATININE, 88.4, "umol/L", 1.0),
        (CREATININE, 88.4, "UMOLL", 1.0),
        (CREATININE, 0.1, "mmol/L", 1.131),
        (CREATININE, 10, "mg/L", 1.0),
        (GLUCOSE, 5.55, "mmol/L", 100.0),
        ("3094-0", 10, "MMOLL", 28.01),
        ("1975-2", 17.1, "umol/L", 1.0),
        ("17861-6", 2.5, "mmol/L", 10.02),
        ("17861-6", 5.0, "mEq/L", 10.02),
        ("19123-9", 2.0, "meq/L", 2.43),
        ("2777-1", 1.0, "mmol/L", 3.097),
        ("2093-3", 5.17, "mmol/L", 200.0),
        ("2524-7", 18, "mg/dL", 2.0),
        ("718-7", 140, "g/L", 14.0),
        ("718-7", 8.7, "mmol/L", 14.02),
        ("1751-7", 40, "G/L", 4.0),
        ("2951-2", 140, "mEq/L", 140.0),
        ("6690-2", 7.5, "K/uL", 7.5),
        ("6690-2", 7.5, "x10*9/L", 7.5),
        ("6690-2", 7.5, "10^9/L", 7.5),
        ("6690-2", 7.5, "10E3/uL", 7.5),
        ("6690-2", 7.5, "G/L", 7.5),
        ("6690-2", 7500, "{cells}/uL", 7.5),
        ("777-3", 250, "giga.l-1", 250.0),
        ("1920-8", 1.0, "ukat/L", 60.0),
        ("1742-6", 35, "IU/L", 35.0),
        ("2019-8", 5.33, "kPa", 40.0),
        (TEMPERATURE, 98.6, "degF", 37.0),
        (TEMPERATURE, 37, "°C", 37.0),
        (TEMPERATURE, 310.15, "K", 37.0),
        (TEMPERATURE, 37, "MDC_DIM_DEGC", 37.0),
        (HEART_RATE, 72, "bpm", 72.0),
        (HEART_RATE, 72, "beats/min", 72.0),
        (HEART_RATE, 1.2, "Hz", 72.0),
        ("8480-6", 120, "mmHg", 120.0),
        ("3150-6", 0.28, "1", 0.28),
        ("3150-6", 28, "MDC_DIM_PERCENT", 0.28),
        ("4544-3", 0.45, "L/L", 45.0),
        ("2744-1", 7.4, "pH", 7.4),
        ("29463-7", 154.3, "lb", 69.99),
        ("29463-7", 3200, "g", 3.2),
        ("8302-2", 1.8, "m", 180.0),
        ("8302-2", 70, "in", 177.8),
        ("10839-9", 40, "ng/L", 0.04),
        ("10839-9", 40, "pg/mL", 0.04),
        ("9187-6", 0.5, "L", 500.0),
        ("9269-2", 15, "{score}", 15.0),
    ],
)
def test_a_value_in_a_senders_unit_becomes_the_canonical_value(loinc: str, number: float, unit: str, expected: float):
    assert value(loinc, number, unit) == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize(
    ("loinc", "number", "unit", "reason"),
    [
        (CREATININE, 1.0, "", FilterReason.UNKNOWN_UNIT),  # mg/dL or umol/L: the number does not tell
        (CREATININE, 1.0, "bananas", FilterReason.UNKNOWN_UNIT),
        (CREATININE, 1.0, "mm[Hg]", FilterReason.INCOMPATIBLE_UNIT),
        ("718-7", 120, "g/l-1", FilterReason.INCOMPATIBLE_UNIT),
        ("1925-7", 2.0, "mg/dL", FilterReason.INCOMPATIBLE_UNIT),  # no substance to weigh
        ("1920-8", 30, "mmol/L", FilterReason.INCOMPATIBLE_UNIT),
        (CREATININE, 88.4, "mg/dL", FilterReason.IMPLAUSIBLE_VALUE),
        (HEART_RATE, -3, "/min", FilterReason.IMPLAUSIBLE_VALUE),
        ("59408-5", 0.97, "%", FilterReason.IMPLAUSIBLE_VALUE),
        (TEMPERATURE, 98.6, "Cel", FilterReason.IMPLAUSIBLE_VALUE),
        (TEMPERATURE, 98.6, "K", FilterReason.IMPLAUSIBLE_VALUE),
        (HEART_RATE, math.nan, "/min", FilterReason.NOT_A_NUMBER),
        (HEART_RATE, math.inf, "", FilterReason.NOT_A_NUMBER),
        ("99999-9", math.inf, "mg/dL", FilterReason.NOT_A_NUMBER),
        ("99999-9", 1, "no such unit", FilterReason.UNKNOWN_UNIT),
        ("29463-7", 70, " ", FilterReason.UNKNOWN_UNIT),
    ],
)
def test_what_cannot_be_converted_has_its_reason(loinc: str, number: float, unit: str, reason: FilterReason):
    assert value(loinc, number, unit) is reason


@pytest.mark.parametrize(
    ("loinc", "number", "expected"),
    [
        (HEART_RATE, 72, 72),
        (TEMPERATURE, 37, 37),
        (TEMPERATURE, 98.6, 37),
        ("4544-3", 0.48, 48),
        ("4544-3", 48, 48),
        ("3150-6", 0.28, 0.28),
        ("3150-6", 28, 0.28),
        ("59408-5", 0.97, 97),
        ("2744-1", 7.4, 7.4),
        ("9269-2", 15, 15),
    ],
)
def test_a_missing_unit_is_read_where_only_one_can_be_meant(loinc: str, number: float, expected: float):
    assert value(loinc, number, "") == pytest.approx(expected)


def test_the_assumed_units_of_a_code_never_overlap():
    for variable in codes.VARIABLES:
        ranges = []
        for unit in variable.assumed:
            source, target = parse(unit)[0], parse(variable.unit)[0]
            low, high = (
                (bound * target.factor + target.offset - source.offset) / source.factor
                for bound in (units.Fraction(str(variable.low)), units.Fraction(str(variable.high)))
            )
            ranges.append((low, high))
        for (low, high), (other_low, other_high) in itertools.combinations(ranges, 2):
            assert high < other_low or other_high < low, variable.name


def test_a_code_without_a_canonical_unit_keeps_its_value_and_gets_a_ucum_unit():
    assert units.canonical("1988-5", 12, "mg/l", SITE) == units.Quantity(12.0, "mg/L")
    assert units.canonical("789-8", 4.5, "x10*12/L", SITE) == units.Quantity(4.5, "10*12/L")
    assert units.canonical("33914-3", 60, "MLMIN", SITE) == units.Quantity(60.0, "mL/min")
    assert units.canonical("72514-3", 3, "/10", SITE) == units.Quantity(3.0, "{score}")
    assert units.canonical("local", 3, "", SITE) == units.Quantity(3.0, "")


def test_an_integer_gives_the_same_bytes_as_a_float():
    found = units.canonical(HEART_RATE, 72, "/min", SITE)
    assert isinstance(found, units.Quantity)
    assert type(found.value) is float


def test_the_sites_own_unit_alias_wins():
    site = Site(secret=b"test", unit_aliases={"MG": "mg/dL", "umol/L": "mg/dL"})
    assert units.canonical(GLUCOSE, 100, "MG", site) == units.Quantity(100.0, "mg/dL")
    assert units.canonical(CREATININE, 1, "umol/L", site) == units.Quantity(1.0, "mg/dL")
    assert value(CREATININE, 88.4, "umol/L") == pytest.approx(1.0, rel=1e-3)


def test_every_alias_leads_to_a_unit_that_we_read():
    for target in {*ALIASES.values(), *FOLDED.values()}:
        assert parse(target)
    assert all(key == fold(key) for key in FOLDED)


def test_every_molar_mass_belongs_to_a_code_in_mass_or_moles():
    for loinc in set(MOLAR_MASS) & set(codes.BY_LOINC):
        assert {s for s, _ in parse(codes.BY_LOINC[loinc].unit)[0].dimensions} & {"g", "mol"}


@given(st.sampled_from(sorted(set(MOLAR_MASS) & set(codes.BY_LOINC))), st.floats(0.01, 30))
def test_mass_and_substance_are_there_and_back_the_same(loinc: str, number: float):
    mass = units.canonical(loinc, number, "mmol/L", SITE)
    assume(isinstance(mass, units.Quantity))
    assert isinstance(mass, units.Quantity)
    dimensions = {s for s, _ in parse(mass.unit)[0].dimensions}
    grams = mass.value if "g" in dimensions else mass.value * MOLAR_MASS[loinc] / 10
    per_dl = {"g/dL": 1000.0}.get(mass.unit, 1.0)
    assert grams * per_dl == pytest.approx(number * MOLAR_MASS[loinc] / 10, rel=1e-9, abs=1e-8)


@given(st.sampled_from(codes.VARIABLES), st.lists(st.floats(0, 1), min_size=2, max_size=2, unique=True), st.data())
def test_conversion_keeps_the_order_of_values(variable: codes.Variable, at: list[float], data: st.DataObject):
    others = {"mg/dL": ["mg/L", "g/L", "mmol/L", "umol/L"], "Cel": ["[degF]", "K"], "10*3/uL": ["/uL", "10*9/L"]}
    unit = data.draw(st.sampled_from([variable.unit, *others.get(variable.unit, [])]))
    if units.canonical(variable.loinc, 1, unit, SITE) is FilterReason.INCOMPATIBLE_UNIT:
        unit = variable.unit  # no molar mass for this code
    source, target = parse(unit)[0], parse(variable.unit)[0]
    mass = units.Fraction(str(MOLAR_MASS.get(variable.loinc, 1))) if source.dimensions != target.dimensions else 1
    low, high = (
        (units.Fraction(bound) * target.factor + target.offset - source.offset) / source.factor / mass
        for bound in (variable.low, variable.high)
    )
    first, second = (value(variable.loinc, float(low + (high - low) * units.Fraction(x)), unit) for x in sorted(at))
    if not isinstance(first, FilterReason) and not isinstance(second, FilterReason):
        assert first <= second
    else:  # rounding at the very ends alone
        assert min(at) < 1e-6 or max(at) > 1 - 1e-6


@given(st.sampled_from(codes.VARIABLES), st.floats(allow_nan=True), st.text(max_size=12))
def test_whatever_comes_out_is_possible_and_in_the_canonical_unit(variable: codes.Variable, number: float, unit: str):
    found = units.canonical(variable.loinc, number, unit, SITE)
    if isinstance(found, units.Quantity):
        assert found.unit == variable.unit
        assert variable.low <= found.value <= variable.high


@given(st.text(max_size=80))
def test_any_unit_text_is_read_or_refused_without_saying_what_it_was(text: str):
    try:
        unit, spelling = parse(text)
    except UcumError as error:
        said = str(error)
        leaked = len(text) > 3 and text in said
    else:
        leaked = parse(spelling)[0] != unit
    assert not leaked


@given(st.sampled_from(codes.VARIABLES), st.floats(0.01, 1000))
def test_a_canonical_value_converts_to_itself(variable: codes.Variable, number: float):
    assume(variable.low <= number <= variable.high)
    assert value(variable.loinc, number, variable.unit) == number
