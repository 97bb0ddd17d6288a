"""A broker that has not heard of a new topic yet is asked again, and its silence is not taken for an answer."""

from typing import Any

import pytest
from kafka.errors import UnknownTopicOrPartitionError

from services.bus import admin


class SlowToHear:
    """An admin client whose broker hears of a topic at the `heard`-th question."""

    def __init__(self, heard: int) -> None:
        self.heard, self.asked = heard, 0

    def describe_topics(self, topics: list[str]) -> list[dict[str, Any]]:
        self.asked += 1
        known = self.asked >= self.heard
        code, parts = (0, [{"partition_index": 0}]) if known else (UnknownTopicOrPartitionError.errno, [])
        return [{"name": name, "error_code": code, "partitions": parts} for name in topics]


def test_a_topic_that_is_new_to_a_broker_is_asked_for_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(admin, "HEARSAY_POLL_S", 0.0)
    client = SlowToHear(heard=3)
    assert admin._described(client, ["new"]) == {"new": [{"partition_index": 0}]}
    assert client.asked == 3


def test_a_topic_that_nobody_made_is_absent_after_a_while(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(admin, "HEARSAY_S", 0.0)
    monkeypatch.setattr(admin, "HEARSAY_POLL_S", 0.0)
    assert admin._described(SlowToHear(heard=10**9), ["none"]) == {}
