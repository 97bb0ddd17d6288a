"""A strict reader of UCUM unit expressions, as much of the standard as clinical results need.

Case-sensitive (c/s) symbols, metric prefixes, exponents, `.` and `/`, parentheses and annotations, after "The
Unified Code for Units of Measure" version 2.1, sections 2 and 3 (https://ucum.org/ucum). Factors are exact
fractions, so that a conversion is the correctly rounded quotient. Three departures, each because a laboratory means
more by the symbol than UCUM defines:
  `mol` is a dimension of its own (UCUM: the number 6.02e23), so that mass to substance needs a molar mass;
  `eq` is another (UCUM: a mole), because an equivalent of a divalent ion is half a mole;
  `[pH]` and `[iU]` and the other arbitrary units are commensurable with themselves alone (as section 3 asks).
"""

import re
from fractions import Fraction
from functools import lru_cache

import msgspec

MAX_LENGTH = 64
"""Longest unit expression that is read, in characters."""

Dimensions = tuple[tuple[str, int], ...]


class Unit(msgspec.Struct, frozen=True):
    """A unit: `factor` and `offset` to the coherent unit of its dimensions (value * factor + offset)."""

    factor: Fraction
    dimensions: Dimensions = ()
    offset: Fraction = Fraction(0)


PREFIXES: dict[str, Fraction] = {
    prefix: Fraction(10) ** power
    for prefix, power in {
        **{"Y": 24, "Z": 21, "E": 18, "P": 15, "T": 12, "G": 9, "M": 6, "k": 3, "h": 2, "da": 1},
        **{"d": -1, "c": -2, "m": -3, "u": -6, "n": -9, "p": -12, "f": -15, "a": -18, "z": -21, "y": -24},
    }.items()
}

_PRESSURE: Dimensions = (("g", 1), ("m", -1), ("s", -2))
_ENERGY: Dimensions = (("g", 1), ("m", 2), ("s", -2))
_CATALYTIC: Dimensions = (("mol", 1), ("s", -1))
_CUBIC: Dimensions = (("m", 3),)


def _u(factor: str | int, *dimensions: tuple[str, int]) -> Unit:
    return Unit(Fraction(factor), dimensions)


METRIC: dict[str, Unit] = {
    "m": _u(1, ("m", 1)),
    "s": _u(1, ("s", 1)),
    "g": _u(1, ("g", 1)),
    "K": _u(1, ("K", 1)),
    "A": _u(1, ("A", 1)),
    "mol": _u(1, ("mol", 1)),
    "eq": _u(1, ("eq", 1)),
    "osm": _u(1, ("osm", 1)),
    "[iU]": _u(1, ("[iU]", 1)),
    "[IU]": _u(1, ("[iU]", 1)),
    "L": Unit(Fraction("0.001"), _CUBIC),
    "l": Unit(Fraction("0.001"), _CUBIC),
    "t": _u(10**6, ("g", 1)),
    "U": Unit(Fraction(1, 60 * 10**6), _CATALYTIC),  # 1 umol/min
    "kat": Unit(Fraction(1), _CATALYTIC),
    "Pa": Unit(Fraction(1000), _PRESSURE),
    "bar": Unit(Fraction(10**8), _PRESSURE),
    "m[Hg]": Unit(Fraction(133322000), _PRESSURE),
    "m[H2O]": Unit(Fraction(9806650), _PRESSURE),
    "J": Unit(Fraction(1000), _ENERGY),
    "cal": Unit(Fraction("4184"), _ENERGY),
    "W": Unit(Fraction(1000), (("g", 1), ("m", 2), ("s", -3))),
    "N": Unit(Fraction(1000), (("g", 1), ("m", 1), ("s", -2))),
    "V": Unit(Fraction(1000), (("A", -1), ("g", 1), ("m", 2), ("s", -3))),
    "dyn": Unit(Fraction("0.01"), (("g", 1), ("m", 1), ("s", -2))),
    "Hz": _u(1, ("s", -1)),
    "g%": Unit(Fraction(10**4), (("g", 1), ("m", -3))),  # 1 g/dL
}

PLAIN: dict[str, Unit] = {
    "10*": _u(10),
    "10^": _u(10),
    "%": _u("0.01"),
    "[ppth]": _u("0.001"),
    "[ppm]": _u("0.000001"),
    "[ppb]": _u("0.000000001"),
    "deg": _u("0.017453292519943295"),
    "min": _u(60, ("s", 1)),
    "h": _u(3600, ("s", 1)),
    "d": _u(86400, ("s", 1)),
    "wk": _u(604800, ("s", 1)),
    "mo": _u(2629800, ("s", 1)),
    "a": _u(31557600, ("s", 1)),
    "atm": Unit(Fraction(101325000), _PRESSURE),
    "[psi]": Unit(Fraction("6894757.293168361"), _PRESSURE),
    "[lb_av]": _u("453.59237", ("g", 1)),
    "[oz_av]": _u("28.349523125", ("g", 1)),
    "[in_i]": _u("0.0254", ("m", 1)),
    "[ft_i]": _u("0.3048", ("m", 1)),
    "[foz_us]": Unit(Fraction("0.0000295735295625"), _CUBIC),
    "[pH]": _u(1, ("[pH]", 1)),
    "[arb'U]": _u(1, ("[arb'U]", 1)),
    "[CFU]": _u(1, ("[CFU]", 1)),
    "[diop]": _u(1, ("m", -1)),
    "[Ch]": _u("0.00033333333333333335", ("m", 1)),
}

