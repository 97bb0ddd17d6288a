"""What each kind of data is worth on eICU: series, text, static, each alone, each left out, all together.

`series` are the serving features and APACHE's acute physiology score, worked out from the first day's worst values by
its published tables (not read from the published results). These are plain models, fitted anew for each set; the served
model's own ablation is `training.fusion.ablation`.

Whole hospitals are left out (grouped five-fold, three shuffles). In every fold everything is fitted on the other
hospitals: the note encoder (its vectors of the training stays cross-fitted once more inside), imputation, scaling,
and the risk, which is the mean log-odds of a logistic regression and of gradient boosting on the same columns.
APACHE IVa's published predictions stand beside them on the stays that have one, never as an input.
"""

import argparse
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from services.domain.features import model_inputs
from services.domain.features.series import STATISTIC
from training.eicu.aps import first_day_score
from training.eicu.dataset import AS_OF_MS, Stay, load_stays
from training.eicu.targets import read_targets, standardised
from training.evaluation.metrics import auprc, auroc, paired_difference, summary
from training.notes.model import Corpus, fit_semantics, fit_table
from training.notes.train import corpus_of, cross_fit
from training.progress import progress

Float = NDArray[np.float64]

FOLDS, INNER, SEEDS = 5, 4, (0, 1, 2)
SETS: dict[str, tuple[str, ...]] = {
    "series": ("series",),
    "text": ("text",),
    "static": ("static",),
    "all but series": ("text", "static"),
    "all but text": ("series", "static"),
    "all but static": ("series", "text"),
    "all": ("series", "text", "static"),
}
SINGLE = ("series", "text", "static")
STATISTICS = ("value", "min_24h", "max_24h", "mean_24h")
PENALTY = 0.003
BOOSTING = {
    "objective": "binary",
    "learning_rate": 0.03,
    "num_leaves": 7,
    "min_data_in_leaf": 30,
    "feature_fraction": 0.2,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 20.0,
    "num_threads": 1,
    "verbose": -1,
}
ROUNDS = 150


def ablate(folder: Path, *, seeds: Sequence[int] = SEEDS, repeats: int = 1000) -> dict[str, Any]:
    """Figures by set of modalities, differences to `all`, the best single modality, and APACHE IVa."""
    stays = load_stays(folder)
    corpus, targets = corpus_of(stays), read_targets(folder, pd.Index([stay.stay for stay in stays]))
    blocks = tabular(stays)
    score = first_day_score(folder, pd.Index([stay.stay for stay in stays]))
    blocks["series"] = np.hstack([blocks["series"], score[:, None]])
    hospitals = np.array([stay.hospital for stay in stays])
    runs = [risks(blocks, corpus, targets, hospitals, seed) for seed in progress(seeds, "shuffles")]
    return report(stays, {name: np.stack([run[name] for run in runs]) for name in SETS}, repeats)


def tabular(stays: Sequence[Stay]) -> dict[str, Float]:
    """`series` and `static` columns of each stay 24 h after unit admission, by the serving feature code."""
    series, static = [], []
    for stay in progress(stays, "features"):
        arrays = model_inputs(stay.record(), AS_OF_MS).arrays
        kept = arrays["series"][:, [STATISTIC[name] for name in STATISTICS]].ravel()
        series.append(np.concatenate([kept, arrays["derived"]]))
        static.append(arrays["static"])
    return {name: np.stack(rows).astype(np.float64) for name, rows in (("series", series), ("static", static))}


def risks(
    blocks: dict[str, Float], corpus: Corpus, targets: pd.DataFrame, hospitals: NDArray[np.int64], seed: int
) -> dict[str, Float]:
    """Out-of-fold risk float64 [stays] of every set of modalities."""
    death = targets["death"].to_numpy().astype(int)
    found = {name: np.zeros(len(death)) for name in SETS}
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    for train, test in folds.split(death, death, hospitals):
        mine, known = corpus.of(train), targets.iloc[train]
        semantics = fit_semantics(mine)
        table = fit_table(mine, standardised(known), semantics)
        text = (cross_fit(mine, known, hospitals[train], INNER, semantics), corpus.of(test).vectors(table))
        parts = {name: (block[train], block[test]) for name, block in blocks.items()} | {"text": text}
        for name, members in SETS.items():
            seen, unseen = (np.hstack([parts[m][side] for m in members]) for side in (0, 1))
            found[name][test] = fit_and_ask(seen, death[train], unseen, seed)
    return found


