"""Recorded traffic: files and folders, or the raw topics of a Kafka cluster, as raw messages one after another."""

import asyncio
import gzip
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from kafka import KafkaConsumer, TopicPartition

from services.bus.connect import connection
from services.bus.objects import ObjectError, open_store
from services.bus.settings import Settings
from services.bus.topics import RAW_BY_FORMAT
from services.domain.reasons import Rejected
from services.domain.references import reference_of
from services.formats import dicom
from services.formats.hl7v2.files import split_messages

POLL_MS = 1000


@dataclass(frozen=True, slots=True)
class Recorded:
    """One message of a format; `image` gives the bytes of the DICOM object it speaks of, None when there are none."""

    form: str
    raw: bytes | Rejected = field(repr=False)
    image: Callable[[], bytes | None] = field(repr=False, default=lambda: None)


class Files:
    """The messages of files and of folders of files, in order of their paths."""

    def __init__(self, paths: list[Path]) -> None:
        """Raises FileNotFoundError for a path that does not exist."""
        self.paths: list[Path] = []
        for path in paths:
            if not path.exists():
                raise FileNotFoundError(f"{path} does not exist")
            self.paths += sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        self.unreadable = 0

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[Iterator[Recorded]]:
        """The messages, by file; a file that cannot be read is counted and gives none."""
        self.unreadable = 0
        for path in self.paths:
            try:
                data = path.read_bytes()
                yield _messages(path, gzip.decompress(data) if path.suffix == ".gz" else data)
            except (OSError, EOFError, zlib.error):
                self.unreadable += 1
                yield iter(())


def _messages(path: Path, data: bytes) -> Iterator[Recorded]:
    start = data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if data[128:132] == b"DICM" or path.suffix.lower() in (".dcm", ".dicom"):
        header = dicom.read_header(data)
        if isinstance(header, Rejected):
            yield Recorded("dicom", header)
        else:
            kept = msgspec.structs.replace(header, object=reference_of(data))
            yield Recorded("dicom", dicom.encode_object(kept), lambda: data)
    elif start in (b"{", b"["):
        lines = data.splitlines() if {".ndjson", ".jsonl"} & set(path.suffixes) else [data]
        yield from (Recorded("fhir", line) for line in lines if line.strip())
    else:
        yield from (Recorded("hl7v2", message) for message in split_messages(data) or [data])


class RawTopics:
    """Everything that the raw topics hold when it is asked, with DICOM objects from the object store."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.unreadable = 0

    def __len__(self) -> int:
        return len(RAW_BY_FORMAT)

    def __iter__(self) -> Iterator[Iterator[Recorded]]:
        for form, topic in RAW_BY_FORMAT.items():
            yield self._topic(form, topic.name)

    def _topic(self, form: str, topic: str) -> Iterator[Recorded]:
        consumer = KafkaConsumer(**connection(self._settings, "wardstream-deidentify"), enable_auto_commit=False)
        try:
            partitions = [TopicPartition(topic, n) for n in sorted(consumer.partitions_for_topic(topic) or ())]
            consumer.assign(partitions)
            consumer.seek_to_beginning(*partitions)
            ends = consumer.end_offsets(partitions) if partitions else {}
            while any(consumer.position(partition) < end for partition, end in ends.items()):
                for partition, batch in consumer.poll(timeout_ms=POLL_MS).items():
                    yield from (self._recorded(form, one.value or b"") for one in batch if one.offset < ends[partition])
        finally:
            consumer.close()

    def _recorded(self, form: str, raw: bytes) -> Recorded:
        return Recorded(form, raw, lambda: self._object(raw)) if form == "dicom" else Recorded(form, raw)

    def _object(self, raw: bytes) -> bytes | None:
        try:
            reference = dicom.decode_object(raw).object
            return asyncio.run(open_store(self._settings.objects_address).get(reference))
        except (ObjectError, msgspec.MsgspecError):
            return None
