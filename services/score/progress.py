"""How far a consumer group has come, read from Kafka."""

import logging
from collections.abc import Mapping

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from services.bus.connect import connection
from services.bus.settings import Settings
from services.bus.topics import Topic

log = logging.getLogger(__name__)


class KafkaProgress:
    """The committed offsets of one group. While the brokers do not answer, what was known last stands."""

    def __init__(self, settings: Settings, group: str) -> None:
        self._settings = settings
        self._group = group
        self._client: AIOKafkaAdminClient | None = None
        self._known: dict[tuple[str, int], int] = {}

    async def committed(self, topic: Topic) -> Mapping[int, int]:
        """Partition -> offset that the group reads next; absent where it never committed."""
        try:
            client = await self._connected()
            found = await client.list_consumer_group_offsets(self._group)
            self._known |= {(tp.topic, tp.partition): at.offset for tp, at in found.items() if at.offset >= 0}
        except (KafkaError, OSError) as error:
            log.warning("progress of %s unknown: %s", self._group, type(error).__name__)
            await self.close()
        return {partition: offset for (name, partition), offset in self._known.items() if name == topic.name}

    async def close(self) -> None:
        if self._client is not None:
            client, self._client = self._client, None
            await client.close()

    async def _connected(self) -> AIOKafkaAdminClient:
        if self._client is None:
            client = AIOKafkaAdminClient(**connection(self._settings, f"wardstream-progress-{self._group}"))
            await client.start()
            self._client = client
        return self._client
