"""No figure rests on a patient that trained what scored it, or chose what was applied to it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tests.unit.training.support_fusion import table
from training.datasets.table import Table
from training.evaluation.utility import gains
from training.fusion import calibrate, controls
from training.fusion.boost import Aim, Field, Lesson, TreeSettings, aimed, drawn, usable_columns
from training.fusion.choose import COVERAGE, EVENTS, FULL, Parts, calibrated, choose, nested, patterns
from training.fusion.folds import FOLDS, row_folds, stopping_rows
from training.fusion.network import OUTCOMES
from training.fusion.served import PATTERNS
from training.fusion.transfer import THRESHOLD_FOLD, UNITS, transfer

ROWS = 1200
SMALL = TreeSettings(5, {"min_data_in_leaf": 5, "num_leaves": 4})
SEPSIS, MORTALITY = OUTCOMES


def lesson(made: Table, **changed: object) -> Lesson:
    rows = np.arange(len(made))
    weight = np.ones(len(made), np.float32)
    label = made.labels[SEPSIS]
    gain, _ = gains(label, made.stay)
    return Lesson(made, rows, usable_columns(made, rows), label, label, gain, weight, row_folds(made))._replace(
        **changed
    )


def parts(made: Table, seed: int = 0) -> Parts:
    """Scores that know something of the labels."""
    rng = np.random.default_rng(seed)
    truth = np.stack([made.labels[o] for o in OUTCOMES], 1)
    scores = [(truth + rng.normal(size=truth.shape)).astype(np.float32) for _ in range(2 * PATTERNS)]
    return Parts({"data": scores[:PATTERNS]}, {"data": scores[PATTERNS:]})


def with_other_labels(made: Table, rows: np.ndarray) -> Table:
    labels = {o: np.where(rows, 1 - values, values) for o, values in made.labels.items()}
    return replace(made, labels=labels)


def test_what_is_applied_to_a_fold_is_chosen_without_it() -> None:
    made = table(ROWS)
    folds = {"data": row_folds(made)}
    score = parts(made)
    for fold in range(FOLDS):
        here = folds["data"] == fold
        other = with_other_labels(made, here)
        judged = [
            nested(score, {"data": t}, {"data": gains(t.labels[SEPSIS], t.stay)[0]}, OUTCOMES, {SEPSIS}, folds)["data"]
            for t in (made, other)
        ]
        for field in ("logit", "alert", "abstained"):
            one, two = (getattr(j, field) for j in judged)
            assert np.array_equal(one[here], two[here])
        assert not np.array_equal(judged[0].logit[~here], judged[1].logit[~here])


def test_every_pattern_of_modalities_is_calibrated_by_rows_that_can_show_it() -> None:
    made = replace(table(ROWS), hours=np.zeros(ROWS, np.float32))
    everyone = {"data": np.ones(ROWS, np.bool_)}
    choice = choose(parts(made), {"data": made}, {}, OUTCOMES, {SEPSIS}, everyone)
    with_image, without = 0b1111, 0b0111
    assert without in patterns(made)
    assert np.array_equal(choice.calibration.slope[with_image], choice.calibration.slope[without])
    assert np.isfinite(choice.calibration.slope).all()
    assert (choice.calibration.network[:, OUTCOMES.index(MORTALITY)] == 1).all()  # it has no trees
    image_alone, nothing = 0b1000, 0b0000
    assert np.array_equal(choice.calibration.slope[image_alone], choice.calibration.slope[nothing])


def test_rows_that_lack_series_by_nature_calibrate_such_rows_when_they_are_enough() -> None:
    made = replace(table(ROWS), hours=np.zeros(ROWS, np.float32))
    lack, static_alone = np.arange(ROWS) % 2 == 0, 0b0010
    made.inputs["presence"][:] = np.where(lack[:, None], [0, 1, 0, 0, 0], [1, 1, 1, 1, 0])
    died = made.labels[MORTALITY]
    assert died[lack].sum() > EVENTS
    seldom = np.where(lack & (np.cumsum(died * lack) >= EVENTS), np.float32(0), died)
    few = replace(made, labels={**made.labels, MORTALITY: seldom})
    for one, expected in ((made, {FULL: 2, static_alone: 1}), (few, {FULL: 1, static_alone: 2})):
        before = _slope(parts(one), one, static_alone)
        for halved, steeper in expected.items():
            score = parts(one)
            score.network["data"][halved] /= 2
            assert _slope(score, one, static_alone) / before == pytest.approx(steeper, rel=0.1)


def _slope(score: Parts, made: Table, number: int) -> float:
    choice = choose(score, {"data": made}, {}, OUTCOMES, set(), {"data": np.ones(ROWS, np.bool_)})
    return float(choice.calibration.slope[number, OUTCOMES.index(MORTALITY)])


def test_without_series_the_blend_is_chosen_by_rows_without_them() -> None:
    made = replace(table(ROWS), hours=np.zeros(ROWS, np.float32))
    score = parts(made)
    noise = np.random.default_rng(1).normal(size=(ROWS, len(OUTCOMES))).astype(np.float32)
    score.network["data"][FULL] = noise
    for number in range(PATTERNS):
        if not number & 1:
            score.trees["data"][number] = noise
    choice = choose(score, {"data": made}, {}, OUTCOMES, set(OUTCOMES), {"data": np.ones(ROWS, np.bool_)})
    without, with_series = choice.calibration.network
    assert (without > 0.5).all()
    assert (with_series < 0.5).all()


def test_the_conformal_sets_hold_each_class_as_often_as_stated_in_every_data_set() -> None:
    made = {n: replace(table(ROWS), hours=np.zeros(ROWS, np.float32)) for n in ("one", "other")}
    scores = {"one": parts(made["one"], 1), "other": parts(made["other"], 2)}
    lower = [logit - 2 for logit in scores["other"].network["data"]]  # its risks all lie lower
    both = Parts(
        {n: p.trees["data"] for n, p in scores.items()}, {"one": scores["one"].network["data"], "other": lower}
    )
    everyone = {n: np.ones(ROWS, np.bool_) for n in made}
    choice = choose(both, made, {}, OUTCOMES, set(), everyone)
    k = OUTCOMES.index(MORTALITY)
    low, high = choice.ends[k]
    for name, one in made.items():
        rows = one.hours == one.hours.max()
        risk = calibrate.sigmoid(calibrated(both, name, one, choice.calibration)[rows, k])
        died = one.labels[MORTALITY][rows] > 0.5
        assert (risk[died] >= low).mean() >= COVERAGE
        assert (risk[~died] <= high).mean() >= COVERAGE


def test_a_fold_is_scored_by_trees_that_have_not_seen_its_labels() -> None:
    made = table(ROWS)
    fold = 2
    here = row_folds(made) == fold
    other = with_other_labels(made, here)
    one, two = (Field(lesson(t), SMALL).cross_fit() for t in (made, other))
    assert np.array_equal(one[here], two[here])
    assert not np.array_equal(one[~here], two[~here])


def test_trees_that_learn_the_course_tell_the_worse_from_the_better_among_those_without_the_outcome() -> None:
    made = table(ROWS)
    label = made.labels[SEPSIS]
    worse = np.nan_to_num(made.inputs["series"][:, 3, 0]) > 0
    taught = lesson(made, course=np.where(label > 0, 1, np.where(worse, 0.5, 0)).astype(np.float32))
    score = Field(taught, replace(SMALL, trees=40, aim=Aim.COURSE)).cross_fit()
    without = label == 0
    assert roc_auc_score(worse[without], score[without]) > 0.9


def test_trees_grown_on_other_labels_are_not_taken_up(tmp_path: Path) -> None:
    made = table(ROWS)
    one = Field(lesson(made), SMALL, home=tmp_path).cross_fit()
    other = with_other_labels(made, made.stay % 2 == 0)
    assert np.array_equal(
        Field(lesson(other), SMALL, home=tmp_path).cross_fit(), Field(lesson(other), SMALL).cross_fit()
    )
    assert np.array_equal(Field(lesson(made), SMALL, home=tmp_path).cross_fit(), one)


def test_trees_grown_on_other_inputs_are_not_taken_up(tmp_path: Path) -> None:
    made, shifted = table(ROWS), table(ROWS, seed=3)
    other = replace(made, inputs=shifted.inputs, content="of another encoder")
    for one in (made, other):
        found = Field(lesson(one), SMALL, home=tmp_path).cross_fit()
        assert np.array_equal(found, Field(lesson(one), SMALL).cross_fit())


def test_a_control_fitted_to_other_labels_is_not_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controls, "_plain", lambda lesson, *_: lesson.label)  # the boosting itself takes minutes
    made = table(ROWS)
    as_many = replace(made, labels={o: values[::-1].copy() for o, values in made.labels.items()})
    for one in (made, as_many, made):
        assert np.array_equal(controls.plain(lesson(one), "made up", home=tmp_path), one.labels[SEPSIS])


def test_rows_that_stop_the_network_are_whole_patients_of_every_fold() -> None:
    made = table(ROWS)
    chosen = stopping_rows(made)
    shares = [chosen[made.stay == stay].mean() for stay in np.unique(made.stay)]
    assert set(shares) <= {0.0, 1.0}


def test_a_drawn_share_of_rows_stands_for_all_of_them() -> None:
    made = table(ROWS)
    labels = {SEPSIS: np.where(made.stay < 5, made.labels[SEPSIS], 0).astype(np.float32)}
    taught = lesson(replace(made, labels=labels))
    rows, weight = drawn(taught, 0.25, seed=1)
    certain = np.isin(made.stay[rows], np.unique(made.stay[labels[SEPSIS] > 0]))
    assert set(np.flatnonzero(labels[SEPSIS])) <= set(rows)
    assert (set(weight[certain]), set(weight[~certain])) == ({1.0}, {4.0})
    assert weight.sum() == pytest.approx(ROWS, rel=0.1)


def test_trees_aim_at_what_they_are_told() -> None:
    made = table(ROWS)
    taught = lesson(made)
    gain, _ = gains(made.labels[SEPSIS], made.stay)
    assert np.array_equal(aimed(taught, taught.rows, Aim.CHANCE)[0], made.labels[SEPSIS])
    course = np.linspace(0, 1, ROWS, dtype=np.float32)
    assert np.array_equal(aimed(taught._replace(course=course), taught.rows, Aim.COURSE)[0], course)
    assert np.array_equal(aimed(taught, taught.rows, Aim.GAIN)[0], gain)
    target, weight = aimed(taught, taught.rows, Aim.WORTH)
    assert np.allclose(np.where(target > 0, weight, -weight), gain)
    with pytest.raises(ValueError, match="need the gain"):
        aimed(lesson(made, gain=None), taught.rows, Aim.GAIN)


def test_a_unit_is_asked_by_trees_and_a_threshold_of_the_other() -> None:
    made = table(ROWS)
    surgical = made.stay % 2 == 0
    made.inputs["static"][:, UNITS["surgical"]] = surgical
    made.inputs["static"][:, UNITS["medical"]] = ~surgical
    other = with_other_labels(made, surgical)
    one, two = (transfer(lesson(t), (SMALL,))["medical to surgical"] for t in (made, other))
    assert np.array_equal(one.rows, np.flatnonzero(surgical))
    assert np.array_equal(one.score, two.score)
    assert np.array_equal(one.alert, two.alert)
    choosing = with_other_labels(made, ~surgical & (row_folds(made) == THRESHOLD_FOLD))
    assert np.array_equal(transfer(lesson(choosing), (SMALL,))["medical to surgical"].score, one.score)


def test_the_blend_is_of_logits_and_the_risk_a_probability() -> None:
    made = replace(table(ROWS), hours=np.zeros(ROWS, np.float32))
    everyone = {"data": np.ones(ROWS, np.bool_)}
    choice = choose(parts(made), {"data": made}, {}, OUTCOMES, set(OUTCOMES), everyone)
    assert ((choice.calibration.network >= 0) & (choice.calibration.network <= 1)).all()
    assert all(0 < t < 1 for t in choice.thresholds)
    assert calibrate.sigmoid(np.array([0.0]))[0] == 0.5
