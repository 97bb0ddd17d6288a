"""From an encoder's answer to the event that carries the embedding to the record. Pure: same in, same bytes out."""

from collections.abc import Mapping, Sequence

import numpy as np

from services.domain.events import AnyFact, ClinicalEvent, Document, Embedding, Imaging, Version, digest
from services.inference.manifest import Manifest

DIGITS = 7
"""Decimals of a vector's values as they are published: float32 carries no more, and JSON twice as long helps nobody."""

FORMAT = "wardstream"
TYPE = "embedding"


def embedding(
    source: Document | Imaging, manifest: Manifest, outputs: Mapping[str, np.ndarray], thumbnail: str = ""
) -> Embedding:
    """The fact for one note or image. Its version follows the source's, so that a corrected note's embedding wins over
    the old one's; between two versions of the encoder the newer wins."""
    old = source.version
    version = Version(old.rank, old.issued, old.sequence, f"{manifest.version:0>4}:{old.digest}")
    finding = outputs.get("finding", np.zeros(0, np.float32))
    return Embedding(
        id=digest(source.id, manifest.model),
        version=version,
        of=source.id,
        modality="note" if isinstance(source, Document) else "image",
        time=source.time,
        model=manifest.model,
        model_version=manifest.version,
        vector=[round(float(value), DIGITS) for value in outputs["embedding"]],
        thumbnail=thumbnail,
        findings={name: round(float(value), DIGITS) for name, value in zip(manifest.findings, finding, strict=True)},
    )


def event_of(source: ClinicalEvent, embeddings: Sequence[AnyFact], models: Sequence[Manifest]) -> ClinicalEvent:
    """The event on `record.updates`. Its id names the source event and the encoders' versions."""
    encoders = sorted(f"{manifest.model}:{manifest.version}" for manifest in models)
    return ClinicalEvent(
        event_id=digest(source.event_id, *encoders, size=16),
        patient=source.patient,
        format=FORMAT,
        type=TYPE,
        occurred=source.occurred,
        facts=list(embeddings),
    )
