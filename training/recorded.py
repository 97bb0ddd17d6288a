"""Recorded traffic as training data: the one door, and it opens only for folders that `wardstream deidentify` made.

What comes through is the record type that serving has, folded by the same code, so that the same features read it.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from services.bus.objects import FolderObjects
from services.deidentify.manifest import EVENTS, OBJECTS, Manifest, NotDeidentified, verify
from services.domain.events import ClinicalEvent, Merge, decode_event
from services.domain.record import PatientRecord, encode_record, fold

__all__ = ["NotDeidentified", "Person", "TrainingSet", "open_training_set"]


@dataclass(frozen=True)
class Person:
    """One person: the record of everything recorded, merged numbers included, and the events that it is made of.

    `services.domain.outcomes` tells from the events what became of them.
    """

    key: str
    record: PatientRecord
    events: list[ClinicalEvent] = field(repr=False)


class TrainingSet:
    """A verified folder. Holds the place of each event and one person's events at a time."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.manifest = manifest
        self.objects = FolderObjects(folder / OBJECTS)
        """DICOM objects by the reference of an Imaging fact."""
        self._path = folder / EVENTS
        self._places = self._index()

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Person]:
        """Every person, in order of first mention."""
        with self._path.open("rb") as file:
            for key, places in self._places.items():
                events = []
                for place in places:
                    file.seek(place)
                    events.append(decode_event(file.readline()))
                record = PatientRecord(patient=key)
                for event in events:
                    fold(record, event)
                encode_record(record)  # fills as_of and record_version
                yield Person(key, record, events)

    def _index(self) -> dict[str, list[int]]:
        """Offsets of the events of each person; merged keys are one person, named by the key that survives."""
        into: dict[str, str] = {}
        found: defaultdict[str, list[int]] = defaultdict(list)
        with self._path.open("rb") as file:
            place = 0
            for line in file:
                event = decode_event(line)
                found[event.patient].append(place)
                place += len(line)
                for fact in event.facts:
                    if isinstance(fact, Merge) and _end(into, fact.into) != event.patient:
                        into[event.patient] = fact.into
        people: defaultdict[str, list[int]] = defaultdict(list)
        for key, places in found.items():
            people[_end(into, key)] += places
        return {key: sorted(places) for key, places in people.items()}


def _end(into: dict[str, str], key: str) -> str:
    while key in into:
        key = into[key]
    return key


def open_training_set(folder: Path, *, allow_free_text: bool = False) -> TrainingSet:
    """The de-identified folder. Raises NotDeidentified: no manifest, not as it was made, or notes kept as they were."""
    manifest = verify(folder)
    if manifest.free_text and not allow_free_text:
        raise NotDeidentified(f"{folder}: its notes were kept as they were (--keep-text) and may name people")
    return TrainingSet(folder, manifest)
