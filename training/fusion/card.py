"""The model card of `risk_fusion`: what TRIPOD+AI asks for, with the figures of the run that made the weights."""

from pathlib import Path
from typing import Any

import numpy as np

from services.domain.features import FEATURE_VERSION, MODALITIES
from training.card import OPEN_SCIENCE
from training.evaluation.figures import IN_GROUPS, RANKING
from training.fusion.choose import COVERAGE
from training.fusion.controls import CONTROLS, PLAIN
from training.fusion.figures import GAINED, GROUP_REPEATS, PARTS, REPEATS
from training.fusion.fit import Fitted
from training.fusion.folds import FOLDS

SOURCES = {
    "cinc2019": "PhysioNet/CinC Challenge 2019, hospital B (Reyna et al., Crit Care Med 2020), open access",
    "cinc2012": "PhysioNet/CinC Challenge 2012, set A (Silva et al., CinC 2012), open access",
    "eicu": "eICU Collaborative Research Database demo 2.0.1 (Pollard et al., Sci Data 2018), ODbL 1.0",
}
Row = dict[str, Any]
_METRICS = ("auroc", "auprc", "min_se_ppv", "brier", "calibration_slope", "calibration_intercept", "utility")
_SHARES = {
    "alert_share": "alerts, share of scores",
    "abstained": "withheld as indeterminate, share of scores",
    "covered_with": "conformal coverage reached, with the outcome",
    "covered_without": "conformal coverage reached, without it",
}
_SEEDED = ("auroc", "auprc", "utility")


def write(folder: Path, fitted: Fitted, manifest: dict[str, Any]) -> None:
    """`MODEL_CARD.md` in the model's folder, of a manifest that holds the run's figures."""
    parts = (_title(manifest), _what(fitted, manifest), _data(manifest), _figures(fitted, manifest["figures"]))
    more = (_subgroups(manifest["figures"]), _transfer(manifest["figures"]))
    text = "\n\n".join((*parts, *more, _judgement(manifest), LIMITS, MISSING, OPEN_SCIENCE))
    (folder / "MODEL_CARD.md").write_text(text.replace("\n\n\n", "\n\n") + "\n")


def _title(manifest: dict[str, Any]) -> str:
    return (
        f"# Model card: risk_fusion\n\nVersion {manifest['version']}, features {FEATURE_VERSION}, weights SHA-256 "
        f"`{manifest['weights_sha256'][:16]}…`. Items follow TRIPOD+AI (Collins et al., BMJ 385:e078378, 2024)."
    )


def _what(fitted: Fitted, manifest: dict[str, Any]) -> str:
    used = list(manifest["modalities_in_use"])
    unused = [m for m in MODALITIES if m not in used]
    blends = "; ".join(
        f"{s['name']}: network {s['network_weight']:.2f}, without series {s['network_weight_without_series']:.2f}"
        for s in manifest["outcomes"]
    )
    trees = ", ".join(
        f"{sum(g.booster.num_trees() for g in grown)} for {outcome}"
        for outcome, grown in zip(fitted.outcomes, fitted.boosters, strict=True)
    )
    return f"""## What it is

One graph: a fusion network (a small encoder for each modality, learned stand-ins for what is absent, ages as inputs, \
trained with modality dropout) and gradient boosted trees on series, static and derived values, for death also on what \
notes let expect ({trees}), blended in log-odds ({blends}, the rest is the trees') and calibrated for each pattern of \
modalities. Both are averages over {len(fitted.by_seed)} seeds, trained on all patients. It answers with \
{" and ".join(f"`{o}`" for o in fitted.outcomes)}, and with what each \
modality (Shapley values) and each variable (path contributions of the trees, integrated gradients of the network) \
adds to their log-odds.

Modalities in use: {", ".join(used)}. **Switched off, because no data set here pairs them with outcomes:** \
{", ".join(unused) or "none"}; they are accepted and change nothing.

## Intended use

Research and demonstration on adult intensive care patients. It is no medical device; no prospective or external \
validation has been done. Not for children, not outside intensive care, not as the only ground for an action."""


