"""One line of the ward list: who, where, which risks, what data. No identifiers."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from services.deliver import names
from services.domain.outcomes import EXPIRED
from services.domain.prediction import Prediction, Risk
from services.domain.record import Cell, epoch_ms

if TYPE_CHECKING:
    from services.deliver.board import Entry

SYNTHETIC = "SYNTHETIC"
"""Assigning authority of simulated patients: their rows are labelled wherever they show."""
TREND = 24  # newest points of a risk in its row
NEWS2_EMERGENCY = 7  # points: emergency response (RCP 2017, chart 2)

Encounters = dict[str, dict[str, Cell]]


def row_of(entry: "Entry") -> dict[str, Any]:
    """The row of an entry whose record has been seen."""
    head = entry.head
    assert head is not None
    risks = [_risk(entry, prediction, risk) for prediction, risk in entry.risks()]
    newest = max((p for p in entry.latest.values() if p.modalities), key=lambda p: p.as_of, default=None)
    source = head.identifiers[0].authority if head.identifiers else ""
    return {
        "patient": head.patient,
        "record_version": head.record_version,
        "as_of": head.as_of,
        "sex": _value(head.demographics, "sex"),
        "age": age_years(_value(head.demographics, "birth_date"), head.as_of),
        **_place(head.encounters, died=_value(head.demographics, "deceased") is True),
        "source": source,
        "origin": names.origin(source),
        "synthetic": any(identifier.authority.upper() == SYNTHETIC for identifier in head.identifiers),
        "risks": risks,
        "urgency": max(map(_urgency, risks), default=0.0),
        "modalities": msgspec.to_builtins(newest.modalities) if newest else [],
    }


def _risk(entry: "Entry", prediction: Prediction, risk: Risk) -> dict[str, Any]:
    course = entry.course(risk.outcome, prediction.model)[-TREND:]
    return {
        "outcome": risk.outcome,
        "status": risk.status,
        "probability": risk.probability,
        "score": risk.score,
        "alert": risk.alert,
        "threshold": risk.threshold,
        "reason": risk.reason,
        "model": prediction.model,
        "as_of": round(prediction.as_of.timestamp() * 1000),
        "trend": [[p.as_of, round(p.probability, 4)] for p in course if p.probability is not None],
    }


def _urgency(risk: dict[str, Any]) -> float:
    """How high a risk ranks its patient: the probability over its threshold, so that outcomes can be compared."""
    if risk["probability"] is not None:
        return float(risk["probability"] / risk["threshold"] if risk["threshold"] else risk["probability"])
    return float(risk["score"] or 0) / NEWS2_EMERGENCY


def present(encounters: Encounters) -> bool:
    """Whether the patient is in the hospital still, as far as is known."""
    newest = newest_encounter(encounters)
    return not newest or (newest.get("end") is None and newest.get("status") != "finished")


def _place(encounters: Encounters, *, died: bool) -> dict[str, Any]:
    """Ward, bed and whether the patient is still there: of the encounter that began last."""
    newest = newest_encounter(encounters)
    here = present(encounters)
    left = "" if here else "died" if died or newest.get("disposition") == EXPIRED else "discharged"
    return {"unit": newest.get("unit") or "", "bed": newest.get("bed") or "", "present": here, "left": left}


def newest_encounter(encounters: Encounters) -> dict[str, Any]:
    """The fields of the encounter that began last and was not cancelled; empty when there is none."""
    found = [{name: cell.value for name, cell in cells.items()} for cells in encounters.values()]
    found = [fields for fields in found if fields.get("status") != "cancelled"]
    return max(found, key=lambda e: epoch_ms(e.get("start")) or epoch_ms(e.get("unit_since")) or 0, default={})


def _value(cells: dict[str, Cell], name: str) -> Any:
    return cells[name].value if name in cells else None


def age_years(birth_date: Any, as_of_ms: int) -> int | None:
    """Whole years from a birth date (ISO, as precise as known) to a moment; None when unknown."""
    if not isinstance(birth_date, str) or not as_of_ms:
        return None
    try:
        year, month, day = (int(part) for part in (*birth_date[:10].split("-"), "1", "1")[:3])
    except ValueError:
        return None
    moment = datetime.fromtimestamp(as_of_ms / 1000, UTC)
    return moment.year - year - ((moment.month, moment.day) < (month, day))
