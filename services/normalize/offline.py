"""`wardstream normalize FILE...`: what the live service would make of some files, without Kafka."""

import gzip
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import msgspec

from services.domain.events import FilteredPart, encode_event
from services.domain.reasons import Rejected
from services.domain.references import reference_of
from services.domain.site import Site
from services.formats import dicom
from services.formats.hl7v2.files import split_messages
from services.formats.reading import Reading
from services.normalize.read import read

_ENCODER = msgspec.json.Encoder(order="deterministic")


def messages_of(path: Path) -> Iterator[tuple[str, bytes | Rejected]]:
    """The raw messages of a file with their format; `.gz` is opened, the format is told by the content."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    start = data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if data[128:132] == b"DICM" or path.suffix.lower() in (".dcm", ".dicom"):
        header = dicom.read_header(data)
        if isinstance(header, Rejected):
            yield "dicom", header
        else:
            yield "dicom", dicom.encode_object(msgspec.structs.replace(header, object=reference_of(data)))
    elif start in (b"{", b"["):
        ndjson = ".ndjson" in path.suffixes or path.suffix == ".jsonl"
        for line in data.splitlines() if ndjson else [data]:
            if line.strip():
                yield "fhir", line
    else:
        for message in split_messages(data) or [data]:
            yield "hl7v2", message


def files_of(paths: list[Path]) -> Iterator[Path]:
    """The files named, and those below the folders named, in order."""
    for path in paths:
        yield from sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]


def normalize_files(paths: list[Path], site: Site, out: IO[str], err: IO[str]) -> int:
    """Print a JSON line for each event, each filtered message and each reject; a summary goes to `err`.

    Returns the exit status: 0, 1 if anything was rejected, 2 if a file could not be opened.
    """
    counts = {"messages": 0, "events": 0, "filtered": 0, "rejected": 0}
    unreadable = 0
    for path in files_of(paths):
        try:
            for number, (form, raw) in enumerate(messages_of(path), 1):
                counts["messages"] += 1
                now = time.time_ns() // 1_000_000
                reading = raw if isinstance(raw, Rejected) else read(form, raw, site, now)
                for line in _lines(reading, {"file": path.name, "message": number, "format": form}, counts):
                    out.write(line + "\n")
        except (OSError, EOFError) as error:
            unreadable += 1
            why = getattr(error, "strerror", None) or type(error).__name__
            err.write(f"wardstream normalize: cannot read {path}: {why}\n")
    err.write(", ".join(f"{n} {what}" for what, n in counts.items()) + "\n")
    return 2 if unreadable else int(counts["rejected"] > 0)


def _lines(reading: Reading | Rejected, where: dict[str, Any], counts: dict[str, int]) -> Iterator[str]:
    if isinstance(reading, Rejected):
        counts["rejected"] += 1
        yield _json({"rejected": reading.reason, "where": reading.where, "hint": reading.hint, **where})
    elif not reading.events:
        counts["filtered"] += 1
        reasons = [{"reason": part.reason, "where": part.where} for part in reading.filtered]
        yield _json({"filtered": reasons, "type": reading.type, **where})
    else:
        parts = [FilteredPart(part.reason, part.where) for part in reading.filtered]
        for event in reading.events:
            counts["events"] += 1
            yield encode_event(msgspec.structs.replace(event, filtered=parts)).decode()
            parts = []


def _json(value: dict[str, Any]) -> str:
    return _ENCODER.encode(value).decode()
