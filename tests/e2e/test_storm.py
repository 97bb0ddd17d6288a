"""A short storm over the whole system; the long one is `python -m benchmarks.storm`."""

import random
from pathlib import Path

import pytest

from benchmarks.storm import Tempo, running, weather
from benchmarks.storm_check import check
from services.local.kafka import LocalKafka
from services.local.simulate.source import Simulation

pytestmark = [pytest.mark.kafka, pytest.mark.triton, pytest.mark.slow, pytest.mark.timeout(600)]

SERVICES = ("edge", "normalize", "assemble", "encode", "score", "fallback")  # all that write to the stream
SECONDS = 8.0
QUICK = Tempo(down=(0.0, 0.5), pause=(0.2, 0.8), freezes=False, brokers=1)


def test_whatever_is_killed_nothing_is_lost_and_every_record_is_as_without_it(kafka3: LocalKafka, tmp_path: Path):
    with running(tmp_path, kafka3, QUICK, SERVICES) as system:
        sent = weather(system, [(Simulation(), 1)], SECONDS, random.Random(7), print)
        verdict = check(system.settings, sent)
    assert verdict.problems == []
    assert verdict.figures["predictions"] > 0
    assert len(system.did) > 3, "too little happened to show anything"
