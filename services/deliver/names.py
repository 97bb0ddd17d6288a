"""What people call variables, modalities, early-warning parts, units; and the bands in which no score adds points."""

from typing import NamedTuple

from services.domain.code_tables import LOCAL_NAMES
from services.domain.codes import BY_LOINC
from services.domain.features.derived import DERIVED
from services.domain.features.static import STATIC
from services.domain.features.variables import LABS, MODEL_VARIABLES

_UNITS = {
    "1": "",
    "{score}": "",
    "[pH]": "",
    "mm[Hg]": "mmHg",
    "Cel": "°C",
    "[degF]": "°F",
    "10*3/uL": "×10³/µL",
    "10*6/uL": "×10⁶/µL",
    "10*9/L": "×10⁹/L",
    "10*12/L": "×10¹²/L",
    "ug/L": "µg/L",
    "umol/L": "µmol/L",
    "a": "years",
    "[in_i]": "in",
    "[lb_av]": "lb",
}
"""UCUM codes that are not written as people read them."""

MODALITIES = {
    "series": "Vitals and labs",
    "static": "Age, sex, stay",
    "note": "Notes",
    "image": "Images",
    "genomic": "Genomics",
}

_PARTS = {  # of NEWS2, as `services.domain.news2` names them, and their units
    "respiration_rate": ("Respiratory rate", "/min"),
    "oxygen_saturation": ("Oxygen saturation", "%"),
    "supplemental_oxygen": ("Supplemental oxygen", ""),
    "systolic_pressure": ("Systolic blood pressure", "mmHg"),
    "pulse": ("Heart rate", "/min"),
    "consciousness": ("Consciousness", ""),
    "temperature": ("Body temperature", "°C"),
}

_SHORTER = {"59408-5": "Oxygen saturation (SpO₂)", "2708-6": "Arterial O₂ saturation"}

_OTHER = {"30525-0": "Age", "20124-4": "Mechanical ventilation", "3151-8": "Oxygen flow", "33914-3": "eGFR"}

_ABBREVIATIONS = {"sofa": "SOFA", "qsofa": "qSOFA", "sirs": "SIRS", "news2": "NEWS2", "pf": "P/F", "sf": "S/F"}

_READ = {v.loinc: v for v in MODEL_VARIABLES}
_BY_NAME = {v.name: v for v in MODEL_VARIABLES}


class Shown(NamedTuple):
    """A name as people read it, the unit beside its values, and the LOINC code of the series behind it, if any."""

    label: str
    unit: str = ""
    code: str = ""


class Band(NamedTuple):
    """The values that add no point to a published score, in the canonical unit; None where a side is open."""

    low: float | None
    high: float | None
    source: str


_NEWS2 = "no points in NEWS2 (RCP 2017)"
_SOFA = "no points in SOFA (Vincent 1996)"
_SIRS = "no SIRS criterion (Bone 1992)"

BANDS: dict[str, Band] = {
    "9279-1": Band(12, 20, _NEWS2),
    "59408-5": Band(96, 100, _NEWS2),
    "8480-6": Band(111, 219, _NEWS2),
    "8867-4": Band(51, 90, _NEWS2),
    "8310-5": Band(36.1, 38.0, _NEWS2),
    "8478-0": Band(70, None, _SOFA),
    "9269-2": Band(15, 15, _SOFA),
    "777-3": Band(150, None, _SOFA),
    "1975-2": Band(None, 1.2, _SOFA),
    "2160-0": Band(None, 1.2, _SOFA),
    "6690-2": Band(4, 12, _SIRS),
    "2019-8": Band(32, None, _SIRS),
}
"""LOINC -> band. These are the scores' own limits, not a laboratory's reference interval."""


def unit(ucum: str) -> str:
    """A UCUM code as people write it; '' for a pure number."""
    return _UNITS.get(ucum, ucum)


def series_name(key: str, label: str = "") -> str:
    """The name of a series from its key (LOINC, or `system|code`) and the sender's name for it."""
    if key in _READ:
        return _SHORTER.get(key, _READ[key].label)
    if key in BY_LOINC:
        return BY_LOINC[key].display
    return label or _OTHER.get(key) or _LOCAL.get(key) or key.rpartition("|")[2]


def _local_names() -> dict[str, str]:
    """LOINC -> the longest of the names that senders use, for codes that no table of ours displays."""
    longest: dict[str, str] = {}
    for name, loinc in LOCAL_NAMES.items():
        if len(name) > len(longest.get(loinc, "")):
            longest[loinc] = name
    return {loinc: name[:1].upper() + name[1:] for loinc, name in longest.items()}


_LOCAL = _local_names()


def group(key: str) -> str:
    """Where a series stands on the page: vitals, labs or other."""
    variable = _READ.get(key)
    if variable is None:
        return "labs" if key in BY_LOINC and key not in ("29463-7", "8302-2") else "other"
    if variable.name in LABS:
        return "labs"
    return "other" if variable.name in ("weight", "height") else "vitals"


def contribution(name: str) -> Shown:
    """A contribution's name (modality, variable, derived or static feature, NEWS2 part) as people read it."""
    if name in MODALITIES:
        return Shown(MODALITIES[name])
    if name in _BY_NAME:
        variable = _BY_NAME[name]
        return Shown(series_name(variable.loinc), unit(variable.unit), variable.loinc)
    if name in _PARTS:
        return Shown(*_PARTS[name])
    if name in DERIVED or name in STATIC:
        words = [_ABBREVIATIONS.get(word, word) for word in name.split("_")]
        return Shown(words[0][:1].upper() + words[0][1:] + "".join(f" {word}" for word in words[1:]))
    return Shown(name)


DATA_SETS = {
    "CINC2019": "PhysioNet/CinC 2019: real patients, replayed",
    "CINC2012": "PhysioNet/CinC 2012: real patients, replayed",
    "EICU": "eICU demo: real patients, replayed",
    "NIH-CXR": "NIH chest radiographs: real images, replayed",
    "SYNTHETIC": "simulated patients",
}
"""Assigning authority of what `wardstream replay` sends -> where its figures come from."""


def origin(authority: str) -> str:
    """Where a patient's figures come from, as people read it; an authority that is no data set is a hospital's."""
    return DATA_SETS.get(authority.upper(), f"sent by {authority}" if authority else "")