def _data(manifest: dict[str, Any]) -> str:
    names = sorted({key.split(" on ")[1] for key in manifest["figures"] if " on " in key})
    sources = "\n".join(f"- {SOURCES.get(name, name)}" for name in names)
    return f"""## Data and participants

{sources}

Adults in intensive care: one hospital for sepsis (hourly, whole stays), one for death at 48 h (2001 to 2008), \
149 hospitals of the United States for death at 24 h (2014 and 2015; stays whose patient was in hospital and \
alive at 24 h, with a known end). Treatment is seen only through eICU's notes and by whether a patient is \
ventilated. Numbers of patients, of scores and of events stand with the figures: what there is, no calculation \
of size. No class is weighed up against the other: of the hours of stays without sepsis its trees draw a quarter \
and weigh it fourfold.

Predictors (`services/domain/features`): 45 variables and their statistics over 6, 12, 24 and 72 h, ratios and partial \
scores of them (SOFA, SIRS, NEWS2, APACHE III's physiology points), age, sex, unit, hours in the unit and the \
hospital. Outcomes: Sepsis-3 onset within 6 hours as the 2019 challenge labels it (each \
hour); death in hospital (asked at 6-hour steps of the first 48 h). Beside death the networks and one kind of its \
trees learn its course: how long after discharge patients of CinC 2012 died, and which of eICU's did not go home. The \
note encoder also learns what risk APACHE IVa expected of eICU's stays where that is published: it knows diagnoses \
from many more. Neither is ever an input, and no figure is of it. Missing values stay missing: trees route them, the \
network has a mark for them. Values outside the plausible bounds are dropped, as they are live."""


def _figures(fitted: Fitted, figures: dict[str, Any]) -> str:
    rows = {key: row for key, row in figures.items() if " on " in key}
    lines = [
        "| | " + " | ".join(rows) + " |",
        "|---|" + "---|" * len(rows),
        *(_line(name, [_with_interval(row, name) for row in rows.values()]) for name in _METRICS),
        *(
            _line(f"{m}, mean over the folds", [f"{row[f'{m}_within_folds']:.3f}" for row in rows.values()])
            for m in RANKING
        ),
        *(_line(title, [_with_interval(row, name) for row in rows.values()]) for name, title in _SHARES.items()),
        _line("prevalence", [f"{row['prevalence']:.4f}" for row in rows.values()]),
        _line("patients", [str(row["n_patients"]) for row in rows.values()]),
        _line("scores, of them with the outcome", [f"{row['n']}, {row['n_positive']}" for row in rows.values()]),
        *(_line(f"{m}, one seed's models, mean ± sd", [_seeds(row, m) for row in rows.values()]) for m in _SEEDED),
        *(_line(f"{part} alone", [_brief(row["parts"][part]) for row in rows.values()]) for part in PARTS),
        *(
            _line(f"control: {c}", [_brief(row["controls"].get(c)) for row in rows.values()])
            for c in (*CONTROLS, PLAIN)
        ),
        *(_line(f"{m} above {PLAIN}", [_gained(row, m) for row in rows.values()]) for m in (*GAINED, "utility")),
    ]
    table = "\n".join(lines)
    return f"""## Figures

{FOLDS}-fold cross-validation by patient (by hospital in eICU). Every row is scored by models that have not seen its \
patient. Blend weights, calibration, thresholds and the indeterminate band that are applied to a fold were chosen on \
the other folds' patients; the network stops early by training patients that it is not trained on. What ships was \
trained on all patients, so these figures are of models with four fifths of its data. Intervals: bootstrap by \
patient, {REPEATS} draws. Figures rank the risks of all folds together, whose calibration differs from fold to fold; \
the means of the folds rank within each. Parts and controls: AUROC / AUPRC (utility, threshold from the other folds).

{table}"""


def _line(title: str, cells: list[str]) -> str:
    return f"| {title} | " + " | ".join(cells) + " |"


def _with_interval(row: Row, name: str) -> str:
    if f"{name}_ci" not in row:
        return "-"
    low, high = row[f"{name}_ci"]
    return f"{row[name]:.3f} ({low:.3f} to {high:.3f})"


def _seeds(row: Row, name: str) -> str:
    values = [seed[name] for seed in row["seeds"] if name in seed]
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else "-"


