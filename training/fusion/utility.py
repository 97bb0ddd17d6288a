"""What alerting in an hour gains under the utility of CinC 2019 (Reyna et al. 2020, section 'Evaluation')."""

import itertools

import numpy as np
from numpy.typing import NDArray

EARLY, OPTIMAL, LATE = -12, -6, 3  # hours from onset; the label is 1 from 6 h before onset
FALSE_ALARM, WORST_MISS = -0.05, -2.0


def gains(label: NDArray[np.float32], stay: NDArray[np.int32]) -> NDArray[np.float64]:
    """float64 [rows]: utility with an alert in that hour minus utility without. Rows of a stay stand in hour order."""
    result = np.full(len(label), FALSE_ALARM)
    edges = np.flatnonzero(np.r_[True, stay[1:] != stay[:-1], True])
    for begin, end in itertools.pairwise(edges):
        if label[begin:end].any():
            onset = int(np.argmax(label[begin:end] > 0)) - OPTIMAL
            result[begin:end] = septic_gain(np.arange(end - begin) - onset)
    return result


def septic_gain(hours: NDArray[np.int_]) -> NDArray[np.float64]:
    """Gain of an alert so many hours after onset (before: negative)."""
    rising = np.maximum((hours - EARLY) / (OPTIMAL - EARLY), FALSE_ALARM)
    falling = (LATE - hours) / (LATE - OPTIMAL)
    missed = WORST_MISS * (hours - OPTIMAL) / (LATE - OPTIMAL)
    gain: NDArray[np.float64] = np.where(hours <= OPTIMAL, rising, np.where(hours <= LATE, falling - missed, 0.0))
    return gain
