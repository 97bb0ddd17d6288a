"""Statistics of the clinical series up to a moment: the `series` input, one row per variable.

All windows end at `as_of` and are open at their far end, (as_of - w, as_of]. What lies further back than
`HISTORY_HOURS` is not read, save the last two results of a variable, so the cost is bounded however long a
stay is. Counts are of hours with at least one result, so that a monitor that sends every second counts like
one that is charted by the hour. Nothing after `as_of` is read, whatever the record holds.
"""

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.domain.features.variables import MODEL_VARIABLES
from services.domain.record import Outvoted, PatientRecord, Row

HOUR_MS = 3_600_000
HISTORY_HOURS = 72
WINDOWS = (6, 12, 24, HISTORY_HOURS)  # hours
RETRACTED = 5  # Rank.CANCELLED and above
_NUMBER = (float, int)

STATISTICS: tuple[str, ...] = (
    "value",  # the last result
    "hours_since",  # its age
    "delta",  # to the result before it
    "change_6h",  # to the last result that was 6 h old or older
    "min_6h",
    "max_6h",
    "mean_6h",
    "min_24h",
    "max_24h",
    "mean_24h",
    "min_72h",
    "max_72h",
    "mean_72h",
    "from_mean_72h",  # last minus mean
    "sd_24h",
    "slope_12h",  # per hour, least squares
    "hours_with_6h",  # hours with a result
    "hours_with_24h",
    "hours_with_72h",
)
STATISTIC: dict[str, int] = {name: n for n, name in enumerate(STATISTICS)}
SHAPE = (len(MODEL_VARIABLES), len(STATISTICS))


class Timeline(NamedTuple):
    """The numeric results of the model's variables, laid end to end: variable by variable, in time order."""

    time: NDArray[np.int64]  # [N] epoch ms
    value: NDArray[np.float64]  # [N]
    variable: NDArray[np.intp]  # [P] the variables that have results, ascending
    start: NDArray[np.intp]  # [P + 1] where each variable's results begin


def _points(record: PatientRecord, rows: list[Row], since: float, until: int) -> list[tuple[int, float]]:
    """Usable results with since < time <= until, and at least the last two up to `until` whatever their age.

    Results of one time are put in order of their value: identities differ between ways of sending the same thing.
    """
    found: list[tuple[int, float]] = []
    fresh = 0
    documents, outvoted = record.documents, Outvoted(record, rows)
    for row in reversed(rows):
        time = row.time
        if time > until:
            continue
        if time <= since and len(found) >= 2 and time < found[-1][0]:
            break
        value = row.value
        if row.version.rank < RETRACTED and isinstance(value, _NUMBER):
            if (row.flag or row.id in documents) and outvoted(row):
                continue
            found.append((time, float(value)))
            fresh += time > since
    found.sort()
    return found[-max(fresh, 2) :]


def timeline(record: PatientRecord, as_of_ms: int, whole: bool = False) -> Timeline:
    """The record's results that `statistics` reads at `as_of_ms`; with `whole`, all of them up to then (for `cut`)."""
    since = -np.inf if whole else as_of_ms - HISTORY_HOURS * HOUR_MS
    points: list[tuple[int, float]] = []
    variables: list[int] = []
    starts: list[int] = [0]
    observations = record.observations
    for number, variable in enumerate(MODEL_VARIABLES):
        series = observations.get(variable.loinc)
        if series is not None:
            found = _points(record, series.rows, since, as_of_ms)
            if not found:
                continue
            points += found
            variables.append(number)
            starts.append(len(points))
    flat = np.fromiter(chain.from_iterable(points), np.float64, 2 * len(points)).reshape(-1, 2)
    return Timeline(
        flat[:, 0].astype(np.int64), flat[:, 1].copy(), np.array(variables, np.intp), np.array(starts, np.intp)
    )


def cut(line: Timeline, as_of_ms: int) -> Timeline:
    """The part of a longer timeline that `timeline(record, as_of_ms)` gives: the batch path's only extra step."""
    if not len(line.variable):
        return line
    first, ends = line.start[:-1], line.start[1:]
    after = np.add.reduceat(line.time > as_of_ms, first, dtype=np.intp)
    fresh = np.add.reduceat(line.time > as_of_ms - HISTORY_HOURS * HOUR_MS, first, dtype=np.intp) - after
    take = np.minimum(np.maximum(fresh, 2), ends - first - after)
    stop = ends - after
    begin = stop - take
    kept = take > 0
    begin, stop, take = begin[kept], stop[kept], take[kept]
    starts = np.concatenate(([0], np.cumsum(take)))
    index = np.repeat(begin - starts[:-1], take) + np.arange(starts[-1])
    return Timeline(line.time[index], line.value[index], line.variable[kept], starts)


