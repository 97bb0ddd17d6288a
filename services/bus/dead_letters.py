"""`wardstream dead-letters list|show|retry`: what could not be processed, and a second try for it.

A listing says where a message lay, why it was refused, where in it and what its sender can do: never what it said.
The bytes are shown with `show --payload` alone. `retry` publishes the original bytes to the original topic again, with
the original key and headers and a header that counts the tries. Which letters were retried is kept as the
metadata of a committed offset of GROUP, so that the topic itself stays what it is.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.structs import OffsetAndMetadata

from services.bus.admin import end_offsets
from services.bus.connect import MAX_REQUEST_BYTES, connection, kafka_python_producer
from services.bus.messages import DeadLetter
from services.bus.settings import Settings, load
from services.bus.topics import DEAD_LETTERS

RETRIES = "ws-retries"
"""Header of a retried message: how many times it was retried."""
GROUP = "wardstream-dead-letters"
PARTITION = TopicPartition(DEAD_LETTERS.name, 0)  # the topic has one, so that an offset names a letter
POLL_MS = 500
SEND_TIMEOUT_S = 60
METADATA_BYTES = 4000  # brokers take 4096 by default


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter with the offset that names it. Its repr shows no payload."""

    offset: int
    letter: DeadLetter = field(repr=False)
    retried: bool

    @property
    def retries(self) -> int:
        """How often its message had been retried before it came here (again)."""
        told = self.letter.headers.get(RETRIES, b"0")
        return int(told) if told.isdigit() and len(told) < 10 else 0

    def row(self) -> tuple[str, ...]:
        """What a listing shows: offset, origin, reason, where, hint, step, time, retries, state."""
        one = self.letter
        origin = f"{one.origin.topic}/{one.origin.partition}/{one.origin.offset}"
        time = datetime.fromtimestamp(one.failed_at / 1000, UTC).isoformat(timespec="seconds")
        state = "retried" if self.retried else "waiting"
        return (str(self.offset), origin, one.reason, one.where, one.hint, one.step, time, str(self.retries), state)


@dataclass(slots=True)
class Retried:
    """What became of a retry: offsets that were published again, and of those that were not, the error's type."""

    done: list[int] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)


COLUMNS = ("offset", "origin", "reason", "where", "hint", "step", "time", "retries", "state")


class DeadLetters:
    """The dead letters of a cluster."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def all(self, reason: str | None = None) -> Iterator[Letter]:
        """Every letter that the topic still holds, oldest first; only those of one reason when it is given."""
        end = end_offsets(self._settings, [DEAD_LETTERS.name]).get((DEAD_LETTERS.name, 0), 0)
        consumer = self._consumer()
        try:
            consumer.assign([PARTITION])
            retried = self._retried(consumer)
            consumer.seek_to_beginning(PARTITION)
            while consumer.position(PARTITION) < end:
                for record in consumer.poll(timeout_ms=POLL_MS).get(PARTITION, ()):
                    letter = msgspec.json.decode(record.value, type=DeadLetter)
                    if reason is None or letter.reason == reason:
                        yield Letter(record.offset, letter, record.offset in retried)
        finally:
            consumer.close()

    def retry(self, letters: Iterable[Letter]) -> "Retried":
        """Publish the letters' messages again one by one, wait for every confirmation, mark those that were confirmed.

        One that cannot be published keeps none of the others back: it is among `failed`, and stays waiting.
        """
        result = Retried()
        producer = KafkaProducer(**kafka_python_producer(self._settings))
        try:
            for one in letters:
                try:
                    self._publish(producer, one)
                except Exception as error:  # noqa: BLE001 -- kafka-python also raises ValueError, TypeError, AssertionError
                    result.failed[one.offset] = type(error).__name__
                else:
                    result.done.append(one.offset)
        finally:
            producer.close()
            self._mark(result.done)
        return result

    @staticmethod
    def _publish(producer: KafkaProducer, one: Letter) -> None:
        letter = one.letter
        headers = {**letter.headers, RETRIES: str(one.retries + 1).encode()}
        # The key says the partition. Without one: where it lay; what the edge refused never lay anywhere (-1).
        partition = letter.origin.partition if letter.key is None and letter.origin.partition >= 0 else None
        producer.send(
            letter.origin.topic,
            key=letter.key,
            value=letter.value,
            headers=list(headers.items()),
            partition=partition,
        ).get(timeout=SEND_TIMEOUT_S)

    def _mark(self, offsets: list[int]) -> None:
        if not offsets:
            return
        consumer = self._consumer()
        try:
            consumer.assign([PARTITION])
            marked = self._retried(consumer) | set(offsets)
            consumer.commit({PARTITION: OffsetAndMetadata(max(marked) + 1, write_ranges(marked), -1)})
        finally:
            consumer.close()

    def _retried(self, consumer: KafkaConsumer) -> set[int]:
        committed = consumer.committed(PARTITION, metadata=True)
        return read_ranges(committed.metadata) if committed is not None else set()

    def _consumer(self) -> KafkaConsumer:
        return KafkaConsumer(
            **connection(self._settings),
            group_id=GROUP,
            enable_auto_commit=False,
            max_partition_fetch_bytes=MAX_REQUEST_BYTES,
        )


def write_ranges(numbers: Iterable[int]) -> str:
    """`{1, 2, 3, 7}` as `1-3,7`; the oldest are left out when it grows beyond what a broker keeps."""
    ranges: list[list[int]] = []
    for number in sorted(numbers):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    parts = [f"{first}-{last}" if last > first else f"{first}" for first, last in ranges]
    while len(",".join(parts)) > METADATA_BYTES:
        parts.pop(0)
    return ",".join(parts)


def read_ranges(text: str) -> set[int]:
    """The numbers of `1-3,7`."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def command(args: argparse.Namespace) -> int:
    """The command line: `args.action`, `offset`, `reason`, `payload`, `all`. Status 1: one is not there, or failed."""
    letters = DeadLetters(load())
    found = list(letters.all(args.reason))
    if args.action == "list":
        _print_table([COLUMNS, *(one.row() for one in found)])
        return 0
    if args.action == "retry" and args.all:
        chosen = [one for one in found if not one.retried]
    else:
        chosen = [one for one in found if one.offset in args.offset]
    absent = sorted(set(args.offset) - {one.offset for one in found})
    if absent or not (args.offset or args.all):
        print(f"no such dead letter: {', '.join(map(str, absent)) or 'give its offset (see list)'}", file=sys.stderr)
        return 1
    if args.action == "retry":
        result = letters.retry(chosen)
        print(f"{len(result.done)} message(s) published again")
        for offset, error in result.failed.items():
            print(f"dead letter {offset} could not be published again: {error}", file=sys.stderr)
        return 1 if result.failed else 0
    for one in chosen:
        for name, value in zip(COLUMNS, one.row(), strict=True):
            print(f"{name:8} {value}")
        print(f"{'bytes':8} {len(one.letter.value)}", flush=True)
        if args.payload:
            sys.stdout.buffer.write(one.letter.value + b"\n")
            sys.stdout.buffer.flush()
    return 0


def _print_table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
