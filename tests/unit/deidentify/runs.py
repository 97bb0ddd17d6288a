"""Runs of the de-identifier over messages in memory, and what came of them."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from services.deidentify import words
from services.deidentify.manifest import EVENTS
from services.deidentify.recording import Recorded
from services.deidentify.report import Report
from services.deidentify.run import Deidentifier, Options
from services.domain.events import AnyFact, ClinicalEvent, Document, Merge, Observation, decode_event
from services.domain.reasons import Rejected
from services.domain.references import reference_of
from services.domain.site import Site
from services.formats import dicom
from services.formats.reading import Reading
from services.normalize.read import read

SITE = Site(secret=b"a secret of the tests, of the right length", default_authority="HOSP")
NOW = 1_790_000_000_000


class Messages:
    """A recording in memory, of one part."""

    unreadable = 0

    def __init__(self, messages: Iterable[Recorded]) -> None:
        self._messages = list(messages)

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[list[Recorded]]:
        yield self._messages


def recorded(form: str, raw: bytes) -> Recorded:
    """A message as it lies on its raw topic; DICOM from the file's bytes."""
    if form != "dicom":
        return Recorded(form, raw)
    header = dicom.read_header(raw)
    if isinstance(header, Rejected):
        return Recorded(form, header)
    kept = msgspec.structs.replace(header, object=reference_of(raw))
    return Recorded(form, dicom.encode_object(kept), lambda: raw)


def deidentify(
    folder: Path, *messages: tuple[str, bytes], site: Site = SITE, **options: Any
) -> tuple[Deidentifier, Report]:
    """Run over (format, bytes) messages into a new folder."""
    folder.mkdir(parents=True)
    run = Deidentifier(site, Options(**options), NOW)
    return run, run(Messages(recorded(form, raw) for form, raw in messages), folder)


def events(folder: Path) -> list[ClinicalEvent]:
    """The events that a folder holds."""
    return [decode_event(line) for line in (folder / EVENTS).read_bytes().splitlines()]


def as_read(*messages: tuple[str, bytes], site: Site = SITE) -> list[ClinicalEvent]:
    """The events of the messages with nothing done to them, and those that hold no facts left out."""
    found = []
    for form, raw in messages:
        message = recorded(form, raw)
        reading = message.raw if isinstance(message.raw, Rejected) else read(form, message.raw, site, NOW)
        found += list(reading.events) if isinstance(reading, Reading) else []
    return [event for event in found if event.facts]


_TIMES = ("time", "end", "start", "unit_since", "deceased_at")
_SAME = ("status", "sex", "deceased", "action", "modality", "comparator", "interpretation")


def assert_same_facts(before: ClinicalEvent, after: ClinicalEvent, dropped: Callable[[AnyFact], bool]) -> None:
    """The same clinical facts: kinds, codes of public systems, values, units, states, and all times by one shift."""
    assert after.patient == before.patient
    assert after.format == before.format
    shift = after.occurred - before.occurred
    assert shift.days
    assert shift % timedelta(days=1) == timedelta()
    kept = [fact for fact in before.facts if not dropped(fact)]
    assert [type(f) for f in after.facts] == [type(f) for f in kept]
    for old, new in zip(kept, after.facts, strict=True):
        for name in _TIMES:
            moment = getattr(old, name, None)
            if isinstance(moment, datetime):
                assert getattr(new, name) == moment + shift, name
                assert getattr(new, name).utcoffset() == moment.utcoffset()
        for name in _SAME:
            assert getattr(new, name, None) in (getattr(old, name, None), ""), name
        assert new.version.rank == old.version.rank
        if old.version.issued:
            assert new.version.issued - old.version.issued == shift / timedelta(milliseconds=1)
        if (code := getattr(old, "code", None)) is not None and new.code.system != words.LOCAL:
            assert (new.code.system, new.code.code) == (code.system, code.code)
        if isinstance(old, Observation):
            _same_value(old, new)
        if isinstance(old, Document):
            assert not new.text
        if isinstance(old, Merge):
            assert new.into == old.into


def _same_value(old: Observation, new: Observation) -> None:
    if isinstance(old.value, float):
        assert isinstance(new.value, float)
        assert abs(new.value - old.value) <= 1e-6 * abs(old.value)
        assert new.unit in (old.unit, "")
    elif isinstance(old.value, str):
        assert isinstance(new.value, str)
    else:
        assert new.value is None


def said(event: ClinicalEvent) -> list[AnyFact]:
    """The event's facts without the digest of their source's content, which only breaks ties between versions."""
    return [msgspec.structs.replace(f, version=msgspec.structs.replace(f.version, digest="")) for f in event.facts]
