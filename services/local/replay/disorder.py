"""A source's traffic as a bad day brings it: late, out of order, sent again, told too early, corrected, withdrawn.

What stands at the end is what the source itself says, so the record and its scores must come out the same. The same
seed always makes the same bytes. Of ORU^R01 messages these are made, the rest is late or sent again as it is:

    late         arrives up to LATEST_MS after it was sent, whatever was sent since
    repeated     the same bytes again
    resent       the same results in another message, under its own MSH-10
    preliminary  other values with OBX-11 `P` first, then the results with `F`
    corrected    other values with `F`, perhaps with `C`, then the results with `C`
    withdrawn    beside the results an order that never was, with `F` and then with `W` (posted as wrong)
"""

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial

from services.local.replay.chart import stamp
from services.local.replay.source import HOUR_MS, Item, Source, Stay

LATE_SHARE = 0.3
REPEATED_SHARE = 0.1
LATEST_MS = 12 * HOUR_MS
GAP_MS = 20 * 60_000
"""Between two messages about one result: less than most delays, so that a correction often comes first."""


class Disorder:
    """A source that says the same as another, in disorder."""

    def __init__(self, source: Source, seed: int) -> None:
        self.name, self.synthetic = source.name, source.synthetic
        self._source, self._seed = source, seed

    def stays(self, limit: int | None) -> Iterator[Stay]:
        """The other source's patients. Raises what it raises."""
        for stay in self._source.stays(limit):
            yield replace(stay, open=partial(self._items, stay))

    def _items(self, stay: Stay) -> Iterator[Item]:
        chance = random.Random(f"{self._seed} {stay.patient}")
        told = (said for item in stay.open() for said in _said(item, chance))
        return iter(sorted(_delivered(told, chance), key=lambda item: item.time_ms))


def _delivered(items: Iterable[Item], chance: random.Random) -> Iterator[Item]:
    for item in items:
        late = chance.randrange(LATEST_MS) if chance.random() < LATE_SHARE else 0
        yield replace(item, time_ms=item.time_ms + late)
        if chance.random() < REPEATED_SHARE:
            yield replace(item, time_ms=item.time_ms + late + chance.randrange(LATEST_MS))


def _said(item: Item, chance: random.Random) -> list[Item]:
    """The messages in which a hospital says what `item` says; the last word is the item's own."""
    if item.label != "ORU^R01":
        return [item]
    return chance.choice(_WAYS)(item, chance)


def _as_it_is(item: Item, chance: random.Random) -> list[Item]:
    return [item]


def _resent(item: Item, chance: random.Random) -> list[Item]:
    return [item, _edition(item, 1, "F")]


def _preliminary(item: Item, chance: random.Random) -> list[Item]:
    return [_edition(item, 0, "P", chance), _edition(item, 1, "F")]


def _corrected(item: Item, chance: random.Random) -> list[Item]:
    wrong = [_edition(item, n, status, chance) for n, status in enumerate("FC"[: chance.randint(1, 2)])]
    return [*wrong, _edition(item, len(wrong), "C")]


def _withdrawn(item: Item, chance: random.Random) -> list[Item]:
    posted = _edition(item, 0, "F", chance, order="X")
    return [item, posted, _edition(item, 1, "W", order="X")]


_WAYS: tuple[Callable[[Item, random.Random], list[Item]], ...] = (
    _as_it_is,
    _resent,
    _preliminary,
    _corrected,
    _withdrawn,
)


def _edition(item: Item, number: int, status: str, wrong: random.Random | None = None, order: str = "") -> Item:
    """The item's results said once more, `number` gaps later and with a status; with `wrong` in other values.

    MSH-7, MSH-10 and OBR-22 are the edition's own. OBR-3 stays, with `order` behind it where the order is another.
    """
    at = item.time_ms + number * GAP_MS
    segments = [segment.split("|") for segment in item.content().decode().rstrip("\r").split("\r")]
    for fields in segments:
        if fields[0] == "MSH":
            fields[6], fields[9] = stamp(at), f"{fields[9]}{order}-{number}"
        elif fields[0] == "OBR":
            fields[3], fields[22], fields[25] = f"{fields[3]}{order}", stamp(at), status
        elif fields[0] == "OBX":
            fields[11] = status
            if wrong is not None:
                fields[5] = repr(round(float(fields[5]) * wrong.uniform(0.8, 1.2), 5))
    return replace(item, time_ms=at, payload=("\r".join("|".join(fields) for fields in segments) + "\r").encode())
