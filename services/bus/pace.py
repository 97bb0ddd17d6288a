"""How often a consumer fetches: an immediate answer after a quiet spell, few large fetches while messages flow.

A broker answers a fetch as soon as it has one message. At some hundred messages a second that is a request for every
one or two of them, which costs the client and the broker more than the messages do. So while messages flow the broker
is asked to wait for FLOWING_BYTES or FLOWING_MS, whichever comes first; once a poll has come back empty, for one
message (KIP-74's defaults).
"""

from aiokafka import AIOKafkaConsumer

FLOWING_BYTES = 64 << 10
FLOWING_MS = 50
"""Longest wait that a step adds to a message: four steps lie between a sender and its prediction."""
QUIET_BYTES = 1
QUIET_MS = 500


class Pace:
    """Told of every poll of one consumer. aiokafka reads both figures for each request that it makes."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer

    def polled(self, messages: int) -> None:
        """A poll returned so many messages. Call it before anything is awaited: then the next fetch heeds it."""
        fetcher = self._consumer._fetcher
        if messages:
            fetcher._fetch_min_bytes, fetcher._fetch_max_wait_ms = FLOWING_BYTES, FLOWING_MS
        else:
            fetcher._fetch_min_bytes, fetcher._fetch_max_wait_ms = QUIET_BYTES, QUIET_MS
