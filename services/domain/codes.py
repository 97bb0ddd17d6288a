"""Observation codes: the variables that the models and scores read, and the way from senders' codes to LOINC.

Bounds are what is physically possible in a living patient, not what is normal: a value outside is an artefact or a
mistaken unit. They are the outlier limits of MIMIC-Extract (Wang et al., "MIMIC-Extract", ACM CHIL 2020,
`variable_ranges.csv`), narrowed where a scale has an end (saturation 100 %, GCS 3 to 15, FiO2 1) and widened where
a survivor was reported beyond (the row says who).
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from services.domain.code_tables import EQUIVALENT, LOCAL_NAMES, MDC, OTHER_SYSTEMS, SYSTEM_URIS
from services.domain.events import Code
from services.domain.site import Site

LOINC = "http://loinc.org"
SNOMED = "http://snomed.info/sct"
MDC_SYSTEM = "urn:iso:std:iso:11073:10101"


class Variable(NamedTuple):
    """One canonical observation: LOINC code, UCUM unit, physically possible bounds in that unit (inclusive).

    `assumed` are the units in which a value without any is read, first fit; empty where senders' habits differ in a
    way that the value cannot tell (mg/dL or umol/L, pounds or kilograms).
    """

    name: str
    loinc: str
    unit: str
    low: float
    high: float
    display: str
    assumed: tuple[str, ...] = ()


_V = Variable
_BEATS, _MMHG, _PERCENT, _MMOL = ("/min",), ("mm[Hg]",), ("%", "1"), ("mmol/L",)

VARIABLES: tuple[Variable, ...] = (
    _V("HR", "8867-4", "/min", 0, 390, "Heart rate", _BEATS),
    # Below 10 % no oximeter reads, and a fraction (0.97) would pass for a percentage.
    _V("O2Sat", "59408-5", "%", 10, 100, "Oxygen saturation by pulse oximetry", _PERCENT),
    # Lowest survived core temperature 11.8 (accidental hypothermia, Poland 2014), highest 46.5 (Slovis 1982).
    _V("Temp", "8310-5", "Cel", 10, 47, "Body temperature", ("Cel", "[degF]")),
    _V("SBP", "8480-6", "mm[Hg]", 0, 375, "Systolic blood pressure", _MMHG),
    _V("MAP", "8478-0", "mm[Hg]", 0, 375, "Mean blood pressure", _MMHG),
    _V("DBP", "8462-4", "mm[Hg]", 0, 375, "Diastolic blood pressure", _MMHG),
    _V("Resp", "9279-1", "/min", 0, 330, "Respiratory rate", _BEATS),
    _V("EtCO2", "19889-5", "mm[Hg]", 0, 220, "End-tidal carbon dioxide"),
    _V("BaseExcess", "1925-7", "mmol/L", -60, 60, "Base excess in Arterial blood", _MMOL),
    _V("HCO3", "1963-8", "mmol/L", 0, 66, "Bicarbonate in Serum or Plasma", _MMOL),
    # Hypoxic gas mixtures reach 0.15; room air is 0.21. Fraction and percentage cannot be confused.
    _V("FiO2", "3150-6", "1", 0.15, 1.0, "Inhaled oxygen fraction", ("1", "%")),
    _V("pH", "2744-1", "[pH]", 6.3, 8.4, "pH of Arterial blood", ("[pH]",)),
    # 501 mm[Hg] survived: Slinger et al., Crit Care Med 1987 ("supercarbia").
    _V("PaCO2", "2019-8", "mm[Hg]", 1, 510, "Carbon dioxide partial pressure in Arterial blood"),
    _V("SaO2", "2708-6", "%", 5, 101, "Oxygen saturation in Arterial blood", _PERCENT),
    _V("AST", "1920-8", "U/L", 0, 50000, "Aspartate aminotransferase in Serum or Plasma"),
    _V("BUN", "3094-0", "mg/dL", 0, 400, "Urea nitrogen in Serum or Plasma"),
    _V("Alkalinephos", "6768-6", "U/L", 0, 10000, "Alkaline phosphatase in Serum or Plasma"),
    _V("Calcium", "17861-6", "mg/dL", 0, 30, "Calcium in Serum or Plasma"),
    _V("Chloride", "2075-0", "mmol/L", 20, 250, "Chloride in Serum or Plasma", _MMOL),
    # 73.8 mg/dL: Storm et al., 2013, the highest reported.
    _V("Creatinine", "2160-0", "mg/dL", 0, 80, "Creatinine in Serum or Plasma"),
    _V("Bilirubin_direct", "1968-7", "mg/dL", 0, 80, "Bilirubin.direct in Serum or Plasma"),
    # 2,656 mg/dL survived (Wallach, Guinness World Records 2008).
    _V("Glucose", "2345-7", "mg/dL", 0, 3000, "Glucose in Serum or Plasma"),
    _V("Lactate", "2524-7", "mmol/L", 0, 50, "Lactate in Serum or Plasma"),
    _V("Magnesium", "19123-9", "mg/dL", 0, 30, "Magnesium in Serum or Plasma"),
    _V("Phosphate", "2777-1", "mg/dL", 0, 40, "Phosphate in Serum or Plasma"),
    # Haemolysed samples are measured so too (22.9 in CinC 2012): reported, if not the patient's.
    _V("Potassium", "2823-3", "mmol/L", 0, 30, "Potassium in Serum or Plasma", _MMOL),
    _V("Bilirubin_total", "1975-2", "mg/dL", 0, 90, "Bilirubin.total in Serum or Plasma"),
    _V("TroponinI", "10839-9", "ng/mL", 0, 2000, "Troponin I.cardiac in Serum or Plasma"),
    # From 2 %: below, a value is a fraction (0.45).
    _V("Hct", "4544-3", "%", 2, 100, "Hematocrit of Blood", _PERCENT),
    _V("Hgb", "718-7", "g/dL", 0, 30, "Hemoglobin in Blood"),
    _V("PTT", "14979-9", "s", 5, 500, "aPTT in Platelet poor plasma", ("s",)),
    _V("WBC", "6690-2", "10*3/uL", 0, 1100, "Leukocytes in Blood", ("10*3/uL",)),
    _V("Fibrinogen", "3255-7", "mg/dL", 0, 2500, "Fibrinogen in Platelet poor plasma"),
    _V("Platelets", "777-3", "10*3/uL", 0, 5000, "Platelets in Blood", ("10*3/uL",)),
    _V("Sodium", "2951-2", "mmol/L", 50, 250, "Sodium in Serum or Plasma", _MMOL),
    _V("ALT", "1742-6", "U/L", 0, 50000, "Alanine aminotransferase in Serum or Plasma"),
    _V("Albumin", "1751-7", "g/dL", 0, 10, "Albumin in Serum or Plasma"),
    _V("PaO2", "2703-7", "mm[Hg]", 1, 800, "Oxygen partial pressure in Arterial blood"),
    # Familial hypercholesterolaemia and lipoprotein X: above 1,000.
    _V("Cholesterol", "2093-3", "mg/dL", 0, 3000, "Cholesterol in Serum or Plasma"),
    _V("TroponinT", "6598-7", "ng/mL", 0, 500, "Troponin T.cardiac in Serum or Plasma"),
    _V("GCS", "9269-2", "{score}", 3, 15, "Glasgow coma score total", ("{score}",)),
    _V("Urine", "9187-6", "mL", 0, 20000, "Urine output", ("mL",)),
    # Lightest survivor 0.212 kg (Singapore 2020), heaviest person 635 kg (Guinness).
    _V("Weight", "29463-7", "kg", 0.2, 650, "Body weight"),
    _V("Height", "8302-2", "cm", 20, 280, "Body height"),
)
BY_LOINC: dict[str, Variable] = {v.loinc: v for v in VARIABLES}
BY_NAME: dict[str, Variable] = {v.name: v for v in VARIABLES}


def system_uri(name: str) -> str:
    """The FHIR URI of a code system written as HL7 table 0396 name (`LN`), OID or URI; other names unchanged."""
    return SYSTEM_URIS.get(name.strip().removeprefix("urn:oid:").casefold(), name.strip())


def to_loinc(code: Code, alternatives: Sequence[Code], site: Site) -> Code:
    """The LOINC code of an observation, in its canonical sibling where the table has one; else `code` itself.

    Of the code and its alternatives, the first that is one of `VARIABLES` wins, then the first that is any LOINC
    code. Two LOINC codes stand side by side in FHIR's oxygen saturation profile; the pulse oximeter's own (59408-5)
    is then the more specific. Local names are looked up by code, then by display, regardless of case.
    """
    offered = (code, *alternatives)
    found = [_candidate(c, site) for c in offered] if site.code_aliases else [_resolve(*_parts(c)) for c in offered]
    known = [loinc for loinc in found if loinc in BY_LOINC]
    if known:
        loinc = "59408-5" if "59408-5" in known else known[0]
        return _KNOWN[loinc]
    for loinc, sent in zip(found, offered, strict=True):
        if loinc:
            return Code(LOINC, loinc, _one_line(sent.display))
    return Code(system_uri(code.system), code.code, _one_line(code.display))


_KNOWN: dict[str, Code] = {v.loinc: Code(LOINC, v.loinc, v.display) for v in VARIABLES}
_LOINC_FORM = re.compile(r"\d{1,7}-\d$")


def _parts(code: Code) -> tuple[str, str, str]:
    return code.system, code.code, code.display


def _one_line(display: str) -> str:
    """A display without zero-width and other unprintable characters, as some senders' have them."""
    return display if display.isascii() and display.isprintable() else "".join(c for c in display if c.isprintable())


def _candidate(code: Code, site: Site) -> str:
    aliases = site.code_aliases
    loinc = aliases.get(f"{code.system}|{code.code}") or aliases.get(code.code)
    return EQUIVALENT.get(loinc, loinc) if loinc else _resolve(*_parts(code))


@lru_cache(maxsize=16384)
def _resolve(system: str, code: str, display: str) -> str:
    """The LOINC code for a sender's code, '' when there is none. Cached: senders use few codes, many times."""
    uri = system_uri(system)
    if uri == LOINC and _LOINC_FORM.match(code):
        return EQUIVALENT.get(code, code)
    if uri in OTHER_SYSTEMS:
        return OTHER_SYSTEMS[uri].get(code, "")
    for text in (code, display):
        loinc = MDC.get(text) or LOCAL_NAMES.get(_folded(text))
        if loinc:
            return EQUIVALENT.get(loinc, loinc)
    return EQUIVALENT.get(code, "") if _LOINC_FORM.match(code) else ""


def _folded(name: str) -> str:
    return " ".join(re.sub(r"[^0-9a-z%+]+", " ", name.casefold()).split())
