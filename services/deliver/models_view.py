"""What the page says of each model: its manifest's facts and its card."""

import re
from pathlib import Path

import msgspec

CARD = "MODEL_CARD.md"
_MARK = re.compile(r"<!--.*?-->\n?", re.DOTALL)
"""A comment in a card: where training writes its tables."""


class OutcomeFacts(msgspec.Struct):
    """One risk of a model, as its manifest states it."""

    name: str
    threshold: float | None = None
    indeterminate: tuple[float, float] | None = None
    coverage: float | None = None


class ModelFacts(msgspec.Struct):
    """A model of the repository. `card` is Markdown, empty where there is none."""

    model: str
    version: str = ""
    weights_sha256: str = ""
    feature_version: str = ""
    preprocessing: str = ""
    modalities_in_use: list[str] = []
    outcomes: list[OutcomeFacts] = []
    findings: list[str] = []
    card: str = ""


_DECODER = msgspec.json.Decoder(ModelFacts)


def models_in(repository: Path) -> list[ModelFacts]:
    """Every model of a repository that has a manifest; one whose manifest cannot be read shows by its name alone."""
    found = []
    for path in sorted(repository.glob("*/manifest.json")):
        try:
            facts = _DECODER.decode(path.read_bytes())
        except msgspec.MsgspecError:
            facts = ModelFacts(model=path.parent.name)
        card = path.parent / CARD
        facts.card = _MARK.sub("", card.read_text(encoding="utf-8")) if card.is_file() else ""
        found.append(facts)
    return found