def _brief(row: Row | None) -> str:
    if row is None:
        return "-"
    utility = f" ({row['utility']:.3f})" if "utility" in row else ""
    return f"{row['auroc']:.3f} / {row['auprc']:.3f}{utility}"


def _gained(row: Row, name: str) -> str:
    control = row["controls"].get(PLAIN, {})
    if f"{name}_gained" not in control:
        return "-"
    low, high = control[f"{name}_gained_ci"]
    return f"{control[f'{name}_gained']:+.3f} ({low:+.3f} to {high:+.3f})"


def _subgroups(figures: dict[str, Any]) -> str:
    lines = [
        f"| {key} | {row['variable']} {row['value']} | {row['n_patients']}, {row['n_patients_positive']} | "
        + " | ".join(_with_interval(row, m) for m in IN_GROUPS)
        + " |"
        for key, found in figures.items()
        if " on " in key
        for row in found["subgroups"]
    ]
    return "\n".join(
        [
            "## Subgroups",
            "",
            f"Out of fold, intervals by {GROUP_REPEATS} draws of patients; none where too few have the outcome, or too "
            "few do not.",
            "",
            f"| | subgroup | patients, of them with the outcome | {' | '.join(IN_GROUPS)} |",
            "|---|---|---|" + "---|" * len(IN_GROUPS),
            *lines,
        ]
    )


def _transfer(figures: dict[str, Any]) -> str:
    pairs = figures.get("transfer", {})
    if not pairs:
        return ""
    lines = [
        f"| {pair} | {row['n_patients']} | "
        + " | ".join(_with_interval(row[which], m) for which in ("transferred", "all units") for m in _SEEDED)
        + " |"
        for pair, row in pairs.items()
    ]
    return "\n".join(
        [
            "## From one unit to the other (sepsis)",
            "",
            "Trees trained in one kind of unit alone, their threshold chosen there, asked in the other; beside them "
            "the whole model on the same patients, out of fold. Stays of no known unit take no part.",
            "",
            "| trained to asked | patients | auroc | auprc | utility | whole model: auroc | auprc | utility |",
            "|---|---|---|---|---|---|---|---|",
            *lines,
        ]
    )


def _judgement(manifest: dict[str, Any]) -> str:
    gate, bands = manifest["gate"], "; ".join(_band(spec) for spec in manifest["outcomes"])
    return f"""## When it does not judge

Fewer than {gate["min_variables"]} variables within 24 h, more than {gate["max_outside"]} last values outside the \
training range, or a risk inside the band in which the class-conditional conformal set holds both answers at \
{COVERAGE:.0%} coverage of each class: {bands}."""


def _band(spec: dict[str, Any]) -> str:
    if not spec["indeterminate"]:
        return f"{spec['name']}: no band"
    low, high = spec["indeterminate"]
    return f"{spec['name']}: {low:.3f} to {high:.3f}, {spec['share_indeterminate']:.1%} of scores"


LIMITS = """## Limits

- One hospital each for sepsis and for death: expect worse figures elsewhere (the 2019 challenge's models lost about \
half their utility between hospitals). Recalibrate and choose thresholds on local data.
- Much of the sepsis signal is what and how often was measured: it is the staff's suspicion as well as the patient's \
state.
- The threshold for death is chosen on CinC 2012, asked at 48 h; where fewer die, as in eICU, it alerts on fewer of \
the deaths. The band is as wide as the data set needs that needs most.
- Ablation by modality on eICU: docs/models.md.
- Contributions say what moved this model, not what caused the illness. Age, sex, unit and time \
are no variable's (they are in the modality `static`), nor are sums and counts over all that was measured."""

MISSING = """## What TRIPOD+AI asks for and is missing here

- Evaluation on data that had no part in development (item 16): by `wardstream evaluate`, on whatever the reader \
has.
- Fairness (14): nothing was done to make groups alike; what differs stands under Subgroups.
- Outcomes (8): as the data sets label them; who assessed them, and what they knew, is not reported there.
- A comparison of those with and without missing values, and of development data with where the model is used \
(20).
- Use (27): no study of who acts on a risk and how; poor or missing input is withheld as said above, and marked \
on the page."""
