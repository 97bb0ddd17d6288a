"""`wardstream evaluate` reads the data sets' public file forms and parquet, and gives the keys of the contract."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from services.cli import main
from tests.unit.training_evaluation.test_eicu import TABLES
from training.datasets import cinc2019

KEYS = ("utility", "auroc", "auprc", "min_se_ppv", "brier", "calibration_slope", "calibration_intercept")
HEADER = [*cinc2019.COLUMNS, "Age", "Gender", "Unit1", "Unit2", "HospAdmTime", "ICULOS", "SepsisLabel"]
STAYS, HOURS = 8, 12


def hourly(patient: int) -> list[dict[str, float]]:
    """Every other patient's pulse rises to a septic end."""
    septic = patient % 2
    fixed = {"Age": 50 + patient, "Gender": septic, "Unit1": 1, "Unit2": 0, "HospAdmTime": -3}
    return [
        {**fixed, "HR": 80 + 4 * h * septic, "Resp": 18, "ICULOS": h + 1, "SepsisLabel": float(septic and h > 7)}
        for h in range(HOURS)
    ]


def psv(folder: Path) -> None:
    for patient in range(STAYS):
        lines = ["|".join(str(row.get(name, "NaN")) for name in HEADER) for row in hourly(patient)]
        (folder / f"p{patient:06d}.psv").write_text("\n".join(["|".join(HEADER), *lines]) + "\n")


def parquet(folder: Path) -> None:
    rows = [row for patient in range(STAYS) for row in hourly(patient)]
    columns = {name: pa.array([row.get(name, np.nan) for row in rows], pa.float32()) for name in HEADER}
    names = [f"p{patient:06d}" for patient in range(STAYS) for _ in range(HOURS)]
    pq.write_table(pa.table({"patient_id": names, **columns}), folder / "held-out.parquet")


def txt(folder: Path) -> None:
    ends = ["RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death"]
    for stay in range(STAYS):
        dies = stay % 2
        lines = ["Time,Parameter,Value", f"00:00,RecordID,{stay}", "00:00,Age,70", "00:00,Gender,1", "00:00,ICUType,3"]
        lines += [
            f"{h:02d}:30,{name},{value}" for h in range(6) for name, value in (("HR", 80 + 40 * dies), ("GCS", 15))
        ]
        (folder / f"{stay}.txt").write_text("\n".join(lines) + "\n")
        ends.append(f"{stay},-1,-1,5,-1,{dies}")
    (folder / "Outcomes-c.txt").write_text("\n".join(ends) + "\n")


def csv_gz(folder: Path) -> None:
    for name, text in TABLES.items():
        (folder / f"{name}.csv.gz").write_bytes(gzip.compress(text.encode()))


def evaluated(task: str, folder: Path) -> dict[str, object]:
    assert (
        main(["evaluate", task, str(folder), "--json", str(folder / "r.json"), "--html", str(folder / "r.html")]) == 0
    )
    assert (folder / "r.html").read_text().count("<svg") == 4
    found: dict[str, object] = json.loads((folder / "r.json").read_text())
    return found


@pytest.mark.parametrize(
    ("task", "write", "patients"),
    [
        ("sepsis-6h", psv, STAYS),
        ("sepsis-6h", parquet, STAYS),
        ("mortality-48h", txt, STAYS),
        ("mortality-24h", csv_gz, 2),
    ],
)
def test_every_figure_of_the_contract_has_its_interval_beside_it(
    task: str, write: Callable[[Path], None], patients: int, tmp_path: Path
) -> None:
    write(tmp_path)
    found = evaluated(task, tmp_path)
    assert found["n_patients"] == patients
    for key in KEYS:
        assert key in found
        assert f"{key}_ci" in found
    assert (found["utility"] is None) == (task != "sepsis-6h")


def test_the_text_and_the_parquet_form_of_the_same_patients_have_the_same_figures(tmp_path: Path) -> None:
    found = []
    for write in (psv, parquet):
        folder = tmp_path / write.__name__
        folder.mkdir()
        write(folder)
        found.append(evaluated("sepsis-6h", folder))
    assert found[0] == found[1]


def test_a_data_set_in_several_parquet_files_is_read_whole_whatever_the_order_of_its_columns(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "many").mkdir()
    parquet(tmp_path / "one")
    table = pq.read_table(tmp_path / "one" / "held-out.parquet")
    turned = table.select(table.column_names[::-1])
    middle = STAYS // 2 * HOURS
    pq.write_table(turned.slice(0, middle), tmp_path / "many" / "a.parquet")
    pq.write_table(turned.slice(middle), tmp_path / "many" / "b.parquet")
    whole, parts = list(cinc2019.read(tmp_path / "one")), list(cinc2019.read(tmp_path / "many"))
    assert len(whole) == STAYS
    assert [(stay.patient_id, stay.results) for stay in parts] == [(stay.patient_id, stay.results) for stay in whole]
