"""`wardstream evaluate` reads the data sets' public file forms and parquet, and gives the keys of the contract."""

import gzip
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from services.cli import main
from tests.support import ROOT
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


def keys(value: object) -> set[str]:
    """All keys of a report but the names of controls, and but intervals, which stand beside their figure."""
    if isinstance(value, list):
        return {key for item in value for key in keys(item)}
    if not isinstance(value, dict):
        return set()
    found = {key.removesuffix("_ci") for key in value}
    for key, item in value.items():
        found |= keys(list(item.values())) if key == "controls" else keys(item) if key != "reasons" else set()
    return found


@pytest.mark.parametrize(("task", "write"), [("sepsis-6h", psv), ("mortality-48h", txt)])
def test_every_key_of_the_report_is_described(task: str, write: Callable[[Path], None], tmp_path: Path) -> None:
    write(tmp_path)
    described = (ROOT / "docs/report.md").read_text().split("# The report of an evaluation")[1]
    for key in keys(evaluated(task, tmp_path)):
        assert f"`{key}`" in described, key


def test_line_ends_and_further_columns_change_nothing(tmp_path: Path) -> None:
    found = []
    for ends in ("\n", "\r\n"):
        folder = tmp_path / repr(ends)
        folder.mkdir()
        psv(folder)
        for file in folder.glob("*.psv"):
            head, *lines = file.read_text().splitlines()
            further = [head, *lines] if ends == "\n" else [f"{head}|Further", *(f"{line}|3" for line in lines)]
            file.write_text(ends.join([*further, ""]), newline="")
        found.append(evaluated("sepsis-6h", folder))
    assert found[0] == found[1]


def without_outcomes(folder: Path) -> None:
    txt(folder)
    (folder / "Outcomes-c.txt").unlink()


def without_labels(folder: Path) -> None:
    psv(folder)
    for file in folder.glob("*.psv"):
        file.write_text("\n".join(line.rpartition("|")[0] for line in file.read_text().splitlines()))


def with_a_name_for_a_value(folder: Path) -> None:
    psv(folder)
    file = folder / "p000003.psv"
    file.write_text(file.read_text().replace("NaN", "Mustermann", 1))


def with_an_empty_file(folder: Path) -> None:
    psv(folder)
    (folder / "p000003.psv").write_text("")


def with_half_a_table(folder: Path) -> None:
    csv_gz(folder)
    file = folder / "vitalAperiodic.csv.gz"
    file.write_bytes(file.read_bytes()[:60])


def with_a_picture_that_is_none(folder: Path) -> None:
    (folder / "labels.csv").write_text("image,patient,labels\na.jpg,1,Pneumonia\n")
    (folder / "a.jpg").write_text("Mustermann")


@pytest.mark.parametrize(
    ("task", "write", "words"),
    [
        ("sepsis-6h", lambda folder: None, "no .psv or .parquet file"),
        ("sepsis-6h", without_labels, "SepsisLabel"),
        ("sepsis-6h", with_a_name_for_a_value, "after 3 patients"),
        ("sepsis-6h", with_an_empty_file, "after 3 patients"),
        ("mortality-48h", without_outcomes, "Outcomes-*.txt"),
        ("mortality-24h", with_half_a_table, "broken file"),
        ("cxr-pneumonia", with_a_picture_that_is_none, "a.jpg is not a picture"),
    ],
)
def test_data_that_cannot_be_evaluated_are_refused_with_a_sentence(
    task: str, write: Callable[[Path], None], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path)
    assert main(["evaluate", task, str(tmp_path), "--json", str(tmp_path / "r.json")]) == 1
    told = capsys.readouterr().err
    assert words in told
    assert "Mustermann" not in told
    assert not (tmp_path / "r.json").exists()


def test_stays_without_an_outcome_are_counted_and_left_out(tmp_path: Path) -> None:
    txt(tmp_path)
    ends = tmp_path / "Outcomes-c.txt"
    ends.write_text("\n".join(ends.read_text().splitlines()[:-2]) + "\n")
    found = evaluated("mortality-48h", tmp_path)
    assert (found["n_patients"], found["n_unlabelled"]) == (STAYS - 2, 2)


def test_the_runtime_environment_leaves_out_the_refitted_controls_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    monkeypatch.delitem(sys.modules, "training.evaluation.refitted", raising=False)
    txt(tmp_path)
    found = evaluated("mortality-48h", tmp_path)
    assert "lightgbm" in found["reasons"]["controls.refitted here"]  # type: ignore[index]
    assert "make .venv-dev" in capsys.readouterr().out


def test_a_task_that_the_runtime_environment_cannot_do_says_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    csv_gz(tmp_path)
    assert main(["evaluate", "mortality-24h", str(tmp_path)]) == 1
    assert "'pandas'" in capsys.readouterr().err
