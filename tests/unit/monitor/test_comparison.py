import random
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.bus.messages import Message
from services.bus.topics import CLINICAL_EVENTS, RISK_PREDICTIONS, RISK_SHADOW
from services.domain.events import ClinicalEvent, Encounter, EncounterStatus, Version, encode_event
from services.domain.prediction import Outcome, Prediction, Risk, Status
from services.monitor.collector import Collector
from services.monitor.comparison import CHALLENGER, CHAMPION, Comparison
from tests.unit.strategies import T0


def prediction(n, probability, shadow=False, patient="p", alert=None, status=Status.SCORED):
    risk = Risk(
        outcome=Outcome.MORTALITY,
        status=status,
        probability=probability if status is Status.SCORED else None,
        alert=probability >= 0.5 if alert is None else alert,
    )
    return Prediction(
        prediction_id=f"{n}-{shadow}",
        patient=patient,
        record_version=f"v{n}",
        as_of=T0 + timedelta(minutes=n),
        model="risk_fusion",
        model_version="2" if shadow else "1",
        risks=[risk],
        shadow=shadow,
    )


def compared(*predictions):
    comparison = Comparison()
    for one in predictions:
        comparison.note_prediction(one)
    return comparison


def agreement(comparison):
    ((against, found),) = comparison.agreement()
    assert against == ("risk_fusion:1", "risk_fusion:2", Outcome.MORTALITY)
    return found


def test_the_two_models_are_compared_on_the_records_that_both_scored():
    found = agreement(
        compared(
            prediction(1, 0.6),
            prediction(1, 0.4, shadow=True),
            prediction(2, 0.1),
            prediction(2, 0.3, shadow=True),
            prediction(3, 0.9),  # the challenger has not come to it
            prediction(4, 0.9, shadow=True),  # the champion has not
            prediction(5, 0.9),
            prediction(5, 0.9, shadow=True, status=Status.INDETERMINATE),
        )
    )
    assert (found.pairs, found.alert_agreement) == (2, 0.5)
    assert found.mean_difference == pytest.approx(0.2)
    assert found.correlation is None, "two pairs have none"


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=30), st.randoms())
def test_order_and_repeats_of_the_two_streams_do_not_matter(pairs, shuffled):
    both = [
        prediction(n, p, shadow) for n, pair in enumerate(pairs) for p, shadow in zip(pair, (False, True), strict=True)
    ]
    mixed = both + shuffled.sample(both, len(both) // 2)
    shuffled.shuffle(mixed)
    one, other = agreement(compared(*both)), agreement(compared(*mixed))
    assert other.pairs == one.pairs == len(pairs)
    assert other.alert_agreement == pytest.approx(one.alert_agreement)
    assert other.mean_difference == pytest.approx(one.mean_difference)


def test_a_challenger_that_says_the_same_correlates_fully_and_one_that_says_the_opposite_not_at_all():
    values = [n / 40 for n in range(40)]
    same = [p for n, v in enumerate(values) for p in (prediction(n, v), prediction(n, v, shadow=True))]
    against = [p for n, v in enumerate(values) for p in (prediction(n, v), prediction(n, 1 - v, shadow=True))]
    assert agreement(compared(*same)).correlation == pytest.approx(1)
    assert agreement(compared(*same)).mean_difference == 0
    assert agreement(compared(*against)).correlation == pytest.approx(-1)


def test_what_waits_for_its_other_half_is_bounded():
    comparison = Comparison(max_waiting=10)
    for n in range(100):
        comparison.note_prediction(prediction(n, 0.5))
    assert len(comparison._waiting) == 10
    comparison.note_prediction(prediction(99, 0.5, shadow=True))
    comparison.note_prediction(prediction(0, 0.5, shadow=True))
    assert agreement(comparison).pairs == 1


def test_once_outcomes_are_known_both_sides_are_judged_on_the_same_predictions():
    comparison, rng = Comparison(), random.Random(1)
    for n in range(60):
        died = n % 2 == 0
        for shadow in (False, True):  # the challenger knows, the champion guesses
            p = (0.8 if died else 0.2) + rng.uniform(-0.1, 0.1) if shadow else rng.uniform(0.3, 0.7)
            comparison.note_prediction(prediction(n, p, shadow, patient=f"p{n}"))
        fact = Encounter(
            id="v", version=Version(), status=EncounterStatus.FINISHED, disposition="expired" if died else "home"
        )
        event = ClinicalEvent(event_id="e", patient=f"p{n}", format="hl7v2", type="ADT^A03", occurred=T0, facts=[fact])
        for stays in comparison.stays():
            stays.note_event(event)
    comparison.note_prediction(prediction(999, 0.0, patient="p0"))  # the champion's alone: counts for neither
    found = {side: figures for _, side, figures in comparison.performance()}
    assert found[CHAMPION].labelled == found[CHALLENGER].labelled == 60
    assert found[CHALLENGER].auroc == 1
    assert found[CHAMPION].auroc < 0.8
    assert found[CHALLENGER].brier < found[CHAMPION].brier
    assert found[CHAMPION].slope is not None


def test_the_monitor_tells_the_figures_of_both_topics_and_keeps_the_challenger_out_of_the_champion_s():
    monitor = Collector({}, {})
    monitor.figures(0, {})

    def take(topic, value):
        monitor.take(Message(topic.name, 0, 0, b"p", value, {}, 0))

    for n in range(3):
        take(RISK_PREDICTIONS, msgspec.json.encode(prediction(n, 0.2)))
        take(RISK_SHADOW, msgspec.json.encode(prediction(n, 0.7, shadow=True)))
    ended = Encounter(id="v", version=Version(), status=EncounterStatus.FINISHED, disposition="home")
    take(
        CLINICAL_EVENTS,
        encode_event(
            ClinicalEvent(event_id="e", patient="p", format="hl7v2", type="ADT^A03", occurred=T0, facts=[ended])
        ),
    )
    seen = {
        (f.name.removeprefix("wardstream_monitor_"), *sorted(f.labels.items())): f.value for f in monitor.figures(1, {})
    }
    pairing = [("challenger", "risk_fusion:2"), ("champion", "risk_fusion:1"), ("outcome", "mortality")]
    assert seen["shadow_pairs", *pairing] == 3
    assert seen["shadow_alert_agreement", *pairing] == 0
    assert seen["shadow_mean_difference", *pairing] == pytest.approx(0.5)
    assert seen["shadow_labelled", *pairing] == 3
    assert seen["shadow_brier", *pairing, ("side", "champion")] == pytest.approx(0.04)
    assert seen["shadow_brier", *pairing, ("side", "challenger")] == pytest.approx(0.49)
    assert seen["alert_share", ("model", "risk_fusion"), ("outcome", "mortality")] == 0, "the champion's alone"
    assert seen["labelled_predictions", ("model", "risk_fusion"), ("outcome", "mortality")] == 3
    states = {dict(name[1:])["state"]: value for name, value in seen.items() if name[0] == "predictions"}
    assert states == {"scored": 3, "shadow scored": 3}
