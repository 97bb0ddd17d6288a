"""Waiting until the stream is drained: every group has committed all there is, and nothing new comes."""

import time
from collections.abc import Callable

from services.bus import admin
from services.bus.settings import Settings
from services.bus.topics import (
    CLINICAL_EVENTS,
    DICOM_RAW,
    FHIR_RAW,
    HL7_RAW,
    PATIENT_RECORDS,
    RECORD_UPDATES,
)

INPUTS = {
    "normalize": (HL7_RAW, FHIR_RAW, DICOM_RAW),
    "assemble": (CLINICAL_EVENTS, RECORD_UPDATES),
    "encode": (CLINICAL_EVENTS,),
    "score": (PATIENT_RECORDS,),
}
"""The steps that must have caught up, with their inputs: encode feeds assemble, so one quiet look is not enough."""

POLL_S = 0.5
QUIET_LOOKS = 3  # in a row, with unchanged ends: a message between two steps is on its way for less than that


def await_drained(settings: Settings, timeout_s: float, progress: Callable[[dict[str, int]], None]) -> bool:
    """True when all steps have caught up; False after `timeout_s` without any progress."""
    quiet, before, moved = 0, None, time.monotonic()
    while True:
        lags = {step: _lag(settings, step) for step in INPUTS}
        progress(lags)
        ends = admin.end_offsets(settings, sorted({t.name for topics in INPUTS.values() for t in topics}))
        state = (sum(lags.values()), tuple(sorted(ends.items())))
        if state != before:
            before, moved, quiet = state, time.monotonic(), 0
        elif not any(lags.values()):
            quiet += 1
        if quiet >= QUIET_LOOKS:
            return True
        if time.monotonic() - moved > timeout_s:
            return False
        time.sleep(POLL_S)


def _lag(settings: Settings, step: str) -> int:
    return sum(part.lag for part in admin.lag(settings, step, [topic.name for topic in INPUTS[step]]))
