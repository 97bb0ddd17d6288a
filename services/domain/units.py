"""Values into the canonical unit of their LOINC code.

Order: the site's own alias table, the built-in one, then UCUM. Mass and substance are converted by the molar mass
of the code's analyte, equivalents by its valence, temperatures with their offset. What comes out is held to the
code's physically possible bounds.
"""

import math
import re
import sys
from fractions import Fraction

import msgspec

from services.domain.codes import BY_LOINC, Variable
from services.domain.reasons import FilterReason
from services.domain.site import Site
from services.domain.ucum import MAX_LENGTH, Dimensions, UcumError, Unit, parse
from services.domain.unit_tables import ALIASES, FOLDED, MOLAR_MASS, VALENCE, fold


class Quantity(msgspec.Struct, frozen=True, gc=False):
    """A number in a UCUM unit."""

    value: float
    unit: str


class _Conversion(msgspec.Struct, frozen=True, gc=False):
    """value * factor + offset is in `unit`; it must then lie in [low, high]. `exact` leaves the value untouched."""

    unit: str
    low: float = -math.inf
    high: float = math.inf
    factor: float = 1.0
    offset: float = 0.0
    exact: bool = True


_LARGEST = sys.float_info.max
_CACHE_SIZE = 16384
_cache: dict[tuple[str, str], _Conversion | FilterReason] = {}
"""(LOINC, unit as written) -> conversion. Bounded, because senders can write any unit they like."""


def canonical(loinc: str, value: float, unit: str, site: Site) -> Quantity | FilterReason:
    """The value in the code's canonical unit, or why it cannot be had.

    A code without a canonical unit keeps its value, with the unit in UCUM's normal spelling. An empty unit is read
    only for codes whose results have one convention everywhere (`Variable.assumed`), and only when the value fits.
    Reasons: NOT_A_NUMBER (NaN, infinite), UNKNOWN_UNIT, INCOMPATIBLE_UNIT (of another dimension), IMPLAUSIBLE_VALUE.
    """
    if site.unit_aliases:
        unit = site.unit_aliases.get(unit, unit)
    conversion = _cache.get((loinc, unit))
    if conversion is None:
        conversion = _remember(loinc, unit)
    if conversion.__class__ is FilterReason:
        return conversion if unit.strip() else _without_unit(loinc, value)
    assert isinstance(conversion, _Conversion)
    value = value + 0.0 if conversion.exact else round(value * conversion.factor + conversion.offset, 10)
    if conversion.low <= value <= conversion.high:
        return Quantity(value, conversion.unit)
    return FilterReason.IMPLAUSIBLE_VALUE if math.isfinite(value) else FilterReason.NOT_A_NUMBER


def normalised(unit: str, site: Site) -> str | None:
    """The unit's UCUM spelling; '' for none; None when it is no unit that we know."""
    readings = _readings(site.unit_aliases.get(unit, unit))
    return readings[0][1] if readings else ("" if not unit.strip() else None)


def _remember(loinc: str, unit: str) -> _Conversion | FilterReason:
    if len(_cache) >= _CACHE_SIZE:
        _cache.clear()
    conversion = _conversion(loinc, unit)
    if len(unit) <= MAX_LENGTH:
        _cache[(loinc, unit)] = conversion
    return conversion


def _conversion(loinc: str, unit: str) -> _Conversion | FilterReason:
    sources = _readings(unit)
    variable = BY_LOINC.get(loinc)
    if variable is None:
        if not sources and unit.strip():
            return FilterReason.UNKNOWN_UNIT
        return _Conversion(sources[0][1] if sources else "", -_LARGEST, _LARGEST)
    target = parse(variable.unit)[0]
    for source, _ in sources:
        ratio = _ratio(source.dimensions, target.dimensions, loinc)
        if ratio is not None:
            return _linear(source, target, ratio, variable)
    return FilterReason.INCOMPATIBLE_UNIT if sources else FilterReason.UNKNOWN_UNIT


def _linear(source: Unit, target: Unit, ratio: Fraction, variable: Variable) -> _Conversion:
    factor = source.factor * ratio / target.factor
    offset = (source.offset * ratio - target.offset) / target.factor
    exact = factor == 1 and offset == 0
    return _Conversion(variable.unit, variable.low, variable.high, float(factor), float(offset), exact)


def _ratio(source: Dimensions, target: Dimensions, loinc: str) -> Fraction | None:
    """What a source unit must be multiplied by to have the target's dimensions; None when nothing does it."""
    if source == target:
        return Fraction(1)
    in_grams = _swapped(source, loinc)
    wanted = _swapped(target, loinc)
    if in_grams is None or wanted is None or in_grams[1] != wanted[1]:
        return None
    return in_grams[0] / wanted[0]


def _swapped(dimensions: Dimensions, loinc: str) -> tuple[Fraction, Dimensions] | None:
    """Dimensions with equivalents and moles turned into grams of the code's analyte, and the factor that does it."""
    powers, factor = dict(dimensions), Fraction(1)
    if "eq" in powers:
        if loinc not in VALENCE:
            return None
        factor /= VALENCE[loinc]
        powers["mol"] = powers.get("mol", 0) + powers.pop("eq")
    if powers.get("mol") == 1 and loinc in MOLAR_MASS:
        factor *= Fraction(str(MOLAR_MASS[loinc]))
        powers["g"] = powers.get("g", 0) + powers.pop("mol")
    return factor, tuple(sorted((s, p) for s, p in powers.items() if p))


_MICRO = str.maketrans({"µ": "u", "μ": "u"})
_POWER_OF_TEN = re.compile(r"[xX]?\s*10\s*(?:\^|\*\*?|e|E|exp)\s*(\d{1,2})(?=\D|$)")


def _readings(unit: str) -> list[tuple[Unit, str]]:
    """The UCUM units that a sender's spelling may mean, likeliest first; empty when it is blank or unknown."""
    text = unit.strip().translate(_MICRO)
    if not text or len(text) > MAX_LENGTH:
        return []
    text = _POWER_OF_TEN.sub(r"10*\1", text, count=1)
    found: list[tuple[Unit, str]] = []
    for candidate in (ALIASES.get(text), FOLDED.get(fold(text)), text, text.replace(" ", "")):
        if candidate:
            try:
                found.append(parse(candidate))
            except UcumError:
                continue
    return found


def _without_unit(loinc: str, value: float) -> Quantity | FilterReason:
    """A value that came without its unit: the first of the code's assumed units in which it is possible."""
    variable = BY_LOINC.get(loinc)
    if not math.isfinite(value):
        return FilterReason.NOT_A_NUMBER
    for unit in variable.assumed if variable else ():
        conversion = _cache.get((loinc, unit)) or _remember(loinc, unit)
        if isinstance(conversion, _Conversion):
            converted = value + 0.0 if conversion.exact else round(value * conversion.factor + conversion.offset, 10)
            if conversion.low <= converted <= conversion.high:
                return Quantity(converted, conversion.unit)
    return FilterReason.UNKNOWN_UNIT
