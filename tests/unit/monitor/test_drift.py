from hypothesis import given
from hypothesis import strategies as st

from services.monitor.drift import MIN_COUNT, Drift, Reference, psi

shares = st.lists(st.floats(0.01, 1), min_size=4, max_size=4).map(lambda w: [x / sum(w) for x in w])


@given(shares, shares)
def test_the_index_is_never_negative_and_the_same_both_ways(a, b):
    assert psi(a, b) >= 0
    assert abs(psi(a, b) - psi(b, a)) < 1e-9


@given(shares)
def test_the_training_distribution_itself_has_no_drift(a):
    assert psi(a, a) == 0


def test_a_known_shift_has_its_known_index():
    # (0.75-0.5) ln(0.75/0.5) + (0.25-0.5) ln(0.25/0.5) = 0.2747
    assert abs(psi([0.5, 0.5], [0.75, 0.25]) - 0.27465307) < 1e-8


def test_no_index_is_given_for_a_handful_of_values():
    drift = Drift(Reference([0.0], [0.5, 0.5]))
    for n in range(MIN_COUNT - 1):
        drift.add(n % 2 - 0.5)
    assert drift.psi() is None
    drift.add(0.5)
    assert drift.psi() < 0.001


def test_old_values_leave_the_window():
    drift = Drift(Reference([0.0], [0.5, 0.5]), window=200)
    for _ in range(200):
        drift.add(-1.0)
    for n in range(200):
        drift.add(1.0 if n % 2 else -1.0)
    assert drift.psi() < 1e-9
