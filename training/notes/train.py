"""Trains the note encoder: `wardstream train notes --data PATH [--out FOLDER | --publish]`.

Cross-validation leaves whole hospitals out: in each fold the table is fitted on the other hospitals, a logistic
regression on their cross-fitted vectors, and both are asked about the hospitals that neither has seen.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from services.domain.notes import MAX_TOKENS, NOTE_PREPROCESSING, note_tokens
from training.eicu.dataset import Stay, load_stays
from training.eicu.targets import TARGETS, read_targets, standardised
from training.evaluation.metrics import summary
from training.notes.model import SEMANTIC, Corpus, NoteTable, Semantics, fit_semantics, fit_table
from training.progress import progress
from training.repository import encoder_program, publish_encoder, tidy

MODEL = "note_encoder"
OPSET = 18
MAX_BATCH = 64
FOLDS, SEEDS = 5, (0, 1, 2)
PENALTY = 0.003


def corpus_of(stays: Sequence[Stay]) -> Corpus:
    """The stays' documents as tokens."""
    rows = [(note_tokens(note.text, note.title), number) for number, stay in enumerate(stays) for note in stay.notes]
    return Corpus(np.stack([r[0] for r in rows]), np.array([r[1] for r in rows], dtype=np.int64), len(stays))


def cross_fit(
    corpus: Corpus, targets: pd.DataFrame, hospitals: NDArray[np.int64], folds: int, semantics: Semantics, seed: int = 0
) -> NDArray[np.float64]:
    """float64 [stays, D]: each stay's vector by a table whose targets came from other hospitals only."""
    found = np.zeros((corpus.stays, SEMANTIC + targets.shape[1]))
    death = targets["death"].to_numpy()
    for train, test in StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(death, death, hospitals):
        table = fit_table(corpus.of(train), standardised(targets.iloc[train]), semantics)
        found[test] = corpus.of(test).vectors(table)
    return found


def cross_validate(
    corpus: Corpus, targets: pd.DataFrame, hospitals: NDArray[np.int64], seed: int
) -> NDArray[np.float64]:
    """Out-of-fold risk of death float64 [stays] from the notes alone, whole hospitals left out."""
    death = targets["death"].to_numpy()
    risk = np.zeros(corpus.stays)
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    for train, test in folds.split(death, death, hospitals):
        mine, known = corpus.of(train), targets.iloc[train]
        semantics = fit_semantics(mine)
        inner = cross_fit(mine, known, hospitals[train], 4, semantics)
        head = make_pipeline(StandardScaler(), LogisticRegression(C=PENALTY, max_iter=1000)).fit(inner, death[train])
        table = fit_table(mine, standardised(known), semantics)
        risk[test] = head.predict_proba(corpus.of(test).vectors(table))[:, 1]
    return risk


def export(table: NoteTable) -> onnx.ModelProto:
    """The graph: `tokens` int64 [rows, MAX_TOKENS], `row_id` -> `embedding` float32 [rows, D], `row_id_out`."""
    rows = numpy_helper.from_array(table.rows.astype(np.float16), "rows")
    axes = numpy_helper.from_array(np.array([1], dtype=np.int64), "token_axis")
    nodes = [
        helper.make_node("Gather", ["rows", "tokens"], ["half"]),
        helper.make_node("Cast", ["half"], ["found"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["found", "token_axis"], ["embedding"], keepdims=0),
        helper.make_node("Identity", ["row_id"], ["row_id_out"]),
    ]
    sizes = {"tokens": [MAX_TOKENS], "row_id": [1], "embedding": [table.size], "row_id_out": [1]}
    kinds = {"embedding": TensorProto.FLOAT}
    values = {
        n: helper.make_tensor_value_info(n, kinds.get(n, TensorProto.INT64), ["rows", *s]) for n, s in sizes.items()
    }
    graph = helper.make_graph(
        nodes,
        MODEL,
        [values["tokens"], values["row_id"]],
        [values["embedding"], values["row_id_out"]],
        [rows, axes],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    return tidy(model, MODEL, sizes)


def publish(table: NoteTable, figures: Sequence[dict[str, Any]], stays: Sequence[Stay], repository: Path) -> Path:
    """Writes `model_repository/note_encoder` with the cross-validated `figures`, one for each seed."""
    details = {
        "modality": "note",
        "preprocessing": NOTE_PREPROCESSING,
        "directions": [*(f"semantic_{n}" for n in range(SEMANTIC)), *TARGETS],
        "data": {
            "name": "eICU-CRD demo 2.0.1",
            "stays": len(stays),
            "hospitals": len({stay.hospital for stay in stays}),
            "documents": sum(len(stay.notes) for stay in stays),
        },
        "cross_validation": list(figures),
    }
    return publish_encoder(export(table), MODEL, repository, MAX_BATCH, details)


def train(data: Path, repository: Path) -> list[dict[str, Any]]:
    """Trains and publishes the note encoder; returns the cross-validated figures of each seed."""
    stays = load_stays(data)
    corpus, targets = corpus_of(stays), read_targets(data, pd.Index([stay.stay for stay in stays]))
    hospitals = np.array([stay.hospital for stay in stays])
    patients = [stay.patient for stay in stays]
    risks = [cross_validate(corpus, targets, hospitals, seed) for seed in progress(SEEDS, "cross-validation")]
    figures = [summary(targets["death"], risk, patients) for risk in risks]
    publish(fit_table(corpus, standardised(targets), fit_semantics(corpus)), figures, stays, repository)
    return figures


def main(words: Sequence[str] | None = None) -> int:
    """`wardstream train notes`; returns the exit status."""
    return encoder_program("notes", MODEL, "folder with eICU's csv.gz tables", train, words)


if __name__ == "__main__":
    sys.exit(main())
