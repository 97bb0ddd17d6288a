"""NEWS2 against the Royal College of Physicians' chart (2017), every boundary of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain import news2 as n
from services.domain.codes import BY_LOINC
from services.domain.events import Version
from services.domain.record import PatientRecord, Row, Series

NOW = 1_700_000_000_000
HOUR = 3_600_000

# Each row of RCP chart 1: (lowest value, highest value, points) for each band; the edges of both sides are tested.
RESPIRATION = [(1, 8, 3), (9, 11, 1), (12, 20, 0), (21, 24, 2), (25, 70, 3)]
SATURATION = [(50, 91, 3), (92, 93, 2), (94, 95, 1), (96, 100, 0)]
SATURATION_2_AIR = [(50, 83, 3), (84, 85, 2), (86, 87, 1), (88, 92, 0), (93, 100, 0)]
SATURATION_2_OXYGEN = [(50, 83, 3), (84, 85, 2), (86, 87, 1), (88, 92, 0), (93, 94, 1), (95, 96, 2), (97, 100, 3)]
PRESSURE = [(40, 90, 3), (91, 100, 2), (101, 110, 1), (111, 219, 0), (220, 300, 3)]
PULSE = [(20, 40, 3), (41, 50, 1), (51, 90, 0), (91, 110, 1), (111, 130, 2), (131, 220, 3)]
TEMPERATURE = [(30.0, 35.0, 3), (35.1, 36.0, 1), (36.1, 38.0, 0), (38.1, 39.0, 1), (39.1, 42.0, 2)]


@pytest.mark.parametrize(
    ("points_of", "chart"),
    [
        (n.respiration_points, RESPIRATION),
        (n.saturation_points, SATURATION),
        (lambda v: n.saturation_points_scale_2(v, False), SATURATION_2_AIR),
        (lambda v: n.saturation_points_scale_2(v, True), SATURATION_2_OXYGEN),
        (n.pressure_points, PRESSURE),
        (n.pulse_points, PULSE),
        (n.temperature_points, TEMPERATURE),
    ],
    ids=["respiration", "saturation", "scale 2 air", "scale 2 oxygen", "pressure", "pulse", "temperature"],
)
def test_every_band_of_the_chart_has_its_points_at_both_edges(points_of, chart):
    for low, high, points in chart:
        assert points_of(low) == points, (low, points)
        assert points_of(high) == points, (high, points)
        assert points_of((low + high) / 2) == points


def test_consciousness_and_oxygen_follow_the_chart():
    assert [n.consciousness_points(g) for g in (3, 14, 15)] == [3, 3, 0]
    assert (n.oxygen_points(False), n.oxygen_points(True)) == (0, 2)


@pytest.mark.parametrize(("value", "points"), [(38.04, 0), (38.05, 1), (35.04, 3), (35.05, 1), (39.05, 2)])
def test_temperature_is_scored_as_charted_to_a_tenth(value, points):
    assert n.temperature_points(value) == points


@pytest.mark.parametrize(("value", "points"), [(20.4, 0), (20.5, 2), (8.49, 3)])
def test_rates_are_scored_as_charted_in_whole_numbers(value, points):
    assert n.respiration_points(value) == points


def record(**values: float | tuple[float, int]) -> PatientRecord:
    """A record with one result for each parameter, at NOW or (value, time)."""
    codes = {
        "rr": n.RESPIRATION,
        "spo2": n.SATURATION,
        "sao2": n.SATURATION_ARTERIAL,
        "sbp": n.PRESSURE,
        "hr": n.PULSE,
        "temp": n.TEMPERATURE,
        "gcs": n.COMA_SCALE,
        "fio2": n.OXYGEN_FRACTION,
        "flow": n.OXYGEN_FLOW,
    }
    made = PatientRecord(patient="p")
    for name, given_value in values.items():
        value, time = given_value if isinstance(given_value, tuple) else (given_value, NOW)
        row = Row(time=time, value=value, id=name, version=Version())
        made.observations[codes[name]] = Series(unit="", rows=[row])
    return made


WELL = {"rr": 16, "spo2": 98, "sbp": 120, "hr": 70, "temp": 37.0, "gcs": 15, "fio2": 0.21}
WORST = {"rr": 30, "spo2": 80, "sbp": 70, "hr": 150, "temp": 34.0, "gcs": 8, "fio2": 0.6}


def test_a_well_patient_scores_nothing_and_the_sickest_twenty():
    assert n.news2(record(**WELL), NOW).total == 0
    assert n.news2(record(**WORST), NOW).total == 20
    assert n.news2(record(**WELL), NOW).complete


@pytest.mark.parametrize(
    ("changed", "total", "trigger"),
    [
        ({}, 0, n.Trigger.LOW),
        ({"hr": 95}, 1, n.Trigger.LOW),
        ({"gcs": 14}, 3, n.Trigger.LOW_MEDIUM),
        ({"hr": 115, "fio2": 0.4}, 4, n.Trigger.LOW),
        ({"hr": 115, "fio2": 0.4, "temp": 38.5}, 5, n.Trigger.MEDIUM),
        ({"hr": 115, "rr": 22, "fio2": 0.4}, 6, n.Trigger.MEDIUM),
        ({"hr": 115, "rr": 22, "fio2": 0.4, "temp": 38.5}, 7, n.Trigger.HIGH),
    ],
)
def test_the_triggers_are_those_of_chart_two(changed, total, trigger):
    score = n.news2(record(**{**WELL, **changed}), NOW)
    assert (score.total, score.trigger) == (total, trigger)


def test_what_is_missing_is_named_and_adds_nothing():
    score = n.news2(record(hr=135), NOW)
    assert score.total == 3
    assert set(score.missing) == {
        "respiration_rate",
        "oxygen_saturation",
        "supplemental_oxygen",
        "systolic_pressure",
        "consciousness",
        "temperature",
    }


def test_the_newer_of_fraction_and_flow_says_whether_oxygen_is_given():
    on = {"flow": (2.0, NOW), "fio2": (0.21, NOW - HOUR)}
    off = {"flow": (2.0, NOW - HOUR), "fio2": (0.21, NOW)}
    assert n.news2(record(**{**WELL, **on}), NOW).total == 2
    assert n.news2(record(**{**WELL, **off}), NOW).total == 0


def test_nothing_later_than_the_moment_and_nothing_stale_is_used():
    later = record(**{**WELL, "hr": (150, NOW + 1)})
    assert "pulse" in n.news2(later, NOW).missing
    stale = record(**{**WELL, "hr": (150, NOW - n.MAX_AGE_MS - 1)})
    assert "pulse" in n.news2(stale, NOW).missing
    assert n.news2(record(**{**WELL, "hr": (150, NOW - n.MAX_AGE_MS)}), NOW).total == 3


def test_an_arterial_saturation_stands_in_for_a_missing_oximetry():
    values = {k: v for k, v in WELL.items() if k != "spo2"} | {"sao2": 92}
    assert n.news2(record(**values), NOW).total == 2


def test_scale_two_is_used_when_a_clinician_set_it():
    assert n.news2(record(**{**WELL, "spo2": 90}), NOW).total == 3
    assert n.news2(record(**{**WELL, "spo2": 90}), NOW, scale_2=True).total == 0


@pytest.mark.parametrize(
    ("fraction", "supplied"), [(0.2, False), (0.21, False), (0.2149, False), (0.22, True), (1.0, True)]
)
def test_more_than_room_air_is_supplemental_oxygen(fraction, supplied):
    assert n.news2(record(**{**WELL, "fio2": fraction}), NOW).total == (2 if supplied else 0)


def test_the_units_are_the_records_canonical_ones():
    found = {loinc: BY_LOINC[loinc].unit for loinc in (n.RESPIRATION, n.PULSE, n.SATURATION, n.PRESSURE, n.TEMPERATURE)}
    assert list(found.values()) == ["/min", "/min", "%", "mm[Hg]", "Cel"]
    assert (BY_LOINC[n.OXYGEN_FRACTION].unit, BY_LOINC[n.COMA_SCALE].unit) == ("1", "{score}")


def test_a_result_in_a_unit_that_could_not_be_converted_is_not_scored():
    made = record(**WELL)
    made.observations[n.TEMPERATURE].rows[0].unit = "[degF]"
    assert n.news2(made, NOW).missing == ("temperature",)


values = st.one_of(st.none(), st.text(max_size=3), st.floats(allow_nan=True, allow_infinity=True))


@given(st.dictionaries(st.sampled_from(["rr", "spo2", "sbp", "hr", "temp", "gcs", "fio2", "flow"]), values))
def test_any_record_has_a_score_between_nothing_and_twenty(found):
    score = n.news2(record(**found), NOW)
    assert 0 <= score.total <= 20
    assert len(score.parts) == 7
