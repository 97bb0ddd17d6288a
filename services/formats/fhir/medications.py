"""MedicationRequest, -Administration, -Dispense and -Statement (R4 sections 11.1 to 11.4)."""

from datetime import datetime
from typing import NamedTuple

from services.domain.events import AnyFact, Code, Medication
from services.domain.reasons import FilterReason
from services.formats.fhir import datatypes, times
from services.formats.fhir.access import Object, first, items, number, obj, text
from services.formats.fhir.clinical import rank
from services.formats.fhir.context import Item


class Dose(NamedTuple):
    """One dose: amount, unit as written (UCUM where it is coded), route."""

    amount: float | None = None
    unit: str = ""
    route: str = ""


def request(item: Item) -> list[AnyFact]:
    """An order for a drug (authoredOn)."""
    get = item.resource.get
    validity = obj(obj(get("dispenseRequest")).get("validityPeriod"))
    at = item.moment(get("authoredOn"), "authoredOn") or item.moment(
        validity.get("start"), "dispenseRequest.validityPeriod.start"
    )
    end = item.moment(validity.get("end"), "dispenseRequest.validityPeriod.end", future=True)
    return _medication(item, "ordered", at, end, _instructed(first(get("dosageInstruction"))))


def administration(item: Item) -> list[AnyFact]:
    """A dose given (effective[x]; R5 occurence[x])."""
    at = item.choice("effective") or item.choice("occurence")
    period = obj(item.resource.get("effectivePeriod"))
    end = item.moment(period.get("end"), "effectivePeriod.end") if period else None
    dosage = obj(item.resource.get("dosage"))
    dose = Dose(*_amount(obj(dosage.get("dose"))), datatypes.concept_text(dosage.get("route")))
    return _medication(item, "administered", at, end, dose)


def dispense(item: Item) -> list[AnyFact]:
    """A drug handed over, else prepared."""
    get = item.resource.get
    at = item.moment(get("whenHandedOver"), "whenHandedOver") or item.moment(get("whenPrepared"), "whenPrepared")
    return _medication(item, "dispensed", at, None, _instructed(first(get("dosageInstruction"))))


def statement(item: Item) -> list[AnyFact]:
    """What somebody says that the patient takes (effective[x], else dateAsserted)."""
    at = item.choice("effective") or item.moment(item.resource.get("dateAsserted"), "dateAsserted")
    period = obj(item.resource.get("effectivePeriod"))
    end = item.moment(period.get("end"), "effectivePeriod.end", future=True) if period else None
    return _medication(item, "stated", at, end, _instructed(first(item.resource.get("dosage"))))


def _medication(item: Item, action: str, at: datetime | None, end: datetime | None, dose: Dose) -> list[AnyFact]:
    get = item.resource.get
    code = _drug(item)
    if code is None:
        item.drop(FilterReason.NO_CODE, "medication[x]")
        return []
    at = at or item.about_when()
    if at is None:
        item.drop(FilterReason.NO_TIME)
        return []
    status = text(get("status"))
    return [
        Medication(
            id=item.id(f"medication {action}", code.system, code.code, str(times.epoch_ms(at))),
            version=item.version(rank(status), None if item.issued else at),
            action=action,
            code=code,
            time=at,
            end=end,
            dose=dose.amount,
            unit=dose.unit,
            route=dose.route,
            status=status,
            encounter=item.encounter(get("encounter") or get("context")),
        )
    ]


def _drug(item: Item) -> Code | None:
    """medicationCodeableConcept, else the Medication that medicationReference means, else the reference's display."""
    resource = item.resource
    both = obj(resource.get("medication"))  # R5's CodeableReference
    direct = datatypes.concept(resource.get("medicationCodeableConcept")) or datatypes.concept(both.get("concept"))
    if direct is not None:
        return direct
    reference = obj(resource.get("medicationReference")) or obj(both.get("reference"))
    literal = text(reference.get("reference"))
    held: Object = {}
    if literal.startswith("#"):
        held = next((c for c in items(resource.get("contained")) if text(c.get("id")) == literal[1:]), {})
    elif literal:
        entry = item.ctx.message.find(literal, item.entry)
        held = entry.resource if entry is not None else {}
    code = datatypes.concept(held.get("code")) or _mixture(held)
    shown = text(reference.get("display"))
    number_ = datatypes.identifier(obj(reference.get("identifier")))
    if code is None and number_ is not None:
        return Code(number_.authority, number_.value, shown)
    return code or (Code("", shown, shown) if shown else None)


def _mixture(medication: Object) -> Code | None:
    """A drug without a code of its own, by what is in it."""
    found = [datatypes.concept(one.get("itemCodeableConcept")) for one in items(medication.get("ingredient"))]
    codes = [code for code in found if code is not None]
    if len(codes) < 2:
        return codes[0] if codes else None
    name = " / ".join(code.display or code.code for code in codes)
    return Code("", name, name)


def _amount(quantity: Object) -> tuple[float | None, str]:
    return number(quantity.get("value")), text(quantity.get("code")) or text(quantity.get("unit"))


def _instructed(dosage: Object) -> Dose:
    rate = first(dosage.get("doseAndRate"))
    quantity = obj(rate.get("doseQuantity")) or obj(obj(rate.get("doseRange")).get("high"))
    return Dose(*_amount(quantity), datatypes.concept_text(dosage.get("route")))
