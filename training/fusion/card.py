"""The model card of `risk_fusion`: what TRIPOD+AI asks for, with the figures of the run that made the weights."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.domain.features import FEATURE_VERSION, MODALITIES
from training.datasets.table import Table
from training.evaluation.metrics import summary
from training.fusion import calibrate
from training.fusion.controls import CONTROLS
from training.fusion.fit import COVERAGE, Fitted

REPEATS = 200
SOURCES = {
    "cinc2019": "PhysioNet/CinC Challenge 2019, hospital B (Reyna et al., Crit Care Med 2020), open access",
    "cinc2012": "PhysioNet/CinC Challenge 2012, set A (Silva et al., CinC 2012), open access",
    "eicu": "eICU Collaborative Research Database demo 2.0.1 (Pollard et al., Sci Data 2018), ODbL 1.0",
}
_ROWS = ("auroc", "auprc", "min_se_ppv", "brier", "calibration_slope", "calibration_intercept")


def figures(
    fitted: Fitted, tables: dict[str, Table], gains: dict[str, NDArray[np.float64]], thresholds: dict[str, float]
) -> dict[str, Any]:
    """Out-of-fold figures by outcome and data set, each with its 95 % bootstrap interval by patient."""
    found: dict[str, Any] = {}
    for k, outcome in enumerate(fitted.outcomes):
        for name, table in tables.items():
            if outcome not in table.labels:
                continue
            label, logit = table.labels[outcome], fitted.scores[name][:, k]
            known = ~np.isnan(label) & ~np.isnan(logit)
            if name not in gains:
                known &= table.hours == table.hours.max()
            risk = calibrate.sigmoid(logit[known].astype(np.float64))
            patient = table.stay[known]
            row = summary(label[known] > 0.5, risk, patient, repeats=REPEATS)
            alerts = risk >= thresholds[outcome]
            row["alert_share"] = float(alerts.mean())
            if name in gains:
                row["utility"], row["utility_ci"] = _utility(gains[name][known], alerts, patient)
            row["parts"] = {
                part: summary(label[known] > 0.5, calibrate.sigmoid(s[known, k].astype(np.float64)), patient, repeats=1)
                for part, s in fitted.parts[name].items()
            }
            found[f"{outcome} on {name}"] = row
    return found


def _utility(
    gain: NDArray[np.float64], alert: NDArray[np.bool_], stay: NDArray[np.int32], seed: int = 0
) -> tuple[float, list[float]]:
    """Normalised utility (never alerting 0, the best possible alerts 1) and its bootstrap interval by patient."""
    numbers, place = np.unique(stay, return_inverse=True)
    earned = np.bincount(place, gain * alert)
    best = np.bincount(place, np.maximum(gain, 0.0))
    rng = np.random.default_rng(seed)
    draws = [rng.integers(0, len(numbers), len(numbers)) for _ in range(REPEATS)]
    spread = np.quantile([earned[d].sum() / best[d].sum() for d in draws], [0.025, 0.975])
    return float(earned.sum() / best.sum()), spread.tolist()


def write(folder: Path, fitted: Fitted, manifest: dict[str, Any], found: dict[str, Any]) -> None:
    """`MODEL_CARD.md` in the model's folder."""
    used = list(manifest["modalities_in_use"])
    unused = [m for m in MODALITIES if m not in used]
    sources = sorted({key.split(" on ")[1] for key in found})
    lines = [
        "# Model card: risk_fusion",
        "",
        f"Version {manifest['version']}, features {FEATURE_VERSION}, "
        f"weights SHA-256 `{manifest['weights_sha256'][:16]}…`. "
        "Items follow TRIPOD+AI (Collins et al., BMJ 2024).",
        "",
        "## What it is",
        "",
        "One graph: a fusion network (a small encoder for each modality, learned stand-ins for what is absent, ages as "
        "inputs, trained with modality dropout) and gradient boosted trees on series, static and derived values, "
        "blended in log-odds and calibrated for each pattern of modalities. It answers with "
        + " and ".join(f"`{o}`" for o in fitted.outcomes)
        + ".",
        "",
        f"Modalities in use: {', '.join(used)}. **Switched off, because no data set here pairs them with outcomes:** "
        f"{', '.join(unused) or 'none'}; they are accepted and change nothing.",
        "",
        "## Intended use",
        "",
        "Research and demonstration on adult intensive care patients. It is no medical device; no prospective or "
        "external validation has been done. Not for children, not outside intensive care, not as the only ground for "
        "an action.",
        "",
        "## Data",
        "",
        *(f"- {SOURCES.get(name, name)}" for name in sources),
        "",
        "Predictors: 45 variables and their statistics over 6, 12, 24 and 72 h (`services/domain/features`), age, "
        "sex, unit, hours in the unit and the hospital. Outcomes: Sepsis-3 onset within 6 hours as the 2019 challenge "
        "labels it (each hour); death in hospital (asked at 6-hour steps of the first 48 h). Missing values stay "
        "missing: trees route them, the network has a mark for them. Values outside the plausible bounds are dropped, "
        "as they are live.",
        "",
        "## Figures",
        "",
        "Out of fold: every row is scored by parts that have not seen its patient. Intervals: bootstrap by patient, "
        f"{REPEATS} draws. Thresholds and calibration come from the same out-of-fold scores (two numbers per pattern "
        "and one threshold per outcome are fitted to them, so these figures are a little optimistic in calibration and "
        "utility; `wardstream evaluate` on other patients has no such optimism).",
        "",
        "| | " + " | ".join(found) + " |",
        "|---|" + "---|" * len(found),
        *(_line(name, found) for name in (*_ROWS, "utility")),
        "| alerts, share of scores | " + " | ".join(f"{row['alert_share']:.3f}" for row in found.values()) + " |",
        "| prevalence | " + " | ".join(f"{row['prevalence']:.4f}" for row in found.values()) + " |",
        "| patients | " + " | ".join(str(row["n_patients"]) for row in found.values()) + " |",
        "| network alone, AUROC / AUPRC | " + " | ".join(_part(row, "network") for row in found.values()) + " |",
        *(_control(name, found) for name in CONTROLS),
        "| trees alone, AUROC / AUPRC | " + " | ".join(_part(row, "trees") for row in found.values()) + " |",
        "",
        "## When it does not judge",
        "",
        f"Fewer than {manifest['gate']['min_variables']} variables within 24 h, more than "
        f"{manifest['gate']['max_outside']} last values outside the training range, or a risk inside the band in which "
        f"the class-conditional conformal set holds both answers at {COVERAGE:.0%} coverage of each class: "
        + "; ".join(_band(spec) for spec in manifest["outcomes"])
        + ".",
        "",
        "## Limits",
        "",
        "- One hospital each for sepsis and for death: expect worse figures elsewhere (the 2019 challenge's models "
        "lost about half their utility between hospitals). Recalibrate and choose thresholds on local data.",
        "- Much of the sepsis signal is what and how often was measured: it is the staff's suspicion as well as the "
        "patient's state.",
        "- Subgroups, transfer between units, controls by time alone and by missingness alone: `wardstream evaluate`.",
        "- Contributions say what moved this model, not what caused the illness.",
        "",
    ]
    (folder / "MODEL_CARD.md").write_text("\n".join(lines))


def _line(name: str, found: dict[str, Any]) -> str:
    cells = []
    for row in found.values():
        low, high = row.get(f"{name}_ci", (0, 0))
        cells.append(f"{row[name]:.3f} ({low:.3f} to {high:.3f})" if name in row else "-")
    return f"| {name} | " + " | ".join(cells) + " |"


def _part(row: dict[str, Any], part: str) -> str:
    return f"{row['parts'][part]['auroc']:.3f} / {row['parts'][part]['auprc']:.3f}"


def _control(name: str, found: dict[str, Any]) -> str:
    cells = []
    for row in found.values():
        control = row["controls"].get(name)
        utility = f" (utility {control['utility']:.3f})" if control and "utility" in control else ""
        cells.append(f"{control['auroc']:.3f} / {control['auprc']:.3f}{utility}" if control else "-")
    return f"| control: {name}, AUROC / AUPRC | " + " | ".join(cells) + " |"


def _band(spec: dict[str, Any]) -> str:
    if not spec["indeterminate"]:
        return f"{spec['name']}: no band"
    low, high = spec["indeterminate"]
    return f"{spec['name']}: {low:.3f} to {high:.3f}, {spec['share_indeterminate']:.1%} of scores"
