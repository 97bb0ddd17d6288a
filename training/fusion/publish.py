"""Writes a fitted model into the model repository: graph, server configurations, manifest, card."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.domain.codes import BY_LOINC
from services.domain.features import ARRAYS, FEATURE_VERSION, MODALITIES, VARIABLE_NAMES
from services.domain.features.variables import MODEL_VARIABLES
from services.inference.manifest import load_manifest, weights_sha256
from services.local.stack import MODEL_REPOSITORY
from training.evaluation.command import plain
from training.fusion import calibrate
from training.fusion.card import write
from training.fusion.choose import COVERAGE, Tables
from training.fusion.export import export_served, save
from training.fusion.fit import Fitted
from training.fusion.served import Served
from training.images.export import MODEL as IMAGE_ENCODER
from training.notes.train import MODEL as NOTE_ENCODER
from training.repository import write_configs

MODEL = "risk_fusion"
ENCODERS = {"note": NOTE_ENCODER, "image": IMAGE_ENCODER}
MAX_BATCH = 256
FRESH_VARIABLES = 3
"""Fewer variables than this within 24 h: the model does not judge."""


def publish(fitted: Fitted, tables: Tables, figures: dict[str, Any], repository: Path) -> Path:
    """Writes `risk_fusion` below the repository and returns its folder.

    `figures` (of `training.fusion.figures`) go into the manifest and onto the card.
    """
    served = Served(fitted.network, fitted.choice.calibration)
    graph = export_served(served, fitted.boosters)
    folder = repository / MODEL
    path = save(graph, folder)
    write_configs(folder, graph, MAX_BATCH)
    manifest = _manifest(weights_sha256(path)) | _judgement(fitted, tables, figures) | {"figures": figures}
    write(folder, fitted, manifest)
    (folder / "manifest.json").write_text(json.dumps(plain(manifest), indent=1, allow_nan=False) + "\n")
    return folder


def _manifest(sha256: str) -> dict[str, Any]:
    return {
        "model": MODEL,
        "version": "1",
        "feature_version": FEATURE_VERSION,
        "weights_sha256": sha256,
        "max_batch": MAX_BATCH,
        "inputs": {n: list(shape) for n, shape in ARRAYS.items()},
        "modalities": list(MODALITIES),
        "variables": list(VARIABLE_NAMES),
    }


def _judgement(fitted: Fitted, tables: Tables, figures: dict[str, Any]) -> dict[str, Any]:
    """Outcomes with thresholds and bands, gate, and the reference for drift (its scores are out of fold)."""
    outcomes, scores = [], {}
    choice = fitted.choice
    for k, outcome in enumerate(fitted.outcomes):
        name = next(n for n, t in tables.items() if outcome in t.labels)
        key = f"{outcome} on {name}"
        outcomes.append(
            {
                "name": outcome,
                "threshold": round(choice.thresholds[k], 7),
                "indeterminate": choice.bands[k],
                "coverage": COVERAGE,
                "share_indeterminate": figures[key]["abstained"],
                "network_weight": round(float(choice.calibration.network[1, k]), 7),
                "network_weight_without_series": round(float(choice.calibration.network[0, k]), 7),
            }
        )
        scores[outcome] = _shares(calibrate.sigmoid(fitted.judged[name].logit[fitted.rows[key], k]))
    used = [m for m, on in zip(MODALITIES, fitted.network.on.tolist(), strict=True) if on]
    inputs, ranges = _reference(tables)
    return {
        "outcomes": outcomes,
        "modalities_in_use": used,
        "encoders": {
            encoder: load_manifest(MODEL_REPOSITORY, encoder).weights_sha256
            for modality, encoder in ENCODERS.items()
            if modality in used
        },
        "calibration": {
            "slope": choice.calibration.slope.tolist(),
            "intercept": choice.calibration.intercept.tolist(),
        },
        "gate": {
            "min_variables": FRESH_VARIABLES,
            "max_age_hours": 24.0,
            "min_age_years": 14.0,
            "ranges": ranges,
            "max_outside": 2,
        },
        "reference": {"inputs": inputs, "scores": scores},
    }


def _shares(values: NDArray[np.float64], bins: int = 10) -> dict[str, list[float]]:
    """Inner decile edges and the shares between them, as `services.monitor.drift.Reference`."""
    edges = np.unique(np.quantile(values, np.arange(1, bins) / bins).round(6))
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
    return {"edges": edges.tolist(), "shares": (counts / len(values)).round(6).tolist()}


def _reference(tables: Tables, most: int = 200_000) -> tuple[dict[str, Any], dict[str, tuple[float, float]]]:
    """Reference shares of new results by monitor's variable names, and the range that training saw by ours."""
    inputs, ranges = {}, {}
    for number, variable in enumerate(MODEL_VARIABLES):
        fresh: list[NDArray[np.float32]] = []
        for table in tables.values():
            step = max(1, len(table) // most)
            rows = np.asarray(table.inputs["series"][::step, number, :2])
            fresh.append(rows[rows[:, 1] < 1.0, 0])
        values = np.concatenate(fresh).astype(np.float64)
        if len(values) < 1000 or variable.name == "ventilated":
            continue
        known = BY_LOINC.get(variable.loinc)
        inputs[known.name if known else variable.name] = _shares(values)
        low, high = np.quantile(values, [0.0005, 0.9995])
        ranges[variable.name] = (float(low), float(high))
    return inputs, ranges
