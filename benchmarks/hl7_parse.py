"""How fast HL7 v2 is read: ours, python-hl7 and hl7apy on one 13-segment ORU^R01, side by side in one run.

`python benchmarks/hl7_parse.py [SECONDS]` prints messages per second of processor time in one process (so
that other work on the machine does not enter), and the ratio to hl7apy. Every run
of ours reads messages that differ in patient, control id, order number, times and values, as a feed's do, so that
no table of whole messages could answer.
"""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import hl7
from hl7apy.parser import parse_message

from services.domain.events import encode_event
from services.domain.site import Site
from services.formats.hl7v2 import er7, read
from services.formats.reading import Reading

SITE = Site(secret=b"benchmark benchmark benchmark...", time_zone="Europe/London")
RECEIVED_MS = 1_780_000_000_000

_RESULTS = (
    ("2160-0^Creatinine^LN", "umol/L", 80.0),
    ("2823-3^Potassium^LN", "mmol/L", 4.0),
    ("2951-2^Sodium^LN", "mmol/L", 140.0),
    ("3094-0^Urea nitrogen^LN", "mg/dL", 15.0),
    ("tt-0002-01^Haemoglobin^WinPath", "g/L", 130.0),
    ("tt-0002-07^White Cell Count^WinPath", "x10*9/L", 7.0),
    ("777-3^Platelets^LN", "10*3/uL", 250.0),
    ("8867-4^Heart rate^LN", "/min", 80.0),
)


def oru(number: int) -> bytes:
    """One of the feed's messages: MSH, PID, PV1, ORC, OBR and eight OBX."""
    stamp = f"202604{1 + number % 28:02d}{number % 24:02d}{number % 60:02d}{number * 7 % 60:02d}"
    patient = 100_000 + number % 997
    segments = [
        f"MSH|^~\\&|LAB|HOSP|WS||{stamp}||ORU^R01^ORU_R01|C{number}|P|2.5.1|||AL|NE||UNICODE UTF-8",
        f"PID|1||{patient}^^^HOSP^MR~{patient * 7}^^^NHS^NH||DOE^JANE^M||19630815|F|||1 MAIN ST^^LONDON^^N1",
        f"PV1|1|I|ICU^{number % 12}^{number % 3}^HOSP||||||||||||||||V{patient}^^^HOSP^VN" + "|" * 25 + stamp,
        f"ORC|RE|P{number}|F{number}||CM||||{stamp}",
        f"OBR|1|P{number}|F{number}|24323-8^CMP^LN|||{stamp}|||||||||||||||{stamp}|||F",
    ]
    for n, (code, unit, value) in enumerate(_RESULTS, 1):
        shown = f"{value * (1 + (number * n) % 100 / 500):.2f}"
        segments.append(f"OBX|{n}|NM|{code}||{shown}|{unit}|1 - 200|N|||F|||{stamp}")
    return "".join(segment + "\r" for segment in segments).encode()


def read_only(raw: bytes) -> None:
    """Split into segments and fields."""
    er7.parse(raw)


def normalize(raw: bytes) -> None:
    """Bytes to the encoded clinical event."""
    found = read(raw, SITE, RECEIVED_MS)
    assert isinstance(found, Reading)
    for event in found.events:
        encode_event(event)


def rate(work: Callable[[bytes], object], messages: Sequence[bytes], seconds: float) -> float:
    """Messages a second: of five rounds the best, as other work on the machine only ever slows one down."""
    best = 0.0
    for _ in range(5):
        done, begin = 0, time.process_time()
        while (passed := time.process_time() - begin) < seconds / 5:
            work(messages[done % len(messages)])
            done += 1
        best = max(best, done / passed)
    return best


def main() -> None:
    """Print the table."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    messages = [oru(n) for n in range(20_000)]
    texts = [raw.decode() for raw in messages[:500]]
    by_text = {id(raw): text for raw, text in zip(messages, texts, strict=False)}
    few = messages[:500]
    rows = [
        ("Wardstream, read only", rate(read_only, messages, seconds)),
        ("Wardstream, read, normalize, encode", rate(normalize, messages, seconds)),
        ("python-hl7, read only", rate(lambda raw: hl7.parse(by_text[id(raw)]), few, seconds)),
        ("hl7apy, read only", rate(lambda raw: parse_message(by_text[id(raw)]), few, seconds)),
    ]
    slowest = rows[-1][1]
    print(f"13-segment ORU^R01, {len(messages[0])} bytes, one process, best of five rounds")
    for name, value in rows:
        print(f"  {name:38} {value:10,.0f} messages/s   {value / slowest:8.1f} x hl7apy")


if __name__ == "__main__":
    main()
