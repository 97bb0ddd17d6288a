"""What became of a recording, by format: counts and reasons, never content."""

from collections import Counter
from typing import TextIO

import msgspec


class FormatReport(msgspec.Struct):
    """One format's counts. `kept` by kind of fact, `removed` parts and `refused` messages or images by reason."""

    messages: int = 0
    events: int = 0
    filtered: int = 0  # understood, and nothing in them for a record
    images: int = 0
    unstated_pixels: int = 0
    kept: Counter[str] = msgspec.field(default_factory=Counter)
    removed: Counter[str] = msgspec.field(default_factory=Counter)
    refused: Counter[str] = msgspec.field(default_factory=Counter)


class Report(msgspec.Struct):
    """The whole run."""

    formats: dict[str, FormatReport] = {}
    people: int = 0
    max_shift_days: int = 0
    free_text: bool = False
    unreadable_files: int = 0

    def of(self, form: str) -> FormatReport:
        """The report of a format, made when it is first asked for."""
        return self.formats.setdefault(form, FormatReport())

    @property
    def refused(self) -> int:
        """Messages and images that were refused."""
        return sum(one.refused.total() for one in self.formats.values())

    def encode(self) -> bytes:
        """JSON."""
        return msgspec.json.format(msgspec.json.encode(self, order="deterministic"), indent=1) + b"\n"

    def print(self, out: TextIO) -> None:
        """A few lines for a person."""
        for form, one in sorted(self.formats.items()):
            out.write(
                f"{form}: {one.messages:,} messages, {one.events:,} events kept, {one.filtered:,} without content, "
                f"{one.images:,} images, {one.refused.total():,} refused\n"
            )
            for title, counts in (("kept", one.kept), ("removed", one.removed), ("refused", one.refused)):
                if counts:
                    shown = ", ".join(f"{name} {count:,}" for name, count in counts.most_common())
                    out.write(f"  {title}: {shown}\n")
        flagged = sum(one.unstated_pixels for one in self.formats.values())
        out.write(f"{self.people:,} people, times moved by up to {self.max_shift_days} days\n")
        if flagged:
            out.write(f"look at {flagged:,} images: nobody says that there is no writing in them (0028,0301)\n")
        if self.free_text:
            out.write("free text was kept as it was: it may name people\n")
