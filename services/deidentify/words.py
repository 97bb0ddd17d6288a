"""What may pass as it is: codes of public systems by their form, and words of closed lists.

Everything else that a sender writes could be a name, a number or an address: a keyed token takes its place, or nothing.
"""

import re

from services.deidentify.pseudonyms import Pseudonyms
from services.domain.codes import BY_LOINC, LOINC, SNOMED
from services.domain.events import Code

LOCAL = "urn:wardstream:local"
"""Code system of codes that are no public system's: their code is a keyed token."""

_ICD10 = re.compile(r"[A-Z]\d[0-9A-Z](\.?[0-9A-Z]{1,4})?\Z")
_V2_TABLE = re.compile(r"http://terminology\.hl7\.org/CodeSystem/v2-\d{4}\Z")
_FORMS: dict[str, re.Pattern[str]] = {
    "http://www.nlm.nih.gov/research/umls/rxnorm": re.compile(r"\d{1,7}\Z"),
    "http://hl7.org/fhir/sid/icd-10-cm": _ICD10,
    "http://hl7.org/fhir/sid/icd-10": _ICD10,
    "http://hl7.org/fhir/sid/icd-9-cm": re.compile(r"(\d{3}|V\d\d|E\d{3})(\.\d{1,2})?\Z"),
    "http://hl7.org/fhir/sid/cvx": re.compile(r"\d{1,3}\Z"),
    "http://hl7.org/fhir/sid/ndc": re.compile(r"\d{4,5}-\d{3,4}-\d{1,2}\Z"),
    "http://www.ama-assn.org/go/cpt": re.compile(r"\d{4}[0-9A-Z]\Z"),
    "http://www.whocc.no/atc": re.compile(r"[A-Z](\d\d([A-Z]([A-Z](\d\d)?)?)?)?\Z"),
}


def code(sent: Code, names: Pseudonyms) -> Code:
    """The code where its system is public and its form that system's; else a token, the same for the same code."""
    system, text = sent.system, sent.code
    if system == LOINC and is_loinc(text):
        known = BY_LOINC.get(text)
        return Code(LOINC, text, known.display if known else "")
    if system == SNOMED and is_snomed(text):
        return Code(SNOMED, text)
    form = _FORMS.get(system)
    if form is not None and form.match(text):
        return Code(system, text)
    if _V2_TABLE.match(system) and re.fullmatch(r"[A-Z0-9]{1,3}", text):
        return Code(system, text)
    return Code(LOCAL, names.token("code", f"{system}\x1f{text}", 8))


def diagnosis(sent: Code, names: Pseudonyms) -> Code:
    """`code`, for diagnoses: an ICD code whose system the sender calls by a name of its own passes too."""
    found = code(sent, names)
    return Code(LOCAL, sent.code) if found.system == LOCAL and _ICD10.match(sent.code) else found


def is_loinc(text: str) -> bool:
    """Whether a text is a LOINC code: up to five digits and their check digit (mod 10, LOINC Users' Guide app. A)."""
    match = re.fullmatch(r"(\d{1,5})-(\d)", text, re.ASCII)
    return match is not None and _luhn(match[1]) == int(match[2])


def _luhn(digits: str) -> int:
    total = 0
    for n, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if n % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return -total % 10


_TIMES = [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 2, 3, 4, 0, 6, 7, 8, 9, 5], [2, 3, 4, 0, 1, 7, 8, 9, 5, 6]]
_TIMES += [[3, 4, 0, 1, 2, 8, 9, 5, 6, 7], [4, 0, 1, 2, 3, 9, 5, 6, 7, 8], [5, 9, 8, 7, 6, 0, 4, 3, 2, 1]]
_TIMES += [[6, 5, 9, 8, 7, 1, 0, 4, 3, 2], [7, 6, 5, 9, 8, 2, 1, 0, 4, 3], [8, 7, 6, 5, 9, 3, 2, 1, 0, 4]]
_TIMES += [[9, 8, 7, 6, 5, 4, 3, 2, 1, 0]]
_MOVED = [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]]
while len(_MOVED) < 8:
    _MOVED.append([_MOVED[-1][_MOVED[1][n]] for n in range(10)])


def is_snomed(text: str) -> bool:
    """Whether a text is a SNOMED CT concept id: partition 00 or 10 and Verhoeff's check digit (SNOMED CT TIG 6.2)."""
    if not re.fullmatch(r"[1-9]\d{5,17}", text, re.ASCII) or text[-3:-1] not in ("00", "10"):
        return False
    check = 0
    for n, digit in enumerate(reversed(text)):
        check = _TIMES[check][_MOVED[n % 8][int(digit)]]
    return check == 0


def _words(text: str) -> frozenset[str]:
    return frozenset(part.strip() for part in text.split("|"))