def fit_and_ask(seen: Float, label: NDArray[np.int_], unseen: Float, seed: int) -> Float:
    """Risk of the rows `unseen` by two plain models fitted on `seen`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # columns that are empty in a fold
        linear = make_pipeline(
            SimpleImputer(add_indicator=True), StandardScaler(), LogisticRegression(C=PENALTY, max_iter=2000)
        ).fit(seen, label)
        first = linear.decision_function(unseen)
    data = lightgbm.Dataset(seen, label, free_raw_data=False)
    boosted = lightgbm.train({**BOOSTING, "seed": seed}, data, ROUNDS)
    second = boosted.predict(unseen, raw_score=True)
    return np.asarray(1 / (1 + np.exp(-(first + second) / 2)), dtype=np.float64)


def report(stays: Sequence[Stay], found: dict[str, Float], repeats: int) -> dict[str, Any]:
    """The figures; risks are averaged over the shuffles, whose spread stands beside."""
    death = np.array([stay.death for stay in stays])
    patient = [stay.patient for stay in stays]
    mean = {name: runs.mean(axis=0) for name, runs in found.items()}
    sets: dict[str, Any] = {}
    for name, risk in mean.items():
        sets[name] = summary(death, risk, patient, repeats=repeats)
        sets[name]["auroc_by_seed"] = [auroc(death, run) for run in found[name]]
        sets[name]["auprc_by_seed"] = [auprc(death, run) for run in found[name]]
        if name != "all":
            sets[name]["all_minus_this"] = difference(death, mean["all"], risk, patient, repeats)
    best = max(SINGLE, key=lambda name: sets[name]["auroc"])
    return {
        "cohort": {
            "stays": len(stays),
            "patients": len(set(patient)),
            "hospitals": len({stay.hospital for stay in stays}),
            "deaths": int(death.sum()),
        },
        "sets": sets,
        "best_single": best,
        "apache_iva": against_apache(stays, mean["all"], repeats),
    }


def against_apache(stays: Sequence[Stay], risk: Float, repeats: int) -> dict[str, Any]:
    """Fusion and the published APACHE IVa prediction on the stays that have one."""
    apache = np.array([stay.apache_iva for stay in stays])
    known = np.isfinite(apache)
    death = np.array([stay.death for stay in stays])[known]
    patient = [stay.patient for stay, k in zip(stays, known, strict=True) if k]
    return {
        "apache": summary(death, apache[known], patient, repeats=repeats),
        "all": summary(death, risk[known], patient, repeats=repeats),
        "all_minus_apache": difference(death, risk[known], apache[known], patient, repeats),
    }


def difference(
    label: NDArray[np.bool_], first: Float, second: Float, patient: Sequence[str], repeats: int
) -> dict[str, Any]:
    """AUROC and AUPRC of the first minus those of the second, with intervals by patient."""
    found: dict[str, Any] = {}
    for name, metric in (("auroc", auroc), ("auprc", auprc)):
        found[name], found[f"{name}_ci"] = paired_difference(metric, label, first, second, patient, repeats=repeats)
    return found


def as_table(found: dict[str, Any]) -> str:
    """The ablation in Markdown."""
    lines = ["| modalities | AUROC | AUPRC | all minus this, AUROC |", "|---|---|---|---|"]
    for name, row in found["sets"].items():
        gain = row.get("all_minus_this")
        shown = f"{gain['auroc']:+.3f} {_span(gain['auroc_ci'])}" if gain else ""
        figures = f"{row['auroc']:.3f} {_span(row['auroc_ci'])} | {row['auprc']:.3f} {_span(row['auprc_ci'])}"
        lines.append(f"| {name} | {figures} | {shown} |")
    apache = found["apache_iva"]
    for name, row in (("APACHE IVa, its stays", apache["apache"]), ("all, the same stays", apache["all"])):
        lines.append(
            f"| {name} (n={row['n']}) | {row['auroc']:.3f} {_span(row['auroc_ci'])} "
            f"| {row['auprc']:.3f} {_span(row['auprc_ci'])} | |"
        )
    return "\n".join(lines)


def _span(limits: Sequence[float]) -> str:
    return f"[{limits[0]:.3f}, {limits[1]:.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description="Ablation on eICU, whole hospitals left out.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    found = ablate(arguments.data)
    arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    print(as_table(found))


if __name__ == "__main__":
    main()
