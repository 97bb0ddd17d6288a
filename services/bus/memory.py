"""The bus in memory, with the engine's port on it: partitions, offsets, commits, rebalances, and crashes on demand.

For unit tests and for programs that run the whole path without a broker. It is held to the contract of
`tests/contract/engine` like the engines on Kafka.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from aiokafka.partitioner import murmur2

from services.bus.engine import BatchStep, KeyedStep
from services.bus.fold import Folded, fold, map_batch
from services.bus.messages import Message, Output
from services.bus.topics import LARGE, Topic

BATCH = 64
Slot = tuple[int, bytes]


class PublishRefused(Exception):
    """The bus did not take a message (set by `MemoryBus.refuse`)."""


class Crashed(Exception):
    """The simulated SIGKILL."""


@dataclass
class Group:
    """A consumer group: committed offsets, the state's changelog, and its members."""

    committed: dict[tuple[str, int], int] = field(default_factory=dict)
    changelog: dict[Slot, bytes] = field(default_factory=dict)
    members: list["MemoryEngine"] = field(default_factory=list)


class MemoryBus:
    """Topics in memory. Keyed messages go to the partition that Kafka's own partitioner gives them."""

    def __init__(self, clock: Callable[[], int] = lambda: 0) -> None:
        """`clock` gives the broker's time in epoch milliseconds."""
        self._logs: dict[str, list[list[Message]]] = {}
        self._clock = clock
        self._turn = 0
        self._refused: set[str] = set()
        self.groups: dict[str, Group] = defaultdict(Group)
        self.arrived = asyncio.Event()

    def publish(self, output: Output, partition: int | None = None) -> Message:
        """Append a message; raises PublishRefused for a topic that `refuse` names."""
        if output.topic.name in self._refused:
            raise PublishRefused(output.topic.name)
        log = self._partitions(output.topic)
        key = output.key.encode() if output.key is not None else None
        if partition is None:
            partition = self._partition(key, len(log))
        message = Message(
            output.topic.name, partition, len(log[partition]), key, output.value, dict(output.headers), self._clock()
        )
        log[partition].append(message)
        self.arrived.set()
        return message

    def messages(self, topic: Topic) -> list[Message]:
        """Everything on a topic, partition after partition."""
        return [message for partition in self._partitions(topic) for message in partition]

    def refuse(self, topic: Topic, refused: bool = True) -> None:
        """Make publishing to a topic fail, or work again."""
        (self._refused.add if refused else self._refused.discard)(topic.name)

    def read(self, topic: Topic, partition: int, offset: int, count: int) -> Sequence[Message]:
        """Up to `count` messages of a partition from an offset on."""
        return self._partitions(topic)[partition][offset : offset + count]

    def lag(self, group: str, topics: Iterable[Topic]) -> int:
        """Messages that a group has not committed."""
        committed = self.groups[group].committed
        return sum(
            len(log) - committed.get((topic.name, number), 0)
            for topic in topics
            for number, log in enumerate(self._partitions(topic))
        )

    def rebalance(self, group: Group) -> None:
        """Deal the partition numbers anew among the members: equal numbers of all topics go to the same member."""
        for member in group.members:
            member.revoked()
        for index, member in enumerate(group.members):
            member.assigned(index, len(group.members))

    def _partition(self, key: bytes | None, count: int) -> int:
        if key is None:
            self._turn += 1
            return self._turn % count
        return int((murmur2(key) & 0x7FFFFFFF) % count)

    def _partitions(self, topic: Topic) -> list[list[Message]]:
        return self._logs.setdefault(topic.name, [[] for _ in range(topic.partitions)])


class MemoryEngine:
    """Runs one step on a MemoryBus. `crash_at` names a point and how often it is passed before the process dies."""

    POINTS = ("taken", "folded", "published", "stored", "committed")

    def __init__(
        self,
        bus: MemoryBus,
        step: KeyedStep | BatchStep,
        *,
        batch: int = BATCH,
        crash_at: tuple[str, int] | None = None,
    ) -> None:
        self._bus, self._step, self._batch = bus, step, batch
        self._group = bus.groups[step.name]
        self._crash_at = crash_at
        self._positions: dict[tuple[str, int], int] = {}
        self._states: dict[Slot, bytes] = {}
        self._generation = 0
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Process until `stop`; raises PublishRefused (nothing is committed then) or Crashed."""
        self._group.members.append(self)
        self._bus.rebalance(self._group)
        try:
            while not self._stopping.is_set():
                if not await self._turn():
                    await self._wait()
        finally:
            self._group.members.remove(self)
            self._bus.rebalance(self._group)

    async def stop(self) -> None:
        """Let `run` end after the batch in hand."""
        self._stopping.set()
        self._bus.arrived.set()

    def revoked(self) -> None:
        """Give everything up; positions that were not committed are forgotten."""
        self._generation += 1
        self._positions.clear()
        self._states.clear()

    def assigned(self, index: int, members: int) -> None:
        """Take every `members`-th partition from `index` on; the state comes from the changelog."""
        for topic in self._step.inputs:
            for partition in range(index, topic.partitions, members):
                self._positions[topic.name, partition] = self._group.committed.get((topic.name, partition), 0)
        mine = {partition for _, partition in self._positions}
        self._states = {slot: state for slot, state in self._group.changelog.items() if slot[0] in mine}

    async def _turn(self) -> bool:
        messages = self._take()
        if not messages:
            return False
        self._pass("taken")
        generation = self._generation
        folded = await self._call(messages)
        self._pass("folded")
        if self._generation != generation:
            return True  # a rebalance came while the step waited: the batch may be somebody else's now
        for output in folded.outputs:
            self._bus.publish(output)
        self._pass("published")
        self._store(folded)
        self._pass("stored")
        for message in messages:
            self._positions[message.topic, message.partition] = message.offset + 1
            self._group.committed[message.topic, message.partition] = message.offset + 1
        self._pass("committed")
        await asyncio.sleep(0)
        return True

    async def _call(self, messages: Sequence[Message]) -> Folded:
        if isinstance(getattr(self._step, "max_batch", None), int):
            return await map_batch(self._step, messages)  # type: ignore[arg-type]
        return fold(
            self._step,  # type: ignore[arg-type]
            messages,
            lambda m: self._states.get((m.partition, m.key or b"")),
            LARGE,
        )

    def _store(self, folded: Folded) -> None:
        for slot, state in folded.states.items():
            for table in (self._group.changelog, self._states):
                if state is None:
                    table.pop(slot, None)
                else:
                    table[slot] = state

    def _take(self) -> list[Message]:
        taken: list[Message] = []
        limit = min(self._batch, getattr(self._step, "max_batch", self._batch))
        for topic in self._step.inputs:
            for (name, partition), position in self._positions.items():
                if name == topic.name:
                    taken += self._bus.read(topic, partition, position, limit - len(taken))
        return taken

    async def _wait(self) -> None:
        self._bus.arrived.clear()
        if not self._stopping.is_set():
            await self._bus.arrived.wait()

    def _pass(self, point: str) -> None:
        if self._crash_at is None or self._crash_at[0] != point:
            return
        self._crash_at = (point, self._crash_at[1] - 1)
        if self._crash_at[1] < 0:
            raise Crashed(point)
