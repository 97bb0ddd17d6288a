"""The acute physiology score: by hand, and equal to the published one on the real stays."""

import pandas as pd
import pytest

from services.domain.features.aps import WORST
from tests.support import shared
from training.eicu.aps import COLUMNS, acute_physiology

NAMES = ("urine", "respiratoryrate", "creatinine", "pao2", "pco2", "ph", "fio2", "eyes", "motor", "verbal")
UNKNOWN = dict.fromkeys([*(COLUMNS.get(name, name) for name in WORST), *NAMES], -1.0)
UNKNOWN |= {"vent": 0.0, "intubated": 0.0, "dialysis": 0.0, "meds": 0.0}


def score(**known: float) -> float:
    return float(acute_physiology(pd.DataFrame([UNKNOWN | known]))[0])


def test_nothing_known_and_all_normal_score_nought() -> None:
    assert score() == 0
    assert score(heartrate=80, meanbp=90, temperature=37, respiratoryrate=18, hematocrit=45, wbc=8, creatinine=1.0) == 0
    assert score(urine=2500, bun=12, sodium=140, albumin=3.5, bilirubin=0.8, glucose=120) == 0


@pytest.mark.parametrize(
    ("known", "points"),
    [
        ({"heartrate": 155}, 17),
        ({"meanbp": 39}, 23),
        ({"temperature": 32.9}, 20),
        ({"respiratoryrate": 10}, 8),
        ({"respiratoryrate": 10, "vent": 1}, 0),
        ({"creatinine": 2.0}, 7),
        ({"creatinine": 2.0, "urine": 300}, 10 + 15),
        ({"pao2": 45}, 15),
        ({"pao2": 60, "pco2": 40, "fio2": 100, "intubated": 1}, 14),
        ({"ph": 7.1, "pco2": 30}, 12),
        ({"eyes": 1, "motor": 1, "verbal": 1}, 48),
        ({"eyes": 4, "motor": 6, "verbal": 5}, 0),
        ({"eyes": 1, "motor": 1, "verbal": 1, "meds": 1}, 0),
    ],
)
def test_points_by_the_published_tables(known: dict[str, float], points: int) -> None:
    assert score(**known) == points


@pytest.mark.data
def test_it_is_the_published_score_on_real_stays() -> None:
    folder = shared("data/eicu")
    results = pd.read_csv(folder / "apachePatientResult.csv.gz")
    results = results[(results.apacheversion == "IVa") & (results.acutephysiologyscore >= 0)]
    both = pd.read_csv(folder / "apacheApsVar.csv.gz").merge(results, on="patientunitstayid")
    assert len(both) > 1000
    assert (acute_physiology(both) == both["acutephysiologyscore"]).mean() > 0.99
