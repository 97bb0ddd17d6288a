from services.bus.messages import MetricEvent
from services.deliver.health_view import DRIFT_PATIENTS, KEPT_ROUNDS, HealthView

NOW = 1_000_000_000


def figure(name, value, at=NOW - 5000, **labels):
    return MetricEvent(name=f"wardstream_monitor_{name}", value=value, at=at, labels=labels)


def view(*figures, patients=DRIFT_PATIENTS, now=NOW):
    made = HealthView()
    for one in figures:
        made.take(one)
    return made.view(now, patients)


def test_a_figure_that_is_no_longer_given_does_not_show():
    shown = view(figure("dead_letters", 1, at=NOW - 9000, reason="not_hl7"), figure("input_psi", 0.1, feature="HR"))
    assert list(shown["figures"]) == ["input_psi"]


def test_a_round_of_figures_shows_when_it_is_whole():
    first, second = figure("dead_letters", 1, reason="not_hl7"), figure("input_psi", 0.1, at=NOW - 100, feature="HR")
    assert list(view(first, second)["figures"]) == ["dead_letters"]
    assert list(view(first, second, now=NOW + 2000)["figures"]) == ["input_psi"]


def test_drift_of_a_few_patients_is_not_a_problem_and_of_many_is():
    drifted = figure("input_psi", 3.0, feature="Weight")
    assert view(drifted, patients=DRIFT_PATIENTS - 1)["problems"] == []
    assert "Weight" in view(drifted)["problems"][0]


def test_backlog_dead_letters_and_a_silent_monitor_are_problems():
    shown = view(
        figure("group_lag_messages", 5000, group="score"), figure("dead_letters", 1, reason="not_hl7"), now=NOW + 90_000
    )
    assert [text.split()[0] for text in shown["problems"]] == ["The", "score", "1"]


def test_headline_figures_have_a_course_of_bounded_length():
    rounds = KEPT_ROUNDS + 5
    figures = [
        figure("group_lag_messages", lag, at=NOW - 10_000 * (rounds - n), group=group)
        for n in range(rounds)
        for group, lag in (("score", n), ("encode", 1))
    ]
    course = view(*figures)["courses"]["group_lag_messages"]
    assert len(course) == KEPT_ROUNDS
    assert course[-1] == [NOW - 10_000, rounds - 1 + 1]


def test_nothing_yet_is_no_problem():
    assert view()["problems"] == []
    assert view()["at"] == 0
