"""Training of the fusion network: masked multi-task loss, modality dropout, early stopping, checkpoints, many ranks."""

import copy
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from services.domain.features import ARRAYS
from training.fusion.data import Minibatch, Source, batches, tensors, without_some
from training.fusion.kept import digest_of, mark_of
from training.fusion.network import KNOTS, RAMPED, FusionNet, Sizes
from training.progress import bar

ORDER = tuple(n for n in ARRAYS)
Score = Callable[[FusionNet], float]
CODE = tuple(Path(__file__).with_name(name) for name in ("train.py", "data.py", "network.py"))
"""What the weights depend on besides settings and data."""


@dataclass(frozen=True)
class Settings:
    """What a run is defined by; the same settings and data give the same weights."""

    seed: int = 1
    epochs: int = 30
    patience: int = 5
    batch: int = 512
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    modality_dropout: float = 0.15
    sizes: Sizes = field(default_factory=Sizes)


def fit_standards(net: FusionNet, sources: Sequence[Source], rows: int = 20_000, seed: int = 0) -> None:
    """The network's constants over a sample of the training rows: centre = median and spread = half the range of the
    middle 68 % of each input, and the knots of its pieces."""
    rng = np.random.default_rng(seed)
    parts: list[dict[str, NDArray[np.float32]]] = []
    for source in sources:
        chosen = np.sort(rng.choice(source.rows, min(rows, len(source.rows)), replace=False))
        parts.append(source.inputs(chosen))
    series = np.concatenate([p["series"] for p in parts])
    fixed = np.concatenate([np.concatenate([p["static"], p["derived"]], 1) for p in parts])
    for layer, values in ((net.standard_series, series), (net.standard_fixed, fixed)):
        empty = np.isnan(values).all(0)
        low, middle, high = np.nanquantile(np.where(empty, 0.0, values), [0.16, 0.5, 0.84], axis=0)
        spread = (high - low) / 2
        deviation = np.nanstd(np.where(empty, 0.0, values), axis=0)
        spread = np.where(spread > 1e-6, spread, np.where(deviation > 1e-6, deviation, 1.0))
        layer.centre.copy_(torch.from_numpy(middle))
        layer.spread.copy_(torch.from_numpy(spread))
    for ramps, values in ((net.ramps_series, series[:, :, RAMPED]), (net.ramps_fixed, fixed)):
        knots = np.nanquantile(np.where(np.isnan(values).all(0), 0.0, values), KNOTS, axis=0)
        ramps.low.copy_(torch.from_numpy(np.moveaxis(knots[:-1], 0, -1)))
        ramps.span.copy_(torch.from_numpy(np.moveaxis(np.maximum(np.diff(knots, axis=0), 1e-3), 0, -1)))


