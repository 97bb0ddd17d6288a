"""HL7 v2.5.1 messages of one patient, written as a hospital's systems write them.

hl7apy builds about 50 messages a second; a replay needs thousands. So the segments are written here as text, and a
test holds the result against hl7apy's validation and against our own reader. MSH-11 is `T`: nobody's live data.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from services.formats.hl7v2.escapes import escapes

_ESCAPES = escapes("|", "^", "~", "\\", "&", "", "utf-8")
EXPIRED = "20"
"""HL7 table 0112 (UB-04 patient status): died in hospital."""
ALIVE = "01"
NOTE = "11506-3^Progress note^LN"


class Measured(NamedTuple):
    """One numeric result: LOINC code, its label, the value in a UCUM unit."""

    loinc: str
    label: str
    value: float
    unit: str


@lru_cache(maxsize=65536)
def stamp(ms: int) -> str:
    """DTM of a moment (epoch ms), to the second, in UTC with its offset."""
    return datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y%m%d%H%M%S+0000")


def text(value: str) -> str:
    """ER7 text."""
    return _ESCAPES.encode(value)


class Chart:
    """One patient and visit. Each method returns one message; equal arguments give equal bytes."""

    def __init__(
        self,
        *,
        application: str,
        facility: str,
        patient: str,
        birth_date: str | None,
        sex: str | None,
        admitted_ms: int,
        name: str = "",
    ) -> None:
        """`birth_date` ISO 8601, `sex` male/female/None; `patient` is the MRN within `facility`, its authority."""
        self.patient, self.facility = patient, facility
        self._application, self._admitted = application, stamp(admitted_ms)
        self._pid = {
            1: "1",
            3: f"{patient}^^^{facility}^MR",
            5: text(name).replace(" ", "^") or f"PATIENT^{patient}",
            7: (birth_date or "").replace("-", ""),
            8: {"male": "M", "female": "F"}.get(sex or "", "U"),
        }
        self._alive = segment("PID", self._pid)
        self._places: dict[str, str] = {}

    def adt(
        self,
        event: str,
        at_ms: int,
        control: str,
        unit: str,
        *,
        prior_unit: str = "",
        disposition: str = "",
        discharged_ms: int | None = None,
        more: Iterable[str] = (),
    ) -> bytes:
        """ADT of a trigger event (A01, A02, A03, A08); `more` are segments after PV1 (OBX, DG1)."""
        at = stamp(at_ms)
        end = "" if discharged_ms is None else stamp(discharged_ms)
        died = end if disposition == EXPIRED else ""
        return _message(
            self._msh(f"ADT^{event}^{_STRUCTURES.get(event, 'ADT_A01')}", at, control),
            f"EVN|{event}|{at}||||{at}",
            segment("PID", {**self._pid, 29: died, 30: "Y"}) if died else self._alive,
            segment("PV1", self._visit(unit, {6: self._place(prior_unit), 36: disposition, 45: end})),
            *more,
        )

    def oru(self, at_ms: int, control: str, unit: str, results: Sequence[Measured], panel: str) -> bytes:
        """ORU^R01 with one OBR (`panel` = code^text^system) and a numeric OBX for each result, none of them twice."""
        at = stamp(at_ms)
        repeated = len({r.loinc for r in results}) < len(results)
        rows = [_obx(n, r, at, str(n) if repeated else "") for n, r in enumerate(results, 1)]
        return _message(
            self._msh("ORU^R01^ORU_R01", at, control),
            self._alive,
            self._at(unit),
            segment("OBR", {1: "1", 3: control, 4: panel, 7: at, 22: at, 25: "F"}),
            *rows,
        )

    def mdm(self, at_ms: int, control: str, unit: str, lines: Sequence[str]) -> bytes:
        """MDM^T02: a new progress note (HL7 table 0270 `PR`) with its text, one OBX a line."""
        at = stamp(at_ms)
        return _message(
            self._msh("MDM^T02^MDM_T02", at, control),
            f"EVN|T02|{at}",
            self._alive,
            self._at(unit),
            segment("TXA", {1: "1", 2: "PR", 3: "TX", 4: at, 6: at, 12: control, 17: "AU"}),
            *(f"OBX|{n}|TX|{NOTE}||{text(line)}||||||F|||{at}" for n, line in enumerate(lines, 1)),
        )

    def age(self, years: float, at_ms: int) -> str:
        """OBX with the exact age, which a birth date to the day cannot carry (LOINC 30525-0)."""
        return self.result(1, Measured("30525-0", "Age", years, "a"), at_ms)

    def result(self, number: int, result: Measured, at_ms: int) -> str:
        """OBX with a number, for `adt`."""
        return _obx(number, result, stamp(at_ms))

    def procedure(self, code: str, label: str, at_ms: int, system: str = "L", number: int = 1) -> str:
        """PR1 with what was done."""
        return f"PR1|{number}||{code}^{text(label)}^{system}||{stamp(at_ms)}"

    def diagnosis(self, code: str, label: str, at_ms: int, system: str = "I10", number: int = 1) -> str:
        """DG1 with a working diagnosis."""
        return f"DG1|{number}||{code}^{text(label)}^{system}||{stamp(at_ms)}|W"

    def _msh(self, kind: str, at: str, control: str) -> str:
        return (
            f"MSH|^~\\&|{self._application}|{self.facility}|WARDSTREAM|EDGE|{at}||{kind}|{control}|T|2.5.1"
            "||||||UNICODE UTF-8"
        )

    def _place(self, unit: str) -> str:
        return f"{unit}^^^{self.facility}" if unit else ""

    def _visit(self, unit: str, more: dict[int, str]) -> dict[int, str]:
        visit = f"{self.patient}V^^^{self.facility}^VN"
        return {1: "1", 2: "I", 3: self._place(unit), 19: visit, 44: self._admitted, **more}

    def _at(self, unit: str) -> str:
        """PV1 of a message that changes nothing of the visit."""
        if unit not in self._places:
            self._places[unit] = segment("PV1", self._visit(unit, {}))
        return self._places[unit]


def _obx(number: int, result: Measured, at: str, sub_id: str = "") -> str:
    loinc, label, value, unit = result
    return f"OBX|{number}|NM|{loinc}^{label}^LN|{sub_id}|{value!r}|{unit}^{unit}^UCUM|||||F|||{at}"


_STRUCTURES = {"A02": "ADT_A02", "A03": "ADT_A03"}


def segment(name: str, fields: dict[int, str]) -> str:
    """A segment from its fields by number (not MSH)."""
    last = max((n for n, value in fields.items() if value), default=0)
    return "|".join([name, *(fields.get(n, "") for n in range(1, last + 1))])


def _message(*segments: str) -> bytes:
    return ("\r".join(segments) + "\r").encode()