SPECIAL: dict[str, Unit] = {
    "Cel": Unit(Fraction(1), (("K", 1),), Fraction("273.15")),
    "[degF]": Unit(Fraction(5, 9), (("K", 1),), Fraction("459.67") * 5 / 9),
}
"""Units with an offset; they stand alone (section 21)."""

_TOKEN = re.compile(
    r"(?P<annotation>\{[\x21-\x7a|~]*\})"
    r"|(?P<symbol>10[*^]|(?:[^\d\s\"()+\-./=\[\]{}]|\[[^\s\[\]{}]+\])+)(?P<exponent>[+-]?\d{1,2})?"
    r"|(?P<number>\d{1,9})"
    r"|(?P<operator>[./()])"
)


class UcumError(ValueError):
    """The text is no UCUM expression that we read. Carries no part of the text."""


class _Parser:
    """Recursive descent over section 2.3's grammar; keeps the normalised spelling as it goes."""

    def __init__(self, text: str) -> None:
        self.tokens: list[re.Match[str]] = []
        at = 0
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                raise UcumError("character that no unit has")
            self.tokens.append(match)
            at = match.end()
        self.at = 0

    def operator(self) -> str:
        """The operator at the cursor, else ''."""
        return (self.tokens[self.at]["operator"] or "") if self.at < len(self.tokens) else ""

    def term(self) -> tuple[Fraction, dict[str, int], str]:
        """component (('.' | '/') component)*, with an optional leading '/'."""
        factor, dimensions, spelling = Fraction(1), dict[str, int](), ""
        sign = 1
        if self.operator() == "/":
            sign, spelling = -1, "/"
            self.at += 1
        while True:
            part_factor, part_dimensions, part_spelling = self.component()
            factor *= part_factor**sign
            for symbol, power in part_dimensions.items():
                dimensions[symbol] = dimensions.get(symbol, 0) + sign * power
            spelling += part_spelling
            operator = self.operator()
            if operator not in (".", "/") or not operator:
                return factor, dimensions, spelling
            self.at += 1
            spelling += operator
            sign = 1 if operator == "." else -1

    def component(self) -> tuple[Fraction, dict[str, int], str]:
        if self.at >= len(self.tokens):
            raise UcumError("unit ends early")
        token = self.tokens[self.at]
        self.at += 1
        if token["operator"] == "(":
            factor, dimensions, spelling = self.term()
            if self.operator() != ")":
                raise UcumError("unclosed parenthesis")
            self.at += 1
            return factor, dimensions, f"({spelling})"
        if token["annotation"]:
            return Fraction(1), {}, token["annotation"]
        if token["number"]:
            if not int(token["number"]):
                raise UcumError("zero")
            return Fraction(int(token["number"])), {}, token["number"]
        if not token["symbol"]:
            raise UcumError("operator without a unit")
        return self._simple(token)

    def _simple(self, token: re.Match[str]) -> tuple[Fraction, dict[str, int], str]:
        unit, spelling = _atom(token["symbol"])
        power = int(token["exponent"] or 1)
        if token["symbol"] in ("10*", "10^") and token["exponent"] is None:
            raise UcumError("power of ten without its exponent")
        spelling += token["exponent"] or ""
        if self.at < len(self.tokens) and self.tokens[self.at]["annotation"]:
            spelling += self.tokens[self.at]["annotation"]
            self.at += 1
        return unit.factor**power, {symbol: p * power for symbol, p in unit.dimensions}, spelling


def _atom(symbol: str) -> tuple[Unit, str]:
    """A unit atom with at most one prefix, and its normal spelling (`L` for `l`, `10*` for `10^`)."""
    spelling = {"10^": "10*"}.get(symbol, symbol)
    plain = PLAIN.get(symbol) or METRIC.get(symbol)
    if plain is not None:
        return plain, "L" if symbol == "l" else spelling
    for length in (1, 2):
        prefix, rest = symbol[:length], symbol[length:]
        if prefix in PREFIXES and rest in METRIC:
            unit = METRIC[rest]
            return Unit(unit.factor * PREFIXES[prefix], unit.dimensions), prefix + ("L" if rest == "l" else rest)
    raise UcumError("unknown unit symbol")


@lru_cache(maxsize=4096)
def parse(text: str) -> tuple[Unit, str]:
    """The unit that `text` names, and its normal spelling. Raises UcumError when it is none that we read.

    >>> parse("mmol/l")[1]
    'mmol/L'
    """
    if text in SPECIAL:
        return SPECIAL[text], text
    if not text or len(text) > MAX_LENGTH:
        raise UcumError("empty or too long")
    parser = _Parser(text)
    factor, dimensions, spelling = parser.term()
    if parser.at != len(parser.tokens):
        raise UcumError("text after the unit")
    return Unit(factor, tuple(sorted((s, p) for s, p in dimensions.items() if p))), spelling
