"""Parts of the model that several processes make are those that one makes, and no process is left behind."""

import argparse
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest

from tests.support import ROOT
from tests.unit.training.support_fusion import table
from training import cli
from training.evaluation.utility import gains
from training.fusion import plans, workers
from training.fusion.boost import TreeSettings
from training.fusion.controls import controls
from training.fusion.fit import Fitted, fit
from training.fusion.network import Sizes
from training.fusion.train import Settings
from training.fusion.transfer import transfer
from training.fusion.workshop import Plan, Workshop

SMALL = (TreeSettings(5, {"min_data_in_leaf": 5, "num_leaves": 4}),)
PLAN = Plan(
    network=Settings(epochs=1, batch=64, sizes=Sizes(4, 16, 4, 4)),
    trees={"sepsis-6h": SMALL, "mortality": SMALL},
    seeds=(1,),
)


def opened(home: Path, say: bool = False) -> Workshop:
    """A small workshop, the same in every process."""
    septic = table(120, ("sepsis-6h",))
    dying = replace(table(120, ("mortality",), seed=1), hours=np.zeros(120, np.float32))
    gained = gains(septic.labels["sepsis-6h"], septic.stay)[0]
    if say:
        print("opened", flush=True)
    return Workshop({"hourly": septic, "once": dying}, {"hourly": gained}, PLAN, home)


def alone(shop: Workshop) -> Fitted:
    """Everything that `prepare` makes, by the code that uses it."""
    fitted = fit(shop)
    for name, one in shop.tables.items():
        for outcome in one.labels:
            controls(*shop.checked(name, outcome))
            if name in shop.gains:
                transfer(shop.alone(name, outcome), PLAN.trees[outcome], shop.home)
    return fitted


def files(home: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in home.iterdir()}


@pytest.mark.slow
@pytest.mark.timeout(300)  # each process loads PyTorch for itself
def test_a_part_that_fails_is_named_and_a_later_run_ends_with_what_one_process_makes(tmp_path: Path) -> None:
    one, two = opened(tmp_path / "one"), opened(tmp_path / "two")
    broken = two.home / "network-1-3.pt"
    two.home.mkdir()
    broken.write_bytes(b"no checkpoint")
    with pytest.raises(workers.Failed, match="network 1, fold 3: "):
        workers.prepare(two, partial(opened, two.home), 1)
    assert not active_children()
    broken.unlink()
    finished = {file: file.stat().st_mtime_ns for file in two.home.glob("*.npy")}
    workers.prepare(two, partial(opened, two.home), 2)
    assert {file: file.stat().st_mtime_ns for file in finished} == finished

    made = alone(one)
    assert files(two.home) == files(one.home)
    read = alone(two)
    assert files(two.home) == files(one.home)
    assert (read.epochs, read.choice.thresholds) == (made.epochs, made.choice.thresholds)
    assert np.array_equal(read.choice.calibration.slope, made.choice.calibration.slope)


def test_the_command_ends_with_the_name_of_what_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(shop: Workshop, opened: object, number: int) -> None:
        raise workers.Failed(f"network 1, all: {number} processes")

    monkeypatch.setattr(plans, "opened", lambda *about: opened(tmp_path))
    monkeypatch.setattr(workers, "prepare", failing)
    words = ["--home", str(tmp_path), "--workers", "2"]
    assert cli.command(argparse.Namespace(task="sepsis-6h", data=tmp_path, rest=words)) == 1
    assert capsys.readouterr().err == "wardstream train: network 1, all: 2 processes\n"


@pytest.mark.parametrize("word", ["0", "two"])
def test_a_number_of_workers_is_at_least_one(word: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.parser().parse_args(["--workers", word])


PARENT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background processes do not hear Ctrl-C
sys.path.insert(0, {root!r})
from functools import partial
from pathlib import Path
from tests.unit.training.test_fusion_workers import opened
from training.fusion.workers import prepare
if __name__ == "__main__":
    home = Path({home!r})
    prepare(opened(home), partial(opened, home, say=True), 1)
"""


@pytest.mark.slow
def test_no_process_outlives_the_command(tmp_path: Path) -> None:
    """Neither at Ctrl-C nor when it is killed: standard output ends when the last process that holds it has ended."""
    ends = (signal.SIGINT, signal.SIGKILL)
    parents = []
    for end in ends:
        script = tmp_path / f"{end.name}.py"
        script.write_text(PARENT.format(root=str(ROOT), home=str(tmp_path / end.name)))
        words = [sys.executable, str(script)]
        parents.append(subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT))
    for end, parent in zip(ends, parents, strict=True):
        with parent:
            assert parent.stdout is not None
            assert parent.stdout.readline() == "opened\n"
            parent.send_signal(end)
            parent.communicate(timeout=60)
        assert parent.returncode == -end
        assert not (tmp_path / end.name / "network-1.pt").exists()  # the last part: there was work to do
