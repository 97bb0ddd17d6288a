"""Model cards: tables written from the manifest of the run that made the weights, and what TRIPOD+AI asks for besides.

An encoder's card is prose kept by hand around tables between `<!-- name -->` and `<!-- /name -->`.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from training.evaluation.report import label, with_interval

METRICS = ("auroc", "auprc", "min_se_ppv", "brier", "calibration_slope", "calibration_intercept")

OPEN_SCIENCE = """\
- **Ethics (17).** Public data without identifiers, used under their licences; no approval was sought for this project.
- **Open science (18).** Data: public, see there. Code: this repository. Missing: funding, conflicts of interest, a
  protocol, a registration.
- **Patient and public involvement (19).** None.
- **Updating (24).** None yet. `monitor` watches input drift, calibration and AUROC as outcomes arrive; weights that are
  trained again have another hash."""
"""Items 17 to 19 and 24 of TRIPOD+AI (Collins et al., BMJ 385:e078378, 2024), the same for every model here."""


def refresh(card: str, manifest: Mapping[str, Any]) -> str:
    """The card with its tables written anew; a table that the card has no place for is left out."""
    for name, text in tables(manifest).items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
        card = re.sub(pattern, lambda found, text=text: f"{found[1]}{text}\n{found[2]}", card, flags=re.DOTALL)  # type: ignore[misc]
    return card


def tables(manifest: Mapping[str, Any]) -> dict[str, str]:
    """By name: `weights`, `figures` by shuffle of the cross-validation, `groups` and `controls` where there are any."""
    found = {
        "weights": f"Version {manifest['version']}, weights SHA-256 `{manifest['weights_sha256'][:16]}…`.",
        "figures": _figures(manifest["cross_validation"]),
        "open-science": OPEN_SCIENCE,
    }
    if "subgroups" in manifest:
        found["groups"] = _groups(manifest["subgroups"])
        found["controls"] = _controls(manifest["controls"])
    return found


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def _figures(shuffles: Sequence[dict[str, Any]]) -> str:
    rows = [[label(name), *(with_interval(one, name) for one in shuffles)] for name in METRICS]
    if "auroc_random_views" in shuffles[0]:
        rows.append(["AUROC on random views", *(with_interval(one, "auroc_random_views") for one in shuffles)])
    return table(["", *(f"shuffle {n}" for n in range(1, len(shuffles) + 1))], rows)


def _groups(subgroups: Sequence[dict[str, Any]]) -> str:
    names = ("prevalence", "auroc", "auprc", "calibration_intercept", "sensitivity", "specificity")
    rows = [
        [
            f"{row['variable']}: {row['value']}",
            f"{row['n_patients']} ({row['n_patients_positive']})",
            *(with_interval(row, name) for name in names),
        ]
        for row in subgroups
    ]
    return table(["", "patients (with finding)", *map(label, names)], rows)


def _controls(controls: Mapping[str, dict[str, Any]]) -> str:
    rows = [
        [name, *(with_interval(row, key) for m in ("auroc", "auprc") for key in (m, f"model_{m}_minus"))]
        for name, row in controls.items()
    ]
    return table(["control", "AUROC", "model better by", "AUPRC", "model better by"], rows)
