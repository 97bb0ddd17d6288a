"""HL7 v2 and FHIR files as traffic: what is in them is sent as it is, in the order of files and messages."""

import gzip
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import orjson

from services.edge.mllp_client import msh
from services.formats.hl7v2.files import split_messages
from services.local.replay.source import BASE_MS, Item, Kind, Stay

STEP_MS = 1000
"""Event time between two messages of a file: they carry times of their own, which need not be in order."""

HL7_SUFFIXES = (".hl7", ".out", ".txt", ".er7", ".dat")
FHIR_SUFFIXES = (".json", ".json.gz", ".ndjson", ".ndjson.gz")


class Hl7Files:
    """A file or folder of HL7 v2 messages: one or many a file, framed or not, in batches or separated by blank lines.

    Messages are sent with CR at the ends of segments, as MLLP has it; nothing else is changed. The whole source is one
    stream, each message sent after the answer to the last: only the receiver can tell whom a message is about.
    """

    name = "hl7v2"
    synthetic = False

    def __init__(self, path: Path) -> None:
        self._path = path

    def stays(self, limit: int | None) -> Iterator[Stay]:
        """One stream; `limit` is of files. Raises FileNotFoundError."""
        files = list(islice(_files(self._path, HL7_SUFFIXES), limit))
        yield Stay(self.name, BASE_MS, BASE_MS, partial(_one_after_another, files, _messages))


def _one_after_another(files: list[Path], read: Callable[[Path], Iterator[tuple[Kind, bytes, str]]]) -> Iterator[Item]:
    number = 0
    for file in files:
        for kind, content, label in read(file):
            yield Item(BASE_MS + number * STEP_MS, kind, kind, content, label)
            number += 1


def _messages(file: Path) -> Iterator[tuple[Kind, bytes, str]]:
    for message in split_messages(_read(file)):
        with_cr = message.replace(b"\r\n", b"\r").replace(b"\n", b"\r")
        yield "hl7v2", with_cr, _type(with_cr)


def _type(message: bytes) -> str:
    fields = msh(message)
    return fields[9].decode("ascii", "replace")[:16] if len(fields) > 9 else "HL7"


class FhirFiles:
    """A file or folder of FHIR JSON: Bundles and resources (`.json`), Bulk Data (`.ndjson`), gzipped or not."""

    name = "fhir"
    synthetic = False

    def __init__(self, path: Path) -> None:
        self._path = path

    def stays(self, limit: int | None) -> Iterator[Stay]:
        """One stream; `limit` is of files. Raises FileNotFoundError."""
        files = list(islice(_files(self._path, FHIR_SUFFIXES), limit))
        yield Stay(self.name, BASE_MS, BASE_MS, partial(_one_after_another, files, _resources))


def _resources(file: Path) -> Iterator[tuple[Kind, bytes, str]]:
    data = _read(file)
    for part in data.splitlines() if ".ndjson" in file.name else [data]:
        if part.strip():
            yield "fhir", part, _resource_type(part)


def _resource_type(data: bytes) -> str:
    try:
        kind = orjson.loads(data)["resourceType"]
    except (ValueError, KeyError, TypeError):
        return "Bundle"  # sent to the base address, which will say what is wrong with it
    return kind if isinstance(kind, str) and kind.isalpha() else "Bundle"


def _read(file: Path) -> bytes:
    data = file.read_bytes()
    return gzip.decompress(data) if file.suffix == ".gz" else data


def _files(path: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    if path.is_dir():
        found = sorted(
            file for file in path.rglob("*") if file.name.endswith(suffixes) and ".expected." not in file.name
        )
        if not found:
            raise FileNotFoundError(f"no {', '.join(suffixes)} file below {path}")
        yield from found
    elif path.exists():
        yield path
    else:
        raise FileNotFoundError(f"{path} does not exist")
