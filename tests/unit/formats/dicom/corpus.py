"""What becomes of every public test file: `python -m tests.unit.formats.dicom.corpus > docs/corpora-dicom.md`."""

from collections import Counter
from pathlib import Path

import msgspec

from services.domain.reasons import Rejected
from services.formats.dicom import encode_object, read, read_header
from services.formats.dicom.pixels import decode
from tests.unit.formats.dicom.files import FOLDERS, RECEIVED_MS, SITE, corpus

HEAD = """# DICOM files that nobody here wrote, and what becomes of them

Every data file inside the Python packages `pydicom-data` 1.0.0 and `pydicom` 3.0.2, in whatever state (some are
text, truncated or deliberately broken), goes the way of a received object: header, event, and for events the
pixels. `tests/unit/formats/dicom/test_corpus.py` holds this page to the code; remake it by
`python -m tests.unit.formats.dicom.corpus > docs/corpora-dicom.md`.
"""

OutcomeOf = tuple[str, str, str]
"""event | filtered | rejected, its modality or reason, and the place in the object."""


def outcome(data: bytes) -> OutcomeOf:
    """How one file ends."""
    found = read_header(data)
    if isinstance(found, Rejected):
        return "rejected", found.reason.value, found.where
    reading = read(encode_object(msgspec.structs.replace(found, object="sha256/…")), SITE, RECEIVED_MS)
    if isinstance(reading, Rejected):
        return "rejected", reading.reason.value, reading.where
    if reading.events:
        return "event", reading.type, ""
    return "filtered", reading.filtered[0].reason.value, reading.filtered[0].where


def page() -> str:
    """The page."""
    return HEAD + "".join(_section(name) for name in FOLDERS)


def _section(name: str) -> str:
    ends = {path: outcome(path.read_bytes()) for path in corpus(name)}
    counts = Counter(end[:2] for end in ends.values())
    rows = [f"| {end} | `{what}` | {count} |" for (end, what), count in sorted(counts.items())]
    table = "\n".join(["| outcome | modality or reason | files |", "|---|---|---|", *rows])
    refused = [
        f"- `{path.name}`: {what} {where}".rstrip() for path, (end, what, where) in ends.items() if end == "rejected"
    ]
    head = f"\n## {name}: {len(ends)} files\n\n{table}\n\n{_pixels(ends)}\n\nRejected, and where in the object:\n\n"
    return head + "\n".join(refused) + "\n"


def _pixels(ends: dict[Path, OutcomeOf]) -> str:
    events = [path for path, (end, _, _) in ends.items() if end == "event"]
    refused = {path.name: answer for path in events if isinstance(answer := decode(path.read_bytes()), Rejected)}
    said = "".join(f" `{name}`: {answer.hint}." for name, answer in refused.items())
    return f"Pixels of the {len(events)} events: {len(events) - len(refused)} decoded, {len(refused)} unreadable.{said}"


if __name__ == "__main__":
    print(page(), end="")