def modalities_in(sources: Sequence[Source]) -> Tensor:
    """1 for each modality that some training row has: the others are switched off, whatever is sent later."""
    present = [np.asarray(s.table.inputs["presence"][s.rows[:: max(1, len(s.rows) // 20_000)]]).any(0) for s in sources]
    return torch.from_numpy(np.any(present, axis=0).astype(np.float32))


def loss_of(net: FusionNet, batch: Minibatch, total: int) -> Tensor:
    """Sum of the known labels' cross-entropies over `total`: shares of ranks add up to the whole."""
    logits = net(*(batch.inputs[n] for n in ORDER))
    known = ~torch.isnan(batch.labels)
    target = torch.where(known, batch.labels, torch.zeros_like(batch.labels))
    each = torch.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (each * known).sum() / total


def world() -> tuple[int, int]:
    """(rank, number of ranks) as torchrun sets them; (0, 1) without it."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch on one thread: its sums come out the same on every machine, and of parts that are trained side by side
    none waits for another's threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@one_thread()
def train(
    sources: Sequence[Source], score: Score, settings: Settings, checkpoint: Path | None = None, title: str = "fusion"
) -> tuple[FusionNet, dict[str, Any]]:
    """The network of the best epoch by `score` (higher is better; called on rank 0), and the history.

    With a `checkpoint` file a run that was stopped goes on where it was, with the same result. Under torchrun each
    rank takes its share of every minibatch and gradients are summed, so the result is one process's within rounding.
    """
    rank, size = world()
    if size > 1 and not dist.is_initialized():
        dist.init_process_group("gloo")
    mark = _mark(settings, sources)
    saved = torch.load(checkpoint, weights_only=False) if checkpoint is not None and checkpoint.exists() else None
    torch.manual_seed(settings.seed)
    net = FusionNet(settings.sizes, sources[0].outcomes)
    optimiser = torch.optim.AdamW(net.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    state: dict[str, Any] = {"epoch": 0, "best": -np.inf, "best_epoch": 0, "history": []}
    if saved is not None and saved["settings"] == mark:
        net.load_state_dict(saved["net"])  # its constants too
        optimiser.load_state_dict(saved["optimiser"])
        state, best = saved["state"], saved["best"]
    else:
        net.on.copy_(modalities_in(sources))
        fit_standards(net, sources)
        best = copy.deepcopy(net.state_dict())
    with bar() as shown:
        task = shown.add_task(title, total=settings.epochs, completed=state["epoch"], note="")
        while state["epoch"] < settings.epochs and state["epoch"] - state["best_epoch"] < settings.patience:
            _epoch(net, optimiser, sources, settings, state["epoch"])
            state["epoch"] += 1
            value = _everywhere(score(_evaluated(net)) if rank == 0 else 0.0, size)
            state["history"].append(value)
            if value > state["best"]:
                state["best"], state["best_epoch"] = value, state["epoch"]
                best = copy.deepcopy(net.state_dict())
            if checkpoint is not None and rank == 0:
                _save(checkpoint, net, optimiser, state, best, mark)
            shown.update(task, advance=1, note=f"validation {value:.4f}, best {state['best']:.4f}")
    net.load_state_dict(best)
    return _evaluated(net), state


def _mark(settings: Settings, sources: Sequence[Source]) -> dict[str, Any]:
    """What a checkpoint must have been made with to be gone on from."""
    data = [(len(s.table), s.table.content, digest_of(s.rows), s.repeat, digest_of(s.labels(s.rows))) for s in sources]
    return {**asdict(settings), "data": data, "code": mark_of(*(file.read_text() for file in CODE))}


def _evaluated(net: FusionNet) -> FusionNet:
    net.eval()
    return net


def _save(file: Path, net: FusionNet, optimiser: Any, state: dict[str, Any], best: Any, mark: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    torch.save(
        {
            "net": net.state_dict(),
            "optimiser": optimiser.state_dict(),
            "state": state,
            "best": best,
            "settings": mark,
            "outcomes": net.outcomes,
        },
        part,
    )
    part.replace(file)


def _everywhere(value: float, size: int) -> float:
    """Rank 0's value on every rank."""
    if size == 1:
        return value
    box = torch.tensor([value], dtype=torch.float64)
    dist.broadcast(box, 0)
    return float(box[0])


def _epoch(net: FusionNet, optimiser: Any, sources: Sequence[Source], settings: Settings, epoch: int) -> None:
    """One pass. Everything random is seeded by (seed, epoch), so that a resumed run draws the same."""
    rank, size = world()
    net.train()
    rng = np.random.default_rng((settings.seed, epoch))
    dropout = torch.Generator().manual_seed(settings.seed * 1000 + epoch)
    torch.manual_seed(settings.seed * 1000 + epoch)
    rate = settings.learning_rate * 0.5 * (1 + np.cos(np.pi * epoch / settings.epochs))
    for group in optimiser.param_groups:
        group["lr"] = max(rate, settings.learning_rate * 0.02)
    for batch in batches(sources, settings.batch, rng, rank, size):
        batch.inputs["presence"] = without_some(batch.inputs["presence"], settings.modality_dropout, dropout)
        optimiser.zero_grad()
        loss_of(net, batch, settings.batch).backward()  # type: ignore[no-untyped-call]
        if size > 1:
            for parameter in net.parameters():
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                dist.all_reduce(parameter.grad)
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()


@torch.no_grad()
def logits(
    net: FusionNet, source: Source, rows: NDArray[np.intp], without: tuple[int, ...] = (), size: int = 512
) -> NDArray[np.float32]:
    """float32 [rows, outcomes]; `without` takes these modalities away. So many rows at a time stay in the cache."""
    net.eval()
    parts = []
    for begin in range(0, len(rows), size):
        inputs = tensors(source.inputs(rows[begin : begin + size]))
        for modality in without:
            inputs["presence"][:, modality] = 0
        parts.append(net(*(inputs[n] for n in ORDER)).numpy())
    return np.concatenate(parts) if parts else np.empty((0, len(net.outcomes)), np.float32)