def statistics(lines: Sequence[Timeline], as_of_ms: Sequence[int]) -> NDArray[np.float32]:
    """float32 [timelines, variables, statistics]; NaN where there is nothing to say.

    `as_of_ms[n]`: the moment of `lines[n]`; none of its results may be later. A timeline's statistics are the same, bit
    for bit, whatever it stands beside: most of the time goes into the number of numpy calls, not into their length.
    """
    table = np.full((len(lines) * SHAPE[0], SHAPE[1]), np.nan)
    table[:, STATISTIC["hours_with_6h"] :] = 0.0
    line = _end_to_end(lines)
    count = len(line.variable)
    if not count:
        return table.astype(np.float32).reshape(-1, *SHAPE)
    first, stop = line.start[:-1], line.start[1:]
    moments = np.repeat(np.array(as_of_ms, np.int64), [len(one.time) for one in lines])
    age = (moments - line.time) / HOUR_MS  # hours, >= 0
    value = np.append(line.value, 0.0)  # one more, so that a segment may end at N
    spans = np.array(WINDOWS, np.float64)[:, None]
    low = stop - np.add.reduceat(age < spans, first, axis=1, dtype=np.intp)  # [W, P]
    some = low < stop
    pairs = np.empty((len(WINDOWS), count, 2), np.intp)
    pairs[..., 0] = low
    pairs[..., 1] = stop
    flat = pairs.ravel()
    rows = np.empty((count, len(STATISTICS)))
    last = value[stop - 1]
    rows[:, 0] = last
    rows[:, 1] = age[stop - 1]
    rows[:, 2] = np.where(stop - first > 1, last - value[stop - 2], np.nan)
    before = low[0] - 1
    rows[:, 3] = np.where(before >= first, last - value[before], np.nan)
    smallest = np.where(some, _segments(np.minimum, value, flat, pairs.shape), np.nan)
    largest = np.where(some, _segments(np.maximum, value, flat, pairs.shape), np.nan)
    sizes = np.where(some, stop - low, 1)
    means = np.where(some, _segments(np.add, value, flat, pairs.shape) / sizes, np.nan)
    for column, window in ((4, 0), (7, 2), (10, 3)):
        rows[:, column] = smallest[window]
        rows[:, column + 1] = largest[window]
        rows[:, column + 2] = means[window]
    rows[:, 13] = last - means[3]
    rows[:, 14], rows[:, 15] = _spread_and_slope(line, value, age, means, low, sizes)
    rows[:, 16:19] = _hours_with(age, first, flat, pairs.shape, some)[[0, 2, 3]].T
    table[line.variable] = rows
    return table.astype(np.float32).reshape(-1, *SHAPE)


def _end_to_end(lines: Sequence[Timeline]) -> Timeline:
    """All timelines as one; the variables of the n-th are numbered from n * SHAPE[0]."""
    if len(lines) == 1:
        return lines[0]
    sizes = np.cumsum([0, *(len(one.time) for one in lines)])
    return Timeline(
        np.concatenate([one.time for one in lines]),
        np.concatenate([one.value for one in lines]),
        np.concatenate([one.variable + n * SHAPE[0] for n, one in enumerate(lines)]),
        np.concatenate([*(one.start[:-1] + size for one, size in zip(lines, sizes, strict=False)), sizes[-1:]]),
    )


def _segments(
    ufunc: np.ufunc, values: NDArray[np.float64], pairs: NDArray[np.intp], shape: tuple[int, ...]
) -> NDArray[np.float64]:
    """`ufunc` reduced over each [low, stop); garbage where a segment is empty."""
    result: NDArray[np.float64] = ufunc.reduceat(values, pairs)[::2].reshape(shape[:2])
    return result


def _spread_and_slope(
    line: Timeline,
    value: NDArray[np.float64],
    age: NDArray[np.float64],
    means: NDArray[np.float64],
    low: NDArray[np.intp],
    sizes: NDArray[np.intp],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Standard deviation over 24 h and least-squares slope over 12 h (both NaN with fewer than two results)."""
    lengths = np.diff(line.start)
    stop = line.start[1:]
    pairs = np.empty((2, len(lengths), 2), np.intp)
    pairs[..., 1] = stop
    pairs[0, :, 0] = low[2]
    pairs[1, :, 0] = low[1]
    flat = pairs.ravel()
    deviation = np.append(value[:-1] - np.repeat(means[2], lengths), 0.0)
    variance = _segments(np.add, deviation * deviation, flat, pairs.shape)[0] / sizes[2]
    time = np.append(-age, 0.0)
    mean_time = _segments(np.add, time, flat, pairs.shape)[1] / sizes[1]
    centred = np.append(time[:-1] - np.repeat(mean_time, lengths), 0.0)
    moved = np.append(value[:-1] - np.repeat(means[1], lengths), 0.0)
    cross = _segments(np.add, centred * moved, flat, pairs.shape)[1]
    square = _segments(np.add, centred * centred, flat, pairs.shape)[1]
    enough = (stop - low[1] > 1) & (square > 1e-6)
    slope = np.where(enough, cross / np.where(enough, square, 1.0), np.nan)
    return np.where(stop - low[2] > 1, np.sqrt(variance), np.nan), slope


def _hours_with(
    age: NDArray[np.float64],
    first: NDArray[np.intp],
    pairs: NDArray[np.intp],
    shape: tuple[int, ...],
    some: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Number of different whole hours before `as_of` that hold a result, [windows, variables]."""
    hour = np.floor(age)
    new = np.empty(len(age) + 1)
    new[0] = 1.0
    new[-1] = 0.0
    new[1:-1] = hour[1:] != hour[:-1]
    new[first] = 1.0
    return np.where(some, _segments(np.add, new, pairs, shape), 0.0)
