"""The training distributions that models ship in their manifests, for drift."""

from pathlib import Path

import msgspec

from services.domain.codes import BY_NAME
from services.domain.prediction import Outcome
from services.monitor.drift import Reference


class _Shipped(msgspec.Struct):
    """`reference` of a manifest: inputs by the variable's short name, scores by outcome."""

    inputs: dict[str, Reference] = {}
    scores: dict[Outcome, Reference] = {}


class _Manifest(msgspec.Struct):
    model: str = ""
    reference: _Shipped = msgspec.field(default_factory=_Shipped)


def load_references(
    repository: Path,
) -> tuple[dict[str, tuple[str, Reference]], dict[tuple[str, Outcome], Reference]]:
    """References of all models below the repository: LOINC -> (name, reference), and (model, outcome) -> reference.

    Raises msgspec.ValidationError for a manifest that cannot be read.
    """
    inputs: dict[str, tuple[str, Reference]] = {}
    scores: dict[tuple[str, Outcome], Reference] = {}
    for path in sorted(repository.glob("*/manifest.json")):
        manifest = msgspec.json.decode(path.read_bytes(), type=_Manifest)
        for name, reference in manifest.reference.inputs.items():
            if name in BY_NAME:
                inputs.setdefault(BY_NAME[name].loinc, (name, reference))
        for outcome, reference in manifest.reference.scores.items():
            scores[manifest.model, outcome] = reference
    return inputs, scores
