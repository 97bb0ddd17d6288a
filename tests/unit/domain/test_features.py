"""What the feature code promises."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.domain.codes import BY_LOINC
from services.domain.events import ClinicalEvent, Code, Embedding, Encounter, Observation, Patient, Rank, Version
from services.domain.features import ARRAYS, ModelInputs, inputs_at, inputs_of_many, model_inputs
from services.domain.features.derived import DERIVED
from services.domain.features.inputs import NOTE_SIZE
from services.domain.features.series import HOUR_MS, STATISTIC
from services.domain.features.static import STATIC, unit_kind
from services.domain.features.variables import INDEX, MODEL_VARIABLES
from services.domain.record import LOINC, PatientRecord, fold

START = datetime(2026, 3, 1, tzinfo=UTC)
FINAL = Version()
START_MS = round(START.timestamp() * 1000)


def at(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def ms(hours: float) -> int:
    return START_MS + round(hours * HOUR_MS)


def result(hours: float, name: str, value: float | str, version: Version = FINAL, tag: str = "") -> Observation:
    variable = MODEL_VARIABLES[INDEX[name]]
    return Observation(
        id=f"{name}{hours}{tag}",
        version=version,
        code=Code(LOINC, variable.loinc),
        time=at(hours),
        value=value,
        unit=variable.unit,
    )


def record(*facts: object) -> PatientRecord:
    made = PatientRecord(patient="p")
    event = ClinicalEvent(event_id="e", patient="p", format="wardstream", type="t", occurred=START, facts=list(facts))  # type: ignore[arg-type]
    fold(made, event)
    return made


def stat(inputs: ModelInputs, name: str, statistic: str) -> float:
    return float(inputs.arrays["series"][INDEX[name], STATISTIC[statistic]])


def test_the_models_variables_are_read_under_their_canonical_code_and_unit() -> None:
    for variable in MODEL_VARIABLES:
        if variable.name != "ventilated":  # a ventilator mode is no measurement: no bounds to hold it to
            assert BY_LOINC[variable.loinc].unit == variable.unit


def test_the_statistics_are_what_their_names_say() -> None:
    inputs = model_inputs(
        record(*(result(h, "heart_rate", v) for h, v in ((0, 60), (5, 70), (8, 90), (9, 100), (10, 80)))), ms(10)
    )
    found = {name: stat(inputs, "heart_rate", name) for name in STATISTIC}
    assert found["value"] == 80
    assert found["hours_since"] == 0
    assert found["delta"] == -20
    assert found["change_6h"] == 20  # to 60, the last that was 6 h old or older
    assert (found["min_6h"], found["max_6h"], found["mean_6h"]) == (70, 100, 85)
    assert (found["min_24h"], found["max_24h"], found["mean_24h"]) == (60, 100, 80)
    assert found["from_mean_72h"] == 0
    assert found["sd_24h"] == pytest.approx(np.std([60, 70, 90, 100, 80]))
    assert found["slope_12h"] == pytest.approx(np.polyfit([0, 5, 8, 9, 10], [60, 70, 90, 100, 80], 1)[0])
    assert (found["hours_with_6h"], found["hours_with_24h"]) == (4, 5)


def test_a_monitor_that_sends_every_minute_counts_like_one_that_is_charted_by_the_hour() -> None:
    by_minute = model_inputs(record(*(result(m / 60, "spo2", 97) for m in range(1, 601))), ms(10))
    by_hour = model_inputs(record(*(result(h, "spo2", 97) for h in range(1, 11))), ms(10))
    for name in ("hours_with_6h", "hours_with_24h", "value", "mean_24h"):
        assert stat(by_minute, "spo2", name) == stat(by_hour, "spo2", name)


def test_nothing_that_happens_later_changes_the_inputs() -> None:
    facts = [result(h, name, 50.0 + h) for h in range(20) for name in ("heart_rate", "sbp", "lactate")]
    note = Embedding(
        id="n",
        version=Version(),
        of="d",
        modality="note",
        time=at(12),
        model="m",
        model_version="1",
        vector=[1.0] * NOTE_SIZE,
    )
    early = [f for f in facts if f.time <= at(10)]
    assert model_inputs(record(*facts, note), ms(10)).sha256 == model_inputs(record(*early), ms(10)).sha256


def test_withdrawn_and_textual_results_are_not_read() -> None:
    gone = result(1, "heart_rate", 200, Version(rank=Rank.CANCELLED))
    text = result(2, "heart_rate", "see comment")
    inputs = model_inputs(record(result(0, "heart_rate", 80), gone, text), ms(3))
    assert stat(inputs, "heart_rate", "value") == 80
    assert inputs.n_observations == 1


def test_an_empty_record_gives_inputs_that_say_that_nothing_is_known() -> None:
    inputs = model_inputs(PatientRecord(patient="p"), ms(0))
    assert {n: a.shape for n, a in inputs.arrays.items()} == ARRAYS
    assert all(a.dtype == np.float32 for a in inputs.arrays.values())
    assert not inputs.arrays["presence"].any()
    assert np.isnan(inputs.arrays["series"][:, 0]).all()
    assert inputs.observed("heart_rate") == (None, None)


def test_notes_are_averaged_over_one_encoder_version_and_carry_their_age() -> None:
    def note(hours: float, value: float, version: str) -> Embedding:
        vector = [value] * NOTE_SIZE
        name = f"{hours}{version}"
        return Embedding(
            id=name,
            version=Version(),
            of=name,
            modality="note",
            time=at(hours),
            model="m",
            model_version=version,
            vector=vector,
        )

    inputs = model_inputs(record(note(1, 9, "1"), note(2, 1, "2"), note(3, 3, "2"), note(9, 100, "2")), ms(4))
    assert inputs.arrays["note"].tolist() == [2.0] * NOTE_SIZE
    state = next(s for s in inputs.modalities if s.name == "note")
    assert (state.present, state.count, state.age_hours, state.stale) == (True, 2, 1.0, False)


def test_static_data_come_from_the_open_encounter() -> None:
    facts = [
        Patient(id="p", version=Version(), birth_date="1960-03-02", sex="female"),
        Encounter(id="e", version=Version(), start=at(-10), unit_since=at(0), unit="MICU-3"),
    ]
    values = dict(zip(STATIC, model_inputs(record(*facts), ms(6)).arrays["static"].tolist(), strict=True))
    assert values["age_years"] == 65  # completed years
    assert values["male"] == 0
    assert (values["hours_in_unit"], values["hours_in_hospital"], values["hours_before_unit"]) == (6, 16, 10)
    assert (values["unit_medical"], values["unit_surgical"], values["unit_known"]) == (1, 0, 1)


@pytest.mark.parametrize(
    ("ward", "kind"),
    [
        ("CSRU", "unit_cardiac_surgery"),
        ("Neuro ICU", "unit_surgical"),
        ("ICU", ""),
        (None, ""),
        ("MICU", "unit_medical"),
    ],
)
def test_wards_are_known_by_their_names(ward: str | None, kind: str) -> None:
    assert unit_kind(ward) == kind


def test_derived_values_follow_their_sources() -> None:
    values = {
        "heart_rate": 120, "sbp": 80, "dbp": 50, "temperature": 39.2, "resp_rate": 26, "spo2": 91,
        "fio2": 0.5, "pao2": 70, "platelets": 40, "bilirubin_total": 7, "gcs": 9, "creatinine": 2.1, "bun": 42,
        "wbc": 15,
    }  # fmt: skip
    inputs = model_inputs(record(*(result(0, n, float(v)) for n, v in values.items())), ms(0))
    found = dict(zip(DERIVED, inputs.arrays["derived"].tolist(), strict=True))
    assert found["shock_index"] == pytest.approx(1.5)
    assert (found["pf_ratio"], found["sf_ratio"], found["bun_creatinine"]) == (140, 182, 20)
    # SOFA: 140 -> 3, 40 -> 3, 7 -> 3, MAP 60 -> 1, GCS 9 -> 3, 2.1 -> 2
    assert (found["sofa_partial"], found["sofa_known"]) == (15, 6)
    assert (found["qsofa_partial"], found["sirs"]) == (3, 4)
    assert found["news2_partial"] == 3 + 3 + 3 + 2 + 2


def test_acute_physiology_points_are_those_of_the_worst_value_of_the_last_day() -> None:
    """APACHE III's tables (Knaus et al., Chest 1991); a day's urine is not known before a day has passed."""
    facts = [
        Encounter(id="e", version=Version(), start=at(0), unit_since=at(0), unit="MICU"),
        *(result(0, "heart_rate", 160.0), result(20, "heart_rate", 105.0), result(30, "heart_rate", 80.0)),
        *(result(12, "map", 65.0), result(30, "map", 110.0), result(30, "resp_rate", 10.0)),
        *(result(30, "ph", 7.25), result(30, "paco2", 55.0), result(30, "gcs", 3.0), result(30, "creatinine", 2.5)),
        *(result(hour, "urine_output", 10.0, tag=str(hour)) for hour in range(25)),
    ]

    def found(hours: float) -> dict[str, float]:
        values = model_inputs(record(*facts), ms(hours)).arrays["derived"].tolist()
        return {n: v for n, v in zip(DERIVED, values, strict=True) if n.startswith(("aps_", "urine")) and v == v}

    assert found(23) == {"aps_heart_rate": 17, "aps_map": 7, "aps_partial": 24}
    parts = {
        **{"aps_heart_rate": 1, "aps_map": 7, "aps_respiration": 8, "aps_acid_base": 2, "aps_coma": 48},
        **{"aps_urine": 15, "aps_renal": 10},  # less than 410 mL a day: acute renal failure
    }
    assert found(30) == {"urine_24h": 180, **parts, "aps_partial": sum(parts.values())}


names = st.sampled_from([v.name for v in MODEL_VARIABLES])
moments = st.one_of(st.integers(-200, 60).map(float), st.floats(-200, 60, allow_nan=False))
results = st.lists(
    st.tuples(moments, names, st.floats(0, 500, width=32), st.integers(0, 3), st.sampled_from([3, 3, 3, 5])),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(results, st.lists(moments, min_size=1, max_size=6))
def test_inputs_at_many_moments_are_bit_for_bit_those_at_each(
    rows: list[tuple[float, str, float, int, int]], decisions: list[float]
) -> None:
    made = record(*(result(h, n, v, Version(rank=rank), str(tag)) for h, n, v, tag, rank in rows))
    at = [ms(hours) for hours in decisions]
    same([model_inputs(made, moment) for moment in at], inputs_at(made, at))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(results, moments), max_size=5))
def test_inputs_of_many_records_are_bit_for_bit_those_of_each(
    asked: list[tuple[list[tuple[float, str, float, int, int]], float]],
) -> None:
    records = [
        (record(*(result(h, n, v, Version(rank=rank), str(tag)) for h, n, v, tag, rank in rows)), ms(hours))
        for rows, hours in asked
    ]
    same([model_inputs(*one) for one in records], inputs_of_many(records))


def same(some: list[ModelInputs], others: list[ModelInputs]) -> None:
    for one, other in zip(some, others, strict=True):
        assert one.sha256 == other.sha256
        assert (one.n_observations, one.modalities) == (other.n_observations, other.modalities)


@settings(max_examples=80, deadline=None)
@given(results, st.randoms())
def test_the_order_and_the_identities_of_results_do_not_matter(
    rows: list[tuple[float, str, float, int, int]], random: object
) -> None:
    facts = [result(h, n, v, tag=f"a{i}") for i, (h, n, v, _, _) in enumerate(rows)]
    other = [result(h, n, v, tag=f"b{-i}") for i, (h, n, v, _, _) in enumerate(rows)]
    random.shuffle(other)  # type: ignore[attr-defined]
    assert model_inputs(record(*facts), ms(60)).sha256 == model_inputs(record(*other), ms(60)).sha256


@settings(max_examples=80, deadline=None)
@given(results)
def test_whatever_the_record_holds_the_known_inputs_are_finite(rows: list[tuple[float, str, float, int, int]]) -> None:
    inputs = model_inputs(record(*(result(h, n, v, tag=str(t)) for h, n, v, t, _ in rows)), ms(60))
    for name, array in inputs.arrays.items():
        assert array.shape == ARRAYS[name]
        assert not np.isinf(array).any()
