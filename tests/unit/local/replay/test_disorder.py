"""What a disordered replay says at the end is what the source says: same features at every hour, whatever the order."""

import itertools
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.events import Observation, Rank
from services.domain.features import inputs_at
from services.domain.record import PatientRecord, fold
from services.edge.mllp_client import control_id
from services.local.replay.cinc2019 import Cinc2019
from services.local.replay.disorder import Disorder
from services.local.replay.run import items
from services.local.replay.source import HOUR_MS, Item, Source, arrival_ms
from tests.unit.local.replay import samples
from tests.unit.local.replay.test_sources import events, facts, hl7apy_accepts

PATIENT = "p000002"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return Cinc2019(samples.cinc2019(tmp_path_factory.mktemp("cinc2019")))


def record_of(sent: Iterable[Item]) -> PatientRecord:
    record = PatientRecord(patient=PATIENT)
    for item in sent:
        for event in events(item) if item.patient == PATIENT else ():
            fold(record, event)
    return record


def features(record: PatientRecord) -> list[str]:
    hours = [arrival_ms("cinc2019", PATIENT) + hour * HOUR_MS for hour in range(14)]
    return [inputs.sha256 for inputs in inputs_at(record, hours)]


@given(seed=st.integers(0, 2**32), order=st.randoms(use_true_random=False))
def test_the_record_ends_with_the_features_of_the_undisturbed_source(source, seed, order):
    sent = list(items(Disorder(source, seed), None))
    shuffled = order.sample(sent, len(sent))
    assert features(record_of(sent)) == features(record_of(shuffled)) == features(record_of(items(source, None)))


def test_every_kind_of_disorder_occurs_and_arrives_in_order_of_delivery(source):
    sent = list(itertools.chain.from_iterable(items(Disorder(source, seed), None) for seed in range(5)))
    ranks = Counter(fact.version.rank for fact in facts(sent, Observation))
    assert {Rank.PRELIMINARY, Rank.FINAL, Rank.AMENDED, Rank.ENTERED_IN_ERROR} <= ranks.keys()
    one = list(items(Disorder(source, 1), None))
    assert [item.time_ms for item in one] == sorted(item.time_ms for item in one)
    assert max(Counter(item.content() for item in one).values()) > 1


def test_a_control_id_names_one_content_and_a_seed_always_gives_the_same_bytes(source):
    sent = [item.content() for item in items(Disorder(source, 3), None)]
    assert sent == [item.content() for item in items(Disorder(source, 3), None)]
    assert len(set(sent)) == len({control_id(message) for message in sent})


def test_what_is_sent_is_valid_hl7(source: Source, tmp_path: Path):
    for item in items(Disorder(source, 2), None):
        hl7apy_accepts(item)
