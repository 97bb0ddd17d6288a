"""Small data sets in the public file forms."""

from pathlib import Path

from training.datasets.cinc2019 import COLUMNS as MEASURED

COLUMNS = (*MEASURED, "Age", "Gender", "Unit1", "Unit2", "HospAdmTime", "ICULOS", "SepsisLabel")


def psv(folder: Path, name: str, rows: list[dict[str, object]], **static: object) -> Path:
    """One patient's file; what a row does not give is NaN."""
    fixed = {"Age": 61.5, "Gender": 1, "Unit1": 1, "Unit2": 0, "HospAdmTime": -3.25, "SepsisLabel": 0, **static}
    lines = ["|".join(COLUMNS)]
    for hour, row in enumerate(rows, 1):
        values = {**fixed, "ICULOS": hour, **row}
        lines.append("|".join(str(values.get(column, "NaN")) for column in COLUMNS))
    path = folder / f"{name}.psv"
    path.write_text("\n".join(lines) + "\n")
    return path


def cinc2019(folder: Path) -> Path:
    """Two patients: one who becomes septic, one without a known unit who was never elsewhere."""
    first: list[dict[str, object]] = [
        {"HR": 97, "O2Sat": 95.5, "Temp": 36.11, "FiO2": 0.28, "Lactate": 1.7},
        {},
        {"HR": 101, "SBP": 88, "MAP": 61.33, "DBP": 49, "SepsisLabel": 1},
        {"HR": 110, "WBC": 21.4, "SepsisLabel": 1},
        {"HR": 600, "SepsisLabel": 1},
    ]
    psv(folder, "p000001", first)
    other = [{"HR": 70 + n, "Resp": 14.5} for n in range(12)]
    psv(folder, "p000002", list(other), Age=80, Gender=0, Unit1="NaN", Unit2="NaN", HospAdmTime=0)
    return folder


def cinc2012(folder: Path) -> Path:
    """Two stays: one died, one of unknown height and sex."""
    (folder / "set-a").mkdir()
    first = """Time,Parameter,Value
00:00,RecordID,132539
00:00,Age,54
00:00,Gender,0
00:00,Height,-1
00:00,ICUType,4
00:00,Weight,-1
00:07,HR,73
00:07,SysABP,147
00:07,NISysABP,151
00:37,FiO2,0.5
00:37,Temp,35.6
"""
    second = """Time,Parameter,Value
00:00,RecordID,132540
00:00,Age,76
00:00,Gender,-1
00:00,Height,175.3
00:00,ICUType,2
00:00,Weight,80.6
26:10,Weight,81
"""
    (folder / "set-a" / "132539.txt").write_text(first)
    (folder / "set-a" / "132540.txt").write_text(second)
    (folder / "Outcomes-a.txt").write_text(
        "RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death\n132539,6,1,5,-1,0\n132540,16,8,8,7,1\n"
    )
    return folder / "set-a"
