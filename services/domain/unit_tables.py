"""What sites write for units, and what one mole of each analyte weighs."""

ALIASES: dict[str, str] = {
    # Codes that UCUM reads as something else, or not at all; letter case matters here.
    "C": "Cel",
    "F": "[degF]",
    "K/uL": "10*3/uL",
    "M/uL": "10*6/uL",
    "G/L": "10*9/L",  # giga, as European laboratories write; grams are g/L
    "T/L": "10*12/L",
}
"""Exact spellings, tried first; where the code's unit is of another dimension the folded table is tried next."""

_FOLDED: dict[str, tuple[str, ...]] = {
    "1": ("ratio", "fraction", "fio2"),
    "%": ("percent", "pct", "per cent", "mdc_dim_percent", "%sat", "% sat", "vol%", "%vol"),
    "/min": (
        *("bpm", "beats/min", "beat/min", "beats per minute", "beats/minute", "beat/minute", "{beats}/min", "per min"),
        *("br/min", "breaths/min", "breath/min", "breaths per minute", "breaths/minute", "brpm", "rpm", "resp/min"),
        *("1/min", "min-1", "/minute", "mdc_dim_beat_per_min", "mdc_dim_resp_per_min", "per minute", "ppm/min"),
        *("{breaths}/min", "{resp}/min", "insp/min", "{beat}/min", "{breath}/min"),
    ),
    "mm[Hg]": ("mmhg", "mm hg", "mm(hg)", "mm[hg]", "mm-hg", "mmhg.", "torr", "mdc_dim_mmhg"),
    "kPa": ("kpa", "mdc_dim_kilo_pascal", "mdc_dim_x_kpa"),
    "cm[H2O]": ("cmh2o", "cm h2o", "cm[h2o]", "mdc_dim_cm_h2o"),
    "Cel": ("°c", "degc", "deg c", "celsius", "degrees c", "º c", "ºc", "℃", "degree celsius", "cel", "mdc_dim_degc"),
    "[degF]": ("°f", "degf", "deg f", "fahrenheit", "degrees f", "ºf", "℉", "[degf]", "[fah]", "mdc_dim_fahr"),
    "kg": ("kg", "kgs", "kilogram", "kilograms", "kilo", "mdc_dim_kilo_g"),
    "g": ("gm", "gms", "gram", "grams"),
    "[lb_av]": ("lb", "lbs", "pound", "pounds", "[lb]", "[lb_us]", "[lb_av]", "mdc_dim_lb"),
    "[oz_av]": ("oz", "ounce", "ounces", "[oz_av]"),
    "cm": ("cm", "cms", "centimeter", "centimeters", "centimetre", "centimetres", "mdc_dim_centi_m"),
    "m": ("meter", "meters", "metre", "metres"),
    "[in_i]": ("in", "inch", "inches", "[in_us]", "[in_i]", "ins", "mdc_dim_inch"),
    "[ft_i]": ("ft", "feet", "foot", "[ft_i]"),
    "mL": ("ml", "cc", "milliliter", "millilitre", "mls", "mdc_dim_milli_l"),
    "L/min": ("l/min", "lpm", "l/m", "liters/min", "litres/min", "mdc_dim_x_l_per_min", "mdc_dim_l_per_min"),
    "mL/h": ("ml/hr", "ml/h", "cc/hr", "ml/hour"),
    "mL/min": ("ml/min", "mlmin"),
    "mL/min/{1.73_m2}": (
        *("ml/min/1.73m2", "ml/min/1.73 m2", "ml/min/1.73m^2", "ml/min/1.73", "ml/min/1.73sqm", "ml/min/1.73m*2"),
        *("ml/min/1.73m²", "ml/min/{1.73_m2}", "ml/min/{1.73m2}", "ml/min/1.73.m2", "ml/min/1.73_m2"),
    ),
    "mmol/L": ("mmol/l", "mmoll", "millimol/l", "mmole/l", "mmols/l", "mmol.l-1", "mm/l"),
    "umol/L": ("umol/l", "umoll", "mcmol/l", "micromol/l", "mcmoll", "umole/l", "mcmole/l", "umol.l-1"),
    "nmol/L": ("nmol/l", "nmoll"),
    "pmol/L": ("pmol/l", "pmoll"),
    "meq/L": ("meq/l", "meql", "meq/liter"),
    "mg/dL": ("mg/dl", "mgdl", "mg/100ml", "mg%", "mg per dl", "mg/100 ml"),
    "mg/L": ("mg/l", "mgl"),
    "g/dL": ("g/dl", "gm/dl", "gdl", "g/100ml", "gm%", "grams/dl"),
    "g/L": ("g/l", "gm/l", "grams/l", "g.l-1"),
    "ug/L": ("ug/l", "mcg/l"),
    "ug/dL": ("ug/dl", "mcg/dl"),
    "ug/mL": ("ug/ml", "mcg/ml"),
    "ng/mL": ("ng/ml", "ngml"),
    "ng/dL": ("ng/dl",),
    "ng/L": ("ng/l", "ngl"),
    "pg/mL": ("pg/ml", "pgml"),
    "mg/g": ("mg/gcreat", "mg/g creat", "mg/gcre"),
    "U/L": ("u/l", "iu/l", "units/l", "unit/l", "u/liter", "[iu]/l", "iu/liter", "int units/l"),
    "ukat/L": ("ukat/l", "mckat/l"),
    "mU/L": ("mu/l",),
    "m[iU]/L": ("miu/l", "uiu/ml", "m[iu]/l"),
    "10*3/uL": (
        *("k/ul", "k/mcl", "k/cumm", "k/mm3", "thou/ul", "thou/mcl", "thous/mcl", "thous/ul", "th/ul", "10e3/ul"),
        *(
            "1000/ul",
            "x1000/ul",
            "thousand/ul",
            "thous/cumm",
            "x10(3)/ul",
            "k/cmm",
            "10*3/mcl",
            "10*3/mm3",
            "10*3/cumm",
        ),
        *("10*3/ul", "10*3/cumm", "thou/cumm", "thou/mm3", "1000/mcl", "10*3{cells}/ul"),
    ),
    "10*6/uL": ("m/ul", "m/mcl", "mil/ul", "mill/ul", "mill/mcl", "million/ul", "10*6/ul", "10*6/mcl", "10*6/mm3"),
    "10*9/L": ("10*9/l", "giga/l", "giga.l-1", "10e9/l", "gpt/l", "x10(9)/l", "bil/l", "billion/l", "10*9.l-1"),
    "10*12/L": ("10*12/l", "tera/l", "tera.l-1", "10e12/l", "tpt/l", "x10(12)/l", "10*12.l-1"),
    "/uL": ("cells/ul", "cells/mcl", "/mm3", "cells/mm3", "/cumm", "cells/cumm", "/ul", "/mcl", "#/ul"),
    "fL": ("fl", "femtoliter", "um3", "um^3"),
    "pg": ("pg", "picogram", "pg/cell", "pg/{cell}"),
    "s": ("sec", "secs", "second", "seconds", "sec."),
    "min": ("mins", "minute", "minutes"),
    "h": ("hr", "hrs", "hour", "hours"),
    "a": ("year", "years", "yr", "yrs"),
    "[pH]": ("ph", "[ph]", "ph units", "ph unit", "units ph"),
    "{score}": ("score", "(score)", "points", "point", "pts", "{points}", "/10", "/15", "{score}", "out of 10"),
    "kg/m2": ("kg/m2", "kg/m^2", "kg/m²", "kg/sqm", "kg/m*2"),
    "mm/h": ("mm/hr", "mm/h", "mm/hour"),
    "{INR}": ("inr",),
    "mosm/kg": ("mosm/kg", "mosmol/kg", "mosm/kgh2o"),
}


