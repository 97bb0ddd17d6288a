import pytest

from services.deliver import names
from services.domain.codes import BY_LOINC, VARIABLES
from services.domain.features import MODALITIES
from services.domain.features.derived import DERIVED
from services.domain.features.static import STATIC
from services.domain.features.variables import MODEL_VARIABLES
from services.domain.news2 import (
    news2,
    pressure_points,
    pulse_points,
    respiration_points,
    saturation_points,
    temperature_points,
)
from services.domain.record import PatientRecord

CONTRIBUTIONS = [v.name for v in MODEL_VARIABLES] + [*MODALITIES, *DERIVED, *STATIC]
CONTRIBUTIONS += [part.name for part in news2(PatientRecord(patient="p"), 0).parts]


@pytest.mark.parametrize("name", CONTRIBUTIONS)
def test_everything_that_may_drive_a_risk_has_a_name_that_people_read(name):
    label = names.contribution(name).label
    assert "_" not in label
    assert label[:1].isupper() or label.startswith("q")


@pytest.mark.parametrize("variable", VARIABLES, ids=lambda v: v.name)
def test_units_are_written_as_people_write_them(variable):
    shown = names.unit(variable.unit)
    assert not set(shown) & set("[]{}*")
    assert shown != "1"


@pytest.mark.parametrize(
    ("loinc", "points", "step"),
    [
        ("9279-1", respiration_points, 1),
        ("59408-5", saturation_points, 1),
        ("8480-6", pressure_points, 1),
        ("8867-4", pulse_points, 1),
        ("8310-5", temperature_points, 0.1),
    ],
)
def test_a_news2_band_is_where_its_chart_gives_no_points(loinc, points, step):
    band = names.BANDS[loinc]
    assert points(band.low) == points(band.high) == 0
    assert points(band.low - step) > 0
    assert band.high + step > BY_LOINC[loinc].high or points(band.high + step) > 0


def test_every_band_says_whose_it_is():
    assert all("(" in band.source and loinc in BY_LOINC for loinc, band in names.BANDS.items())


def test_a_data_set_is_told_from_a_hospital():
    assert "replayed" in names.origin("CINC2019")
    assert names.origin("SYNTHETIC") == "simulated patients"
    assert names.origin("ST-MARY") == "sent by ST-MARY"
    assert names.origin("") == ""
