"""Controls fitted on the patients that are evaluated: out of fold, by patient, and not where events are few."""

import numpy as np

from training.evaluation import refitted as r
from training.fusion.controls import CONTROLS, PLAIN


def patients(seed: int = 0, count: int = 300, hours: int = 4) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Each patient's rows alike, and half of them with the event, whatever the columns say."""
    rng = np.random.default_rng(seed)
    parts = [np.repeat(rng.random((1, len(r.USED))).astype(np.float32), hours, axis=0) for _ in range(count)]
    label = np.repeat(rng.random(count) < 0.5, hours)
    return parts, label, np.repeat([f"p{n}" for n in range(count)], hours).astype(object)


def test_rows_of_a_patient_are_never_in_the_fit_that_judges_them() -> None:
    parts, label, patient = patients()
    for name, score in r.refitted(parts, label, patient).items():
        # Had a patient's other hours been seen, boosting would know the label by heart.
        assert abs(np.corrcoef(score, label)[0, 1]) < 0.3, name


def test_each_control_reads_its_own_columns_and_finds_what_they_tell() -> None:
    parts, label, patient = patients()
    time = np.searchsorted(r.USED, CONTROLS["time only"][0])
    edges = np.cumsum([0, *(len(part) for part in parts)])
    for part, begin in zip(parts, edges[:-1], strict=True):
        part[:, time] += label[begin]
    found = r.refitted(parts, label, patient)
    assert np.corrcoef(found["time only, refitted here"], label)[0, 1] > 0.6
    assert np.corrcoef(found[f"{PLAIN}, refitted here"], label)[0, 1] > 0.5
    assert abs(np.corrcoef(found["missingness only, refitted here"], label)[0, 1]) < 0.3


def test_with_few_events_nothing_is_fitted() -> None:
    parts, label, patient = patients(count=20)
    assert r.refitted(parts, label, patient) == {}


def test_rows_without_an_event_are_thinned_and_weighted_for_those_left_out() -> None:
    label = np.zeros(2 * r.MOST_ROWS + 2, bool)
    label[:2] = True
    kept, weight = r._drawn(label, np.arange(len(label)))
    assert label[kept].sum() == 2
    assert len(kept) == r.MOST_ROWS + 2
    assert weight.sum() == len(label)
