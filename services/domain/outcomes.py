"""What happened to a patient, told from the same events as the record: death, discharge, sepsis."""

from datetime import datetime

from services.domain.events import Code, Condition, Encounter, EncounterStatus, Fact, Patient

EXPIRED = "expired"

_SEPSIS_PREFIXES = ("A40", "A41", "R65.2", "R652")  # ICD-10-CM: streptococcal, other and severe sepsis
_SEPSIS_CODES = frozenset({"995.91", "995.92", "91302008", "10001005", "76571007"})  # ICD-9-CM; SNOMED CT


def is_sepsis(code: Code) -> bool:
    """Whether a diagnosis is sepsis: ICD-10-CM A40, A41, R65.2; ICD-9-CM 995.91/92; SNOMED CT 91302008 and kin."""
    name = code.code.upper()
    return name.startswith(_SEPSIS_PREFIXES) or name in _SEPSIS_CODES


def died(fact: Fact) -> bool:
    """Whether a fact says that the patient died: discharge disposition 20, 40-42 (table 0112), PID-30, deceased."""
    if isinstance(fact, Encounter):
        return fact.disposition == EXPIRED
    return isinstance(fact, Patient) and fact.deceased is True


def left_how(fact: Fact) -> bool:
    """Whether a fact says how the patient left: without a disposition, survival is not known."""
    return died(fact) or (isinstance(fact, Encounter) and isinstance(fact.disposition, str) and fact.disposition != "")


def stay_ended(fact: Fact) -> bool | None:
    """True when the fact ends the hospital stay, False when it says that it goes on, None when it says neither."""
    if not isinstance(fact, Encounter):
        return None
    if fact.status is EncounterStatus.FINISHED or isinstance(fact.end, datetime):
        return True
    return False if fact.status is EncounterStatus.IN_PROGRESS else None


def sepsis_onset(fact: Fact) -> datetime | None:
    """The time of a sepsis diagnosis, where the fact is one and is not withdrawn."""
    if isinstance(fact, Condition) and is_sepsis(fact.code) and fact.version.rank < 5:
        return fact.time
    return None
