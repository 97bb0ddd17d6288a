"""Condition, AllergyIntolerance, Procedure, Immunization and ServiceRequest (R4 chapters 9 and 12)."""

from datetime import datetime

from services.domain.events import Allergy, AnyFact, Code, Condition, Order, Procedure, Rank
from services.domain.reasons import FilterReason
from services.formats.fhir import datatypes, times
from services.formats.fhir.access import items, obj, text
from services.formats.fhir.context import Item

_WITHDRAWN = {
    "entered-in-error": Rank.ENTERED_IN_ERROR,
    "not-done": Rank.CANCELLED,
    "not-taken": Rank.CANCELLED,
    "refuted": Rank.CANCELLED,
    "cancelled": Rank.CANCELLED,
    "revoked": Rank.CANCELLED,
}


def rank(status: str) -> Rank:
    """How final a workflow status is: what was withdrawn or not done supersedes what was said before."""
    return _WITHDRAWN.get(status, Rank.PRELIMINARY if status in ("draft", "preparation", "unknown") else Rank.FINAL)


def named(item: Item, element: str) -> Code | None:
    """The main code of an element; None, set aside, when there is none."""
    code = datatypes.concept(item.resource.get(element))
    if code is None:
        item.drop(FilterReason.NO_CODE, element)
    return code


def _own(code: Code, *more: str) -> tuple[str, ...]:
    return code.system, code.code, *more


def condition(item: Item) -> list[AnyFact]:
    """A diagnosis or problem: onset, else when it was recorded; abatement ends it."""
    get = item.resource.get
    code = named(item, "code")
    recorded = item.moment(get("recordedDate"), "recordedDate")
    at = item.choice("onset") or recorded or item.about_when()
    if code is None:
        return []
    if at is None:
        item.drop(FilterReason.NO_TIME)
        return []
    end = item.choice("abatement", end=True)
    clinical = datatypes.concept(get("clinicalStatus"))
    verification = datatypes.concept(get("verificationStatus"))
    state = clinical.code if clinical else ("resolved" if end else "")
    return [
        Condition(
            id=item.id("condition", *_own(code, str(times.epoch_ms(at)))),
            version=item.version(rank(verification.code if verification else ""), None if item.issued else end or at),
            code=code,
            time=at,
            end=end,
            status=state,
            encounter=item.encounter(get("encounter")),
        )
    ]


_SEVERITIES = ("mild", "moderate", "severe")


def allergy(item: Item) -> list[AnyFact]:
    """An allergy or intolerance: to what (the code, else a reaction's substance), onset, else when it was recorded."""
    get = item.resource.get
    reactions = items(get("reaction"))
    substance = next(filter(None, (datatypes.concept(one.get("substance")) for one in reactions)), None)
    code = datatypes.concept(get("code")) or substance or named(item, "code")
    at = item.choice("onset") or item.moment(get("recordedDate"), "recordedDate") or item.about_when()
    if code is None:
        return []
    if at is None:
        item.drop(FilterReason.NO_TIME)
        return []
    clinical = datatypes.concept(get("clinicalStatus"))
    verification = datatypes.concept(get("verificationStatus"))
    severities = [_SEVERITIES.index(word) for one in reactions if (word := text(one.get("severity"))) in _SEVERITIES]
    categories = get("category")
    return [
        Allergy(
            id=item.id("allergy", *_own(code)),
            version=item.version(rank(verification.code if verification else ""), None if item.issued else at),
            code=code,
            time=at,
            category=text(categories[0]) if isinstance(categories, list) and categories else "",
            severity=_SEVERITIES[max(severities)] if severities else "",
            criticality=text(get("criticality")),
            status=clinical.code if clinical else "",
        )
    ]


def procedure(item: Item) -> list[AnyFact]:
    """A procedure, done or being done (performed[x]; R5 occurrence[x])."""
    code = named(item, "code")
    at = item.choice("performed") or item.choice("occurrence") or item.about_when()
    return _procedure(item, code, at)


def immunization(item: Item) -> list[AnyFact]:
    """A vaccination: its vaccine code is the procedure's."""
    code = named(item, "vaccineCode")
    return _procedure(item, code, item.choice("occurrence") or item.about_when())


def _procedure(item: Item, code: Code | None, at: datetime | None) -> list[AnyFact]:
    if code is None:
        return []
    if at is None:
        item.drop(FilterReason.NO_TIME)
        return []
    status = text(item.resource.get("status"))
    return [
        Procedure(
            id=item.id("procedure", *_own(code, str(times.epoch_ms(at)))),
            version=item.version(rank(status), None if item.issued else at),
            code=code,
            time=at,
            status=status,
            encounter=item.encounter(item.resource.get("encounter")),
        )
    ]


def service_request(item: Item) -> list[AnyFact]:
    """A request for a test, study or service: when it was authored, else when it is to happen."""
    get = item.resource.get
    code = datatypes.concept(obj(get("code")).get("concept")) or named(item, "code")  # R5: a CodeableReference
    at = item.moment(get("authoredOn"), "authoredOn") or item.choice("occurrence") or item.about_when()
    if code is None:
        return []
    if at is None:
        item.drop(FilterReason.NO_TIME)
        return []
    status = text(get("status"))
    return [
        Order(
            id=item.id("order", *_own(code, str(times.epoch_ms(at)))),
            version=item.version(rank(status), None if item.issued else at),
            code=code,
            time=at,
            status=status,
            encounter=item.encounter(get("encounter")),
        )
    ]
