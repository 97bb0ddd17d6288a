"""`wardstream train` from public files to a model folder that scores."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from services.score.offline import Asked, OfflineModel, score_offline
from training import cli
from training.datasets import cinc2019
from training.datasets.stays import record_of

NAMES = ("HR", "Temp", "SBP", "Resp", "Lactate", "WBC")
FIXED = {"Age": 60, "Gender": 1, "Unit1": 0, "Unit2": 1, "HospAdmTime": -3, "EtCO2": "NaN"}


def write(folder: Path, patients: int = 60, hours: int = 20) -> None:
    """Made-up patients of whom those with a fast heart become septic."""
    rng = np.random.default_rng(4)
    header = [*cinc2019.COLUMNS, "Age", "Gender", "Unit1", "Unit2", "HospAdmTime", "ICULOS", "SepsisLabel"]
    for number in range(patients):
        septic = number % 3 == 0
        lines = ["|".join(header)]
        for hour in range(1, hours + 1):
            values = {n: round(float(rng.normal(100, 10)), 1) for n in NAMES if rng.random() < 0.7}
            values |= {"HR": round(float(rng.normal(120 if septic else 80, 10)), 1)}
            row = {**FIXED, **values, "ICULOS": hour, "SepsisLabel": int(septic and hour > 10)}
            lines.append("|".join(str(row.get(name, "NaN")) for name in header))
        (folder / f"p{number:06d}.psv").write_text("\n".join(lines) + "\n")


@pytest.mark.slow
@pytest.mark.timeout(300)  # a whole training run, in miniature
def test_a_model_trained_from_public_files_is_served_as_it_is(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "models"
    data.mkdir()
    write(data)
    words = ["--quick", "--home", str(tmp_path / "home"), "--out", str(out)]
    assert cli.command(argparse.Namespace(task="sepsis-6h", data=data, rest=words)) == 0
    assert {p.name for p in (out / "risk_fusion").iterdir()} >= {"1", "config.pbtxt", "configs", "manifest.json"}
    assert "Switched off" in (out / "risk_fusion" / "MODEL_CARD.md").read_text()
    manifest = json.loads((out / "risk_fusion" / "manifest.json").read_text())
    assert manifest["figures"]["sepsis-6h on cinc2019"]["auroc"] > 0.6  # a miniature run: better than chance

    model = OfflineModel(out)
    assert model.outcomes == ["sepsis-6h"]
    stays = list(cinc2019.read(data))
    scored = list(score_offline([Asked(s.patient_id, record_of(s), s.decision_ms[-1:]) for s in stays], model))
    risk = np.array([s.risk["sepsis-6h"] for s in scored])
    septic = np.array([s.labels["sepsis-6h"].any() for s in stays])
    assert risk[septic].mean() > 1.2 * risk[~septic].mean()


def test_what_is_missing_is_said_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.command(argparse.Namespace(task="fusion", data=tmp_path, rest=["--home", str(tmp_path)])) == 1
    assert "needs the folder cinc2019/" in capsys.readouterr().err
