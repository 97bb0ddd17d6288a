"""What one event costs assemble as the number of patients grows: the real step over the real state store.

    python -m benchmarks.patients [--events 5000]

For 1,000, 10,000 and 100,000 patients with a day of hourly results each: events for random patients are folded, their
states read from and written to RocksDB; prints the processor time of an event and its ratio to the smallest.
"""

import argparse
import random
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from services.assemble.step import Assemble
from services.bus.messages import Message
from services.bus.state_store import RocksStore
from services.bus.topics import CLINICAL_EVENTS
from services.domain.codes import VARIABLES
from services.domain.events import AnyFact, ClinicalEvent, Code, Observation, Version, digest, encode_event

SIZES = (1_000, 10_000, 100_000)
HOURS = 24
START = datetime(2026, 3, 1, tzinfo=UTC)
SEEN_EACH_HOUR = VARIABLES[:7]


def event(patient: str, hour: int) -> bytes:
    """One hour's vital signs."""
    at = START + timedelta(hours=hour)
    facts: list[AnyFact] = [
        Observation(
            id=digest(patient, variable.loinc, str(hour), size=8),
            version=Version(3, round(at.timestamp() * 1000), 0, "00000000"),
            code=Code("http://loinc.org", variable.loinc),
            time=at,
            value=(variable.low + variable.high) / 2,
            unit=variable.unit,
        )
        for variable in SEEN_EACH_HOUR
    ]
    return encode_event(
        ClinicalEvent(
            event_id=digest(patient, str(hour)),
            patient=patient,
            format="hl7v2",
            type="ORU^R01",
            occurred=at,
            facts=facts,
        )
    )


def fold_one(step: Assemble, store: RocksStore, patient: str, hour: int) -> None:
    """Read the state, apply one event, write the state."""
    key = patient.encode()
    result = step(Message(CLINICAL_EVENTS.name, 0, hour, key, event(patient, hour)), store.get(key))
    store.apply({key: result.state}, hour)


def main() -> None:
    """Fill, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=5000, help="measured events for each size")
    args = parser.parse_args()
    first = 0.0
    for size in SIZES:
        with tempfile.TemporaryDirectory(prefix="wardstream-bench-") as folder:
            step, store = Assemble(), RocksStore(Path(folder) / "db")
            keys = [digest(str(n), size=16) for n in range(size)]
            template: bytes | None = None
            for hour in range(HOURS):
                template = step(
                    Message(CLINICAL_EVENTS.name, 0, hour, b"template", event("template", hour)), template
                ).state
            assert template is not None
            for at in range(0, size, 1000):
                store.apply({k.encode(): template.replace(b"template", k.encode()) for k in keys[at : at + 1000]}, at)
            chosen = random.Random(1).choices(keys, k=args.events)
            began, used = time.perf_counter(), time.thread_time()
            for number, key in enumerate(chosen):
                fold_one(step, store, key, HOURS + number % 100)
            wall = (time.perf_counter() - began) / args.events * 1e6
            each = (time.thread_time() - used) / args.events * 1e6
            first = first or each
            store.close()
            ratio = f"{each / first:.2f} of the smallest"
            print(f"{size:>7,} patients: {each:5.0f} us of processor an event, {ratio}; {wall:5.0f} us wall")


if __name__ == "__main__":
    main()
