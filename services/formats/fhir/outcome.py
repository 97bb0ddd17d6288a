"""OperationOutcome: what went wrong, where, and how to mend it (R4 section 2.24; never any content of the message)."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from services.domain.reasons import Filtered, FilterReason, Rejected, RejectReason

REASONS = "urn:wardstream:reason"
"""System of the reason codes in `issue.details`."""


class Issue(NamedTuple):
    """One issue. `where` is a place as the readers name it: `entry[7].subject`, `valueQuantity`, `line 3`."""

    severity: str  # fatal | error | warning | information
    type: str  # R4 issue-type
    reason: str  # RejectReason, FilterReason, or a word of the HTTP API's
    where: str = ""
    hint: str = ""


_TYPES: dict[str, str] = {
    RejectReason.EMPTY: "required",
    RejectReason.TOO_LARGE: "too-long",
    RejectReason.UNDECODABLE_TEXT: "structure",
    RejectReason.NOT_JSON: "structure",
    RejectReason.NOT_FHIR: "structure",
    RejectReason.MALFORMED: "structure",
    RejectReason.MISSING_PATIENT: "required",
    RejectReason.STEP_FAILED: "exception",
    RejectReason.UNRESOLVED_REFERENCE: "not-found",
    FilterReason.UNSUPPORTED_RESOURCE: "not-supported",
    FilterReason.UNSUPPORTED_VALUE_TYPE: "not-supported",
    FilterReason.UNSUPPORTED_MODALITY: "not-supported",
    FilterReason.NO_VALUE: "required",
    FilterReason.NO_CODE: "required",
    FilterReason.NO_TIME: "required",
    FilterReason.NOT_A_NUMBER: "value",
    FilterReason.UNKNOWN_UNIT: "code-invalid",
    FilterReason.INCOMPATIBLE_UNIT: "code-invalid",
    FilterReason.IMPLAUSIBLE_VALUE: "value",
    FilterReason.BAD_ITEM_TIMESTAMP: "value",
    FilterReason.FUTURE_ITEM_TIMESTAMP: "value",
}
"""Reason -> R4 issue-type; of what is not here `invalid` for a reject and `informational` for a part set aside."""


def rejected(problem: Rejected, where: str = "") -> Issue:
    """The issue of a message that is refused; `where` goes before its own place (`line 3`)."""
    place = " ".join(filter(None, (where, problem.where)))
    return Issue("error", _TYPES.get(problem.reason, "invalid"), problem.reason.value, place, problem.hint)


def set_aside(part: Filtered, where: str = "") -> Issue:
    """The issue of a part that is accepted and does not reach the record."""
    place = " ".join(filter(None, (where, part.where)))
    return Issue("information", _TYPES.get(part.reason, "informational"), part.reason.value, place)


def operation_outcome(issues: Iterable[Issue], done: str = "kept") -> dict[str, Any]:
    """The OperationOutcome of some issues; with none, it says what was done."""
    listed = [_issue(issue) for issue in issues]
    return {
        "resourceType": "OperationOutcome",
        "issue": listed or [{"severity": "information", "code": "informational", "diagnostics": done}],
    }


def _issue(issue: Issue) -> dict[str, Any]:
    said: dict[str, Any] = {
        "severity": issue.severity,
        "code": issue.type,
        "details": {"coding": [{"system": REASONS, "code": issue.reason}], "text": issue.reason.replace("_", " ")},
    }
    if issue.hint:
        said["diagnostics"] = issue.hint
    place = "".join(letter for letter in issue.where if letter.isprintable()).strip()
    if place:  # R4's string type knows no control characters
        said["expression"] = [place]
    return said
