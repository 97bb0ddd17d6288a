"""How the served trees' contributions are held to exact TreeSHAP."""

import numpy as np
import pytest

from tests.unit.training.support_fusion import table
from training.fusion.agreement import agreement, contributions
from training.fusion.boost import Field, Lesson, TreeSettings
from training.fusion.network import OUTCOMES
from training.fusion.trees import WIDTH

ROWS = np.arange(40)


def compared(leaves: int) -> dict[str, float]:
    made = table(400)
    rows, ones = np.arange(400), np.ones(400, np.float32)
    label = made.labels[OUTCOMES[0]]
    lesson = Lesson(made, rows, np.arange(WIDTH), label, label, None, ones, np.zeros(400, np.int8))
    grown = [Field(lesson, TreeSettings(20, {"num_leaves": leaves}, weight=0.5), seed).whole() for seed in (1, 2)]
    return agreement(*contributions(lesson, grown, ROWS))


def test_trees_with_one_split_agree_wholly() -> None:
    found = compared(2)
    assert found["same first"] == found["of the first three"] == 1.0
    assert found["rank correlation"] > 0.999


def test_deeper_trees_agree_for_the_most_part() -> None:
    assert 0.5 < compared(15)["rank correlation"] < 1.0


def test_agreement_is_of_sizes_where_it_names_the_largest_and_of_ranks_where_it_correlates() -> None:
    one = np.array([[3.0, -2.0, 1.0, 0.0, 0.1]])
    found = agreement(one, -one)
    assert (found["same first"], found["of the first three"]) == (1.0, 1.0)
    assert found["rank correlation"] == pytest.approx(-1.0)