def fold(unit: str) -> str:
    """The form in which a spelling is looked up: no spaces, lower case."""
    return "".join(unit.split()).casefold()


FOLDED: dict[str, str] = {fold(spelling): ucum for ucum, spellings in _FOLDED.items() for spelling in spellings}
"""Spellings whose letter case carries nothing, looked up second; keys as `fold` gives them."""

MOLAR_MASS: dict[str, float] = {
    "3094-0": 28.014,  # urea nitrogen: N2 of one mole of urea
    "17861-6": 40.078,
    "2160-0": 113.12,
    "1968-7": 584.66,  # as bilirubin
    "1975-2": 584.66,
    "2345-7": 180.156,
    "2524-7": 90.08,  # as lactic acid, as laboratories convert (9.008 mg/dL per mmol/L)
    "19123-9": 24.305,
    "2777-1": 30.974,  # as inorganic phosphorus
    "2093-3": 386.65,
    "718-7": 16114.5,  # the monomer with one iron, as SI results are reported
    "1751-7": 66500.0,
    "3255-7": 340000.0,
    "2951-2": 22.990,
    "2823-3": 39.098,
    "2075-0": 35.45,
    "1963-8": 61.017,
    "2571-8": 885.43,  # triglycerides as triolein
    "2085-9": 386.65,
    "13457-7": 386.65,
    "18262-6": 386.65,
}
"""LOINC -> g/mol. IUPAC standard atomic weights 2021; PubChem for the compounds; Young & Huth, "SI Units for
Clinical Measurement" (ACP 1998) for the conventions on urea nitrogen, phosphorus and haemoglobin monomer."""

VALENCE: dict[str, int] = {"2951-2": 1, "2823-3": 1, "2075-0": 1, "1963-8": 1, "1925-7": 1, "17861-6": 2, "19123-9": 2}
"""LOINC -> charges per ion: an equivalent is a mole divided by it."""
