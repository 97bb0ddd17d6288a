"""Training is reproducible, resumes, and is the same on two processes as on one."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support import ROOT
from tests.unit.training.support_fusion import source
from training.fusion.data import batches, without_some
from training.fusion.network import OUTCOMES, Sizes, with_heads
from training.fusion.train import Settings, logits, train

PLAIN = Settings(
    epochs=3, patience=9, batch=32, learning_rate=1e-2, modality_dropout=0.0, sizes=Sizes(4, 16, 4, 4, dropout=0.0)
)


def rising(net: torch.nn.Module) -> float:
    """A score that never gets worse, so that the last epoch is the best."""
    rising.calls += 1  # type: ignore[attr-defined]
    return float(rising.calls)  # type: ignore[attr-defined]


rising.calls = 0  # type: ignore[attr-defined]


def answers(settings: Settings, checkpoint: Path | None = None) -> np.ndarray:
    made = source()
    net, _ = train([made], rising, settings, checkpoint)
    return logits(net, made, made.rows)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    settings = replace(PLAIN, modality_dropout=0.3, sizes=replace(PLAIN.sizes, dropout=0.2))
    assert np.array_equal(answers(settings), answers(settings))
    assert not np.array_equal(answers(settings), answers(replace(settings, seed=2)))


def test_a_run_that_was_stopped_goes_on_to_the_same_result(tmp_path: Path) -> None:
    settings = replace(PLAIN, modality_dropout=0.3, sizes=replace(PLAIN.sizes, dropout=0.2))
    made = source()
    whole = answers(settings)

    class Stopped(Exception):
        pass

    def stop_in_the_second_epoch(net: torch.nn.Module) -> float:
        if rising(net) - before >= 2:
            raise Stopped
        return 0.0

    before = rising.calls  # type: ignore[attr-defined]
    try:
        train([made], stop_in_the_second_epoch, settings, tmp_path / "run.pt")
    except Stopped:
        pass
    else:
        raise AssertionError("the run was not stopped")
    net, state = train([made], rising, settings, tmp_path / "run.pt")
    assert state["epoch"] == settings.epochs
    assert len(state["history"]) == settings.epochs
    assert np.array_equal(logits(net, made, made.rows), whole)


def test_a_run_on_other_labels_begins_anew(tmp_path: Path) -> None:
    first, other = source(), source()
    other.table.labels[OUTCOMES[0]] = first.table.labels[OUTCOMES[0]][::-1].copy()
    train([first], rising, PLAIN, tmp_path / "run.pt")
    net, _ = train([other], rising, PLAIN, tmp_path / "run.pt")
    anew, _ = train([other], rising, PLAIN)
    assert np.array_equal(logits(net, other, other.rows), logits(anew, other, other.rows))


def test_a_run_on_other_inputs_begins_anew(tmp_path: Path) -> None:
    made, file = source(), tmp_path / "run.pt"
    _, first = train([made], rising, PLAIN, file)
    other = replace(made, table=replace(made.table, content="of another encoder"))
    assert train([other], rising, PLAIN, file)[1]["history"] != first["history"]


def test_a_run_by_other_code_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, file = source(), tmp_path / "run.pt"
    _, first = train([made], rising, PLAIN, file)
    _, again = train([made], rising, PLAIN, file)
    assert again["history"] == first["history"]
    code = tmp_path / "network.py"
    code.write_text("another network")
    monkeypatch.setattr("training.fusion.train.CODE", (code,))
    _, anew = train([made], rising, PLAIN, file)
    assert anew["history"] != first["history"]


def test_early_stopping_keeps_the_best_epoch() -> None:
    values = iter([0.1, 0.5, 0.4, 0.3, 0.2, 0.9])
    _, state = train([source()], lambda net: next(values), replace(PLAIN, epochs=6, patience=3))
    assert (state["epoch"], state["best_epoch"], state["best"]) == (5, 2, 0.5)


def test_the_shares_of_all_ranks_are_the_whole_minibatch() -> None:
    made = source()
    whole = list(batches([made], 64, np.random.default_rng(5)))
    shares = [list(batches([made], 64, np.random.default_rng(5), rank, 2)) for rank in range(2)]
    for n, batch in enumerate(whole):
        rows = torch.cat([s[n].inputs["age"] for s in shares])
        assert sorted(map(tuple, rows.tolist())) == sorted(map(tuple, batch.inputs["age"].tolist()))


def test_labels_that_a_data_set_does_not_know_teach_nothing() -> None:
    made = source(outcomes=OUTCOMES[:1])
    assert np.isnan(made.labels(made.rows)[:, 1]).all()
    net, _ = train([made], rising, replace(PLAIN, weight_decay=0.0))
    torch.manual_seed(PLAIN.seed)
    from training.fusion.network import FusionNet

    untouched = FusionNet(PLAIN.sizes, OUTCOMES)
    assert torch.equal(net.heads.weight[1], untouched.heads.weight[1])
    assert not torch.equal(net.heads.weight[0], untouched.heads.weight[0])


def test_a_head_that_is_only_learned_from_leaves_the_others_answers_as_they_were() -> None:
    made = source()
    net, _ = train([made], rising, PLAIN)
    before = logits(net, made, made.rows)
    net = with_heads(net, OUTCOMES[1:])
    assert net.outcomes == OUTCOMES[1:]
    assert np.allclose(logits(net, made, made.rows), before[:, 1:], atol=1e-6)


def test_modality_dropout_takes_away_what_was_there_and_adds_nothing() -> None:
    presence = torch.tensor([[1.0, 1.0, 0.0, 0.0, 0.0]]).repeat(500, 1)
    kept = without_some(presence, 0.3, torch.Generator().manual_seed(0))
    assert not kept[:, 2:].any()
    assert 0.6 < kept[:, :2].mean() < 0.8


TWO = """
import json, sys, torch
sys.path.insert(0, {root!r})
torch.set_num_threads(1)
from tests.unit.training.test_fusion_training import PLAIN, logits, source, train
from training.fusion.train import world
made = source()
net, _ = train([made], lambda net: 0.0, PLAIN)
rank, size = world()
if rank == 0:
    open({out!r}, "w").write(json.dumps([size, net.state_dict()["heads.weight"].tolist()]))
"""


def test_two_processes_train_the_same_network_as_one(tmp_path: Path) -> None:
    """PyTorch's own engine: torchrun, gloo, gradients summed over the ranks."""
    script, out = tmp_path / "two.py", tmp_path / "out.json"
    script.write_text(TWO.format(root=str(ROOT), out=str(out)))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    words += [f"--master-port={port}", "--master-addr=127.0.0.1", str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=110, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    ranks, weights = json.loads(out.read_text())
    alone, _ = train([source()], lambda net: 0.0, PLAIN)
    assert ranks == 2
    assert np.abs(alone.state_dict()["heads.weight"].numpy() - np.array(weights)).max() < 1e-4
