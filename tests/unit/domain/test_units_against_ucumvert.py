"""Our UCUM reader against ucumvert with pint, which nobody here wrote."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.domain.codes import VARIABLES
from services.domain.ucum import METRIC, PLAIN, PREFIXES, parse
from services.domain.unit_tables import ALIASES, FOLDED

SI = {"g": ("kilogram", 1000.0), "m": ("meter", 1.0), "s": ("second", 1.0), "mol": ("mole", 1.0), "A": ("ampere", 1.0)}
SI |= {"K": ("kelvin", 1.0), "eq": ("mole", 1.0), "osm": ("mole", 1.0)}
# Not in the library in this form, or our own on purpose (see services.domain.ucum).
OURS = (
    "[pH]",
    "[iU]",
    "[IU]",
    "g%",
    "[arb'U]",
    "[CFU]",
    "[diop]",
    "[ppth]",
    "[ppb]",
    "[Ch]",
    "[foz_us]",
    "deg",
    "t",
    "[psi]",
)


@pytest.fixture(scope="module")
def library():
    ucumvert = pytest.importorskip("ucumvert")
    return ucumvert.PintUcumRegistry()


def by_library(library, text: str) -> tuple[float, dict[str, int]]:
    quantity = library.from_ucum(text)
    base = (1 * quantity if not hasattr(quantity, "to_base_units") else quantity).to_base_units()
    return float(base.magnitude), {str(k): int(v) for k, v in base.unit_items()}


def by_us(text: str) -> tuple[float, dict[str, int]]:
    unit = parse(text)[0]
    factor, powers = float(unit.factor), dict[str, int]()
    for symbol, power in unit.dimensions:
        name, grams = SI[symbol]
        factor /= grams**power
        powers[name] = powers.get(name, 0) + power
    return factor, {name: power for name, power in powers.items() if power}


def same(library, text: str) -> None:
    (ours, our_powers), (theirs, their_powers) = by_us(text), by_library(library, text)
    assert our_powers == their_powers, text
    assert ours == pytest.approx(theirs, rel=1e-5), text  # pint's millimetre of mercury has two digits more


def comparable(text: str) -> bool:
    return "{" not in text and "Cel" not in text and "deg" not in text and not any(own in text for own in OURS)


@pytest.mark.parametrize("text", sorted({t for t in (*ALIASES.values(), *FOLDED.values()) if comparable(t)} - {"1"}))
def test_every_unit_of_the_alias_tables_is_what_the_library_says(library, text: str):
    same(library, text)


@pytest.mark.parametrize("text", sorted({v.unit for v in VARIABLES if comparable(v.unit)}))
def test_every_canonical_unit_is_what_the_library_says(library, text: str):
    same(library, text)


@pytest.mark.parametrize("symbol", sorted(s for s in {*METRIC, *PLAIN} if s not in OURS and not s.startswith("10")))
def test_every_unit_atom_is_what_the_library_says(library, symbol: str):
    same(library, symbol)


@pytest.mark.parametrize(
    ("celsius", "unit", "value"), [(37.0, "[degF]", 98.6), (0.0, "[degF]", 32.0), (-40.0, "[degF]", -40.0)]
)
def test_temperatures_are_what_the_library_says(library, celsius: float, unit: str, value: float):
    source, target = parse(unit)[0], parse("Cel")[0]
    ours = float(value * source.factor + source.offset - target.offset)
    assert ours == pytest.approx(celsius)
    assert ours == pytest.approx(library.Quantity(value, library.degF).to(library.degC).magnitude)


atoms = st.tuples(
    st.sampled_from(["", *sorted(set(PREFIXES) - {"da", "Y", "y", "Z", "z"})]),
    st.sampled_from(["m", "g", "mol", "L", "s"]),
).map("".join)
terms = st.tuples(
    atoms.filter(lambda a: a not in ("cd", "Ps", "as", "dm", "Pm"))
    | st.sampled_from(["min", "h", "d", "U", "kat", "kPa", "%"]),
    st.sampled_from(["", "", "2", "-1", "3"]),
).map("".join)


@settings(max_examples=150)
@given(terms, st.lists(st.tuples(st.sampled_from("./"), terms), max_size=3))
def test_any_expression_of_prefixes_powers_and_quotients_is_what_the_library_says(library, first: str, more):
    same(library, first + "".join(op + term for op, term in more))
