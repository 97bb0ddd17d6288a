"""`wardstream train` and `wardstream evaluate` answer with a sentence and a status, not a traceback."""

from pathlib import Path

import pytest

from services.cli import main
from training.evaluation.tasks import TASKS


@pytest.mark.parametrize("task", ["notes", "cxr-pneumonia"])
def test_training_without_its_data_says_what_is_missing(
    task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", task, "--data", str(tmp_path), "--out", str(tmp_path / "models")]) == 1
    assert "not found" in capsys.readouterr().err
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("task", sorted(TASKS))
def test_evaluating_what_is_not_there_says_so(task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", task, str(tmp_path / "nowhere")]) == 1
    assert "wardstream evaluate:" in capsys.readouterr().err


def test_an_option_that_no_command_has_is_refused() -> None:
    with pytest.raises(SystemExit):
        main(["settings", "--no-such-option"])
