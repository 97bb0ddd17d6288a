"""Notes to the facts by which their vectors reach the record, by the shipped encoder (ONNX Runtime, no torch)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from services.domain.events import Embedding
from services.domain.notes import note_tokens
from services.inference.manifest import Manifest, load_manifest
from training.eicu.dataset import Stay

MODEL = "note_encoder"


@dataclass(frozen=True)
class NoteEncoder:
    """The note encoder of a model repository, in this process."""

    manifest: Manifest
    session: Any

    @classmethod
    def shipped(cls, repository: Path | None = None) -> "NoteEncoder":
        """The encoder of `repository` (the settings' one by default). Raises ManifestError."""
        import onnxruntime

        from services.score.offline import repository as configured

        where = repository or configured()
        manifest = load_manifest(where, MODEL)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        path = where / MODEL / manifest.version / "model.onnx"
        return cls(manifest, onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]))

    def vectors(self, notes: Sequence[tuple[str, str]]) -> np.ndarray:
        """float32 [N, D] of N notes (title, text)."""
        tokens = np.stack([note_tokens(text, title) for title, text in notes])
        numbers = np.arange(len(notes), dtype=np.int64)[:, None]
        found: np.ndarray = self.session.run(["embedding"], {"tokens": tokens, "row_id": numbers})[0]
        return found

    def embeddings(self, stay: Stay) -> list[Embedding]:
        """One fact for each of the stay's notes."""
        if not stay.notes:
            return []
        vectors = self.vectors([(note.title, note.text) for note in stay.notes])
        name, version = self.manifest.model, self.manifest.version
        return [
            stay.embedding(note, vector.tolist(), name, version)
            for note, vector in zip(stay.notes, vectors, strict=True)
        ]
