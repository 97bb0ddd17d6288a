"""The first pass: who is the same person, and who is over 89, before anything is written."""

from datetime import UTC, datetime, timedelta

from services.deidentify.pseudonyms import Pseudonyms
from services.domain.events import ClinicalEvent, Merge, Patient
from services.domain.features.static import age_at

OLDEST_SHOWN = 89
"""Years; who is older is shown as about 90 (45 CFR 164.514(b)(2)(i)(C))."""
_CAPPED_YEARS = 91  # a birth in the middle of that year is 90 or 91 years ago


class People:
    """Learns from every event of a recording; then tells each patient's shift and birth date."""

    def __init__(self, names: Pseudonyms) -> None:
        self._names = names
        self._into: dict[str, str] = {}
        self._seen: dict[str, datetime] = {}
        self._born: dict[str, set[str]] = {}
        self._oldest: dict[str, tuple[bool, datetime]] | None = None

    def __len__(self) -> int:
        return len({self.group(key) for key in self._seen})

    def learn(self, event: ClinicalEvent) -> None:
        """Note merges, birth dates, and when the patient was last heard of."""
        key = event.patient
        self._oldest = None
        self._seen[key] = max(event.occurred, self._seen.get(key, event.occurred))
        for fact in event.facts:
            if isinstance(fact, Merge):
                self._join(key, fact.into)
            elif isinstance(fact, Patient) and isinstance(fact.birth_date, str):
                self._born.setdefault(key, set()).add(fact.birth_date)

    def group(self, key: str) -> str:
        """One name for all keys of a person: merged records move by the same days."""
        path = []
        while (further := self._into.get(key)) is not None:
            path.append(key)
            key = further
        for passed in path:
            self._into[passed] = key
        return key

    def _join(self, one: str, other: str) -> None:
        low, high = sorted((self.group(one), self.group(other)))
        if low != high:
            self._into[high] = low  # the least key names the group, whatever the order of the merges

    def shift(self, key: str) -> timedelta:
        """By how much the person's times move."""
        return timedelta(days=self._names.shift(self.group(key)))

    def birth_date(self, key: str, said: str) -> str | None:
        """The shifted birth date, as precise as it was; of who has been seen older than 89, a year alone.

        None for a date that cannot be moved.
        """
        old, seen = self._ages().get(self.group(key), (False, datetime.fromtimestamp(0, UTC)))
        shift = self.shift(key)
        if old:
            return f"{(seen + shift).year - _CAPPED_YEARS:04d}"
        parts = [int(part) for part in said[:10].split("-")]
        try:
            moved = datetime(*[*parts, 1, 1][:3]) + shift  # type: ignore[arg-type]
        except (ValueError, OverflowError):
            return None
        return moved.date().isoformat()[: len(said[:10])]

    def _ages(self) -> dict[str, tuple[bool, datetime]]:
        """By person: whether any birth date makes them older than 89 when last seen, and when that was."""
        if self._oldest is None:
            last: dict[str, datetime] = {}
            for key, at in self._seen.items():
                group = self.group(key)
                last[group] = max(at, last.get(group, at))
            self._oldest = {group: (False, at) for group, at in last.items()}
            for key, dates in self._born.items():
                group = self.group(key)
                at = last[group]
                if any(age_at(date, round(at.timestamp() * 1000)) > OLDEST_SHOWN for date in dates):
                    self._oldest[group] = (True, at)
        return self._oldest
