"""What the model should not judge is told by the manifest's gate."""

import msgspec
import pytest

from services.domain.features import model_inputs
from services.domain.prediction import IndeterminateReason, Outcome
from services.inference.manifest import Gate, OutcomeSpec
from services.score import gate
from tests.unit.score.records import WELL, record

HOUR = 3_600_000


def inputs(later_hours: float = 0, **options):
    made = record(**options)
    return model_inputs(made, made.as_of + round(later_hours * HOUR))


def test_too_few_variables_or_only_stale_ones_are_too_little_data():
    needs = Gate(min_variables=5, max_age_hours=12)
    assert gate.before(inputs(), needs) is None
    assert gate.before(inputs(values={"hr": 70.0, "rr": 16.0}), needs) == IndeterminateReason.TOO_LITTLE_DATA
    assert gate.before(inputs(later_hours=12), needs) is None
    assert gate.before(inputs(later_hours=12.01), needs) == IndeterminateReason.TOO_LITTLE_DATA


def test_children_are_out_of_distribution_of_a_model_trained_on_adults():
    adults = Gate(min_age_years=18)
    assert gate.before(inputs(age=60), adults) is None
    assert gate.before(inputs(age=9), adults) == IndeterminateReason.OUT_OF_DISTRIBUTION


@pytest.mark.parametrize(("rate", "pressure", "expected"), [(70, 120, None), (300, 120, None), (300, 400, "ood")])
def test_more_values_outside_the_training_range_than_allowed_are_out_of_distribution(rate, pressure, expected):
    limits = Gate(ranges={"heart_rate": (20, 220), "sbp": (40, 280)}, max_outside=1)
    found = gate.before(inputs(values={**WELL, "hr": float(rate), "sbp": float(pressure)}), limits)
    assert found == (IndeterminateReason.OUT_OF_DISTRIBUTION if expected else None)


def test_an_empty_gate_lets_everything_through():
    assert gate.before(inputs(values={}), Gate()) is None


@pytest.mark.parametrize(("probability", "held"), [(0.1, False), (0.2, False), (0.3, True), (0.6, False), (0.9, False)])
def test_inside_the_conformal_band_there_is_no_answer(probability, held):
    spec = OutcomeSpec(name=Outcome.MORTALITY, indeterminate=(0.2, 0.6))
    assert (gate.after(probability, spec) == IndeterminateReason.LOW_CONFIDENCE) == held
    assert gate.after(probability, msgspec.structs.replace(spec, indeterminate=None)) is None