VALUES = _words(
    "positive|negative|pos|neg|detected|not detected|reactive|non-reactive|nonreactive|present|absent|yes|no|true|false"
    "|normal|abnormal|trace|small|moderate|large|none|few|many|rare|occasional|clear|cloudy|hazy|turbid|yellow|amber"
    "|straw|red|brown|green|colorless|colourless|high|low|equivocal|indeterminate|inconclusive|intermediate|resistant"
    "|susceptible|sensitive|growth|no growth|1+|2+|3+|4+|+|++|+++|++++|-|a|b|ab|o|a+|a-|b+|b-|ab+|ab-|o+|o-"
    "|rh positive|rh negative|male|female|alive|dead|deceased|final|preliminary|pending|not done|unknown|other"
    "|never smoker|former smoker|current smoker|alert|voice|pain|unresponsive|confused|room air|oxygen"
)
"""Coded and short answers, in lower case, that say the same of anybody."""
_NUMBERS = re.compile(r"[<>]?=?\d{1,6}(\.\d{1,4})?(\s?[-:/]\s?\d{1,6}(\.\d{1,4})?)?%?\Z", re.ASCII)
"""1:128, 3-5, >=8, 120/80: no part has more than six digits."""


def answer(text: str, names: Pseudonyms) -> str:
    """A textual result: a word of VALUES or a small number as it is, else a token (the same answer, the same token)."""
    if text.casefold() in VALUES or (_NUMBERS.match(text) and not _dated(text)):
        return text
    return "t-" + names.token("answer", text, 6)


def _dated(text: str) -> bool:
    return re.search(r"(19|20)\d\d", text) is not None


def reference_range(text: str) -> str:
    """A range of numbers, else ''."""
    return text if _NUMBERS.match(text) and not _dated(text) else ""


def one_of(text: str, allowed: frozenset[str], instead: str = "") -> str:
    """The text where it is in the list."""
    return text if text in allowed else instead


INTERPRETATIONS = _words("|H|L|HH|LL|N|A|AA|<|>|S|R|I|POS|NEG|IND|DET|ND|U|D|B|W|HU|LU|RR|NR|WR|SDD|NS|E|IE")
"""HL7 table 0078."""
CLASSES = _words("IMP|EMER|AMB|ACUTE|NONAC|OBSENC|PRENC|SS|VR|HH|FLD")
"""HL7 v3 ActEncounterCode."""
STATUSES = _words(
    "|active|on-hold|completed|cancelled|revoked|entered-in-error|stopped|draft|unknown|preparation|in-progress|not-done"
    "|intended|not-taken|resolved|inactive|remission|recurrence|relapse|refused|declined|ended|suspended"
)
DISPOSITIONS = _words("expired|home|alt-home|other-hcf|hosp|long|aadvice|exp|psy|rehab|snf|oth") | {
    f"{n:02d}" for n in range(100)
}
"""FHIR discharge-disposition, UB-04 patient discharge status (two digits)."""
ALLERGY_CATEGORIES = _words("|food|medication|environment|biologic")
SEVERITIES = _words("|mild|moderate|severe")
CRITICALITIES = _words("|low|high|unable-to-assess")
"""FHIR allergy-intolerance-category, reaction-event-severity, allergy-intolerance-criticality."""
ROUTES = _words(
    "|IV|PO|IM|SC|SQ|PR|SL|INH|TOP|NG|ID|IN|OP|OT|TD|NEB|oral|intravenous|intramuscular|subcutaneous|rectal|sublingual"
    "|inhalation|topical|nasal|ophthalmic|transdermal|Oral|Intravenous|Intramuscular|Subcutaneous|Topical|Inhalation"
)
BODY_PARTS = _words(
    "|CHEST|THORAX|ABDOMEN|PELVIS|HEAD|BRAIN|SKULL|NECK|SPINE|CSPINE|TSPINE|LSPINE|LUNG|HEART|LIVER|KIDNEY|SHOULDER"
    "|ELBOW|HAND|WRIST|HIP|KNEE|ANKLE|FOOT|LEG|ARM|EXTREMITY|WHOLEBODY|BREAST|UTERUS|PROSTATE|AORTA|CORONARY"
)
"""Body Part Examined (PS3.16 annex L), the common ones."""
VIEWS = _words("|AP|PA|LL|RL|RLD|LLD|RLO|LLO|LATERAL|AXIAL|OBLIQUE")
CONTENT_TYPES = _words("text/plain|text/html|text/markdown|application/pdf|application/rtf|image/jpeg|image/png")
_ANNOTATIONS = _words("score|1.73_m2|beats|breaths|RBC|WBC|cells|copies|titer|INR|ratio|tbl|dose|drop|puff|CFU|pH")


def unit(text: str) -> str:
    """A UCUM unit whose annotations are known ones and that holds no long number, else ''."""
    if any(part not in _ANNOTATIONS for part in re.findall(r"\{([^}]*)\}?", text)) or re.search(r"\d{5}", text):
        return ""
    return text if len(text) <= 24 and text.isascii() else ""


MAX_DIGITS = 7
"""Significant digits kept of a number, which is finer than what is measured."""
_WHOLE = 1e6
"""Whole numbers from here on may be somebody's (record, telephone and insurance numbers are longer)."""


def number(value: float, *, bounded: bool) -> float | None:
    """The value to MAX_DIGITS significant digits; None where it may be an identifier: seven digits before the point,
    unless its code has physical bounds."""
    return None if abs(value) >= _WHOLE and not bounded else float(f"{value:.{MAX_DIGITS}g}")
