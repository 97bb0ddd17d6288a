"""A recording to a folder that training may read: one pass to learn who is who, one to write."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Protocol

import msgspec
from pydicom.uid import ExplicitVRLittleEndian

from services import __version__
from services.bus.objects import FolderObjects
from services.deidentify import facts, image, manifest
from services.deidentify.people import People
from services.deidentify.pseudonyms import Pseudonyms
from services.deidentify.recording import Recorded
from services.deidentify.report import FormatReport, Report
from services.domain.events import AnyFact, ClinicalEvent, Imaging, encode_event
from services.domain.reasons import Rejected
from services.domain.site import Site
from services.formats.reading import Reading
from services.normalize.read import read

Told = Callable[[str, int, int], None]
"""Called with the pass's name, the parts done and the parts in all."""


class Recording(Protocol):
    """Raw messages in parts (files, topics); gone through twice."""

    unreadable: int

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Iterable[Recorded]]: ...


class Options(msgspec.Struct, frozen=True):
    """What may differ from run to run."""

    days: int = 365
    keep_text: bool = False
    strict_pixels: bool = False


class Deidentifier:
    """One run. `site.secret` keys the patient keys and every other name."""

    def __init__(self, site: Site, options: Options, received_ms: int) -> None:
        """Raises ValueError for a secret that is too short or a shift below a day."""
        self.site = site
        self.options = options
        self.names = Pseudonyms(site.secret, options.days)
        self.people = People(self.names)
        self.report = Report(max_shift_days=options.days, free_text=options.keep_text)
        self._received_ms = received_ms

    def __call__(self, recording: Recording, out: Path, told: Told = lambda *_: None) -> Report:
        """Read the recording twice and fill `out`, which must be an empty folder; the manifest comes last."""
        self._learn(recording, told)
        objects = FolderObjects(out / manifest.OBJECTS)
        with (out / manifest.EVENTS).open("xb") as events:
            for n, part in enumerate(recording):
                for message in part:
                    self._write(message, events, objects)
                told("writing", n + 1, len(recording))
        self.report.people = len(self.people)
        self.report.unreadable_files = recording.unreadable
        self._sign(out)
        return self.report

    def _learn(self, recording: Recording, told: Told) -> None:
        for n, part in enumerate(recording):
            for message in part:
                found = self._read(message)
                for event in found.events if isinstance(found, Reading) else ():
                    self.people.learn(event)
            told("reading", n + 1, len(recording))

    def _read(self, message: Recorded) -> Reading | Rejected:
        if isinstance(message.raw, Rejected):
            return message.raw
        return read(message.form, message.raw, self.site, self._received_ms)

    def _write(self, message: Recorded, out: IO[bytes], objects: FolderObjects) -> None:
        counts = self.report.of(message.form)
        counts.messages += 1
        found = self._read(message)
        if isinstance(found, Rejected):
            counts.refused[found.reason] += 1
        elif not found.events:
            counts.filtered += 1
        else:
            for event in found.events:
                self._event(self._with_image(message, event, counts, objects), out, counts)

    def _event(self, event: ClinicalEvent, out: IO[bytes], counts: FormatReport) -> None:
        try:
            made = facts.deidentified(
                event, self.people, self.names, self.options.keep_text, lambda reason: counts.removed.update([reason])
            )
        except facts.Refused as reason:
            counts.refused[str(reason)] += 1
            return
        if not made.facts:
            counts.filtered += 1
            return
        counts.events += 1
        counts.kept.update(type(fact).__name__ for fact in made.facts)
        counts.removed.update(_removed(event.facts, self.options.keep_text))
        out.write(encode_event(made) + b"\n")

    def _with_image(
        self, message: Recorded, event: ClinicalEvent, counts: FormatReport, objects: FolderObjects
    ) -> ClinicalEvent:
        """The event with its image replaced by the de-identified one, or without it where it must not leave."""
        if not any(isinstance(fact, Imaging) and fact.object for fact in event.facts):
            return event
        try:
            data = message.image()
            if data is None:
                raise image.ImageRefused("object_missing")
            made = image.deidentified(data, event, self.people, self.names, self.options.strict_pixels)
        except image.ImageRefused as reason:
            counts.refused[str(reason)] += 1
            rest = [fact for fact in event.facts if not isinstance(fact, Imaging)]
            return msgspec.structs.replace(event, facts=rest)
        reference = asyncio.run(objects.put(made.data))
        counts.images += 1
        counts.unstated_pixels += made.flagged
        return msgspec.structs.replace(event, facts=[_pointed(fact, reference) for fact in event.facts])

    def _sign(self, out: Path) -> None:
        (out / "report.json").write_bytes(self.report.encode())
        formats = self.report.formats.values()
        manifest.write(
            out,
            manifest.Manifest(
                software=f"wardstream {__version__}",
                secret=self.names.fingerprint,
                max_shift_days=self.options.days,
                free_text=self.options.keep_text,
                unstated_pixels=sum(one.unstated_pixels for one in formats),
                people=self.report.people,
                events=sum(one.events for one in formats),
                files=manifest.content(out),
            ),
        )


def _pointed(fact: AnyFact, reference: str) -> AnyFact:
    if not isinstance(fact, Imaging):
        return fact
    return msgspec.structs.replace(
        fact,
        object=reference,
        object_sha256=reference.rpartition("/")[2],
        transfer_syntax=str(ExplicitVRLittleEndian),
    )


def _removed(told: list[AnyFact], keep_text: bool) -> Iterator[str]:
    """What the facts said and no longer say, by name; for the report."""
    for fact in told:
        if getattr(fact, "identifiers", None):
            yield "identifiers"
        if (getattr(fact, "text", "") or getattr(fact, "comment", "")) and not keep_text:
            yield "free_text"
        if getattr(fact, "number", None) or getattr(fact, "accession", None):
            yield "visit_or_accession_number"
