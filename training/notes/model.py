"""The note encoder: one table from hashed words to directions that matter for acutely ill patients.

A note's vector is the sum of its tokens' rows. Folded into the rows are inverse document frequency and two kinds of
directions, each scaled to unit variance over the training stays: latent semantic ones (truncated SVD), and ones
that predict the patient's physiology, course, outcome and expected risk (multi-target ridge regression). The vector is
linear in the words, so the mean of several notes' vectors means what it says.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags
from sklearn.decomposition import TruncatedSVD

from services.domain.notes import BUCKETS

SEMANTIC = 31
"""Unsupervised directions, the first ones of the vector; those of the targets follow."""

RIDGE = 10.0
MIN_DOCUMENTS = 3
MAX_SHARE = 0.9

Float = NDArray[np.float32]


@dataclass(frozen=True)
class NoteTable:
    """`rows` float32 [BUCKETS, D]. Row 0, padding, is zero."""

    rows: Float

    @property
    def size(self) -> int:
        return int(self.rows.shape[1])

    def encode(self, tokens: NDArray[np.int64]) -> Float:
        """float32 [N, D] of tokens [N, T]: what the exported model computes. Zeros for a note without known words."""
        return np.stack([self.rows[row[row != 0]].sum(axis=0) for row in tokens]).astype(np.float32)


@dataclass(frozen=True)
class Corpus:
    """Documents as tokens int64 [documents, T] and the stay (0-based row) that each belongs to."""

    tokens: NDArray[np.int64]
    owner: NDArray[np.int64]
    stays: int

    def of(self, stays: NDArray[np.intp]) -> "Corpus":
        """The documents of these stays alone, renumbered in the given order."""
        place = np.full(self.stays, -1)
        place[stays] = np.arange(len(stays))
        kept = place[self.owner] >= 0
        return Corpus(self.tokens[kept], place[self.owner[kept]], len(stays))

    def mean(self) -> csr_matrix:
        """Sparse [stays, documents] that averages the documents of each stay."""
        count = np.bincount(self.owner, minlength=self.stays)
        column = np.arange(len(self.owner))
        return csr_matrix((1 / count[self.owner], (self.owner, column)), shape=(self.stays, len(self.owner)))

    def vectors(self, table: NoteTable) -> NDArray[np.float64]:
        """float64 [stays, D]: each stay's mean note vector, zeros where it has no note."""
        return np.asarray(self.mean() @ table.encode(self.tokens).astype(np.float64))


def bag(tokens: NDArray[np.int64]) -> csr_matrix:
    """Sparse [N, BUCKETS] of 0 and 1 from tokens [N, T]."""
    row, column = np.nonzero(tokens)
    return csr_matrix((np.ones(len(row)), (row, tokens[row, column])), shape=(len(tokens), BUCKETS))


def word_weights(documents: csr_matrix) -> NDArray[np.float64]:
    """[BUCKETS] smooth inverse document frequency; 0 for what is too rare to learn from or too common to tell."""
    count, total = np.asarray(documents.sum(axis=0)).ravel(), documents.shape[0]
    weights = np.log((1 + total) / (1 + count)) + 1
    weights[(count < MIN_DOCUMENTS) | (count > MAX_SHARE * total)] = 0
    return np.asarray(weights)


@dataclass(frozen=True)
class Semantics:
    """What is learnt from the words alone: weights [BUCKETS], SVD directions [SEMANTIC, BUCKETS]."""

    weights: NDArray[np.float64]
    directions: NDArray[np.float64]


def fit_semantics(corpus: Corpus) -> Semantics:
    """Inverse document frequency and truncated SVD. No label is read."""
    counts = bag(corpus.tokens)
    weights = word_weights(counts)
    svd = TruncatedSVD(SEMANTIC, random_state=0).fit(counts @ diags(weights))
    return Semantics(weights, svd.components_)


def fit_table(corpus: Corpus, targets: NDArray[np.float64], semantics: Semantics) -> NoteTable:
    """The table of SEMANTIC + K directions; `targets` [stays, K] are standardised, 0 where unknown."""
    stays = (corpus.mean() @ bag(corpus.tokens) @ diags(semantics.weights)).tocsr()
    directions = np.vstack([semantics.directions, ridge_directions(stays, targets)])
    spread = np.asarray(stays @ directions.T).std(axis=0)
    rows = (directions / np.maximum(spread, 1e-6)[:, None]).T * semantics.weights[:, None]
    return NoteTable(rows.astype(np.float32))


def ridge_directions(features: csr_matrix, targets: NDArray[np.float64]) -> NDArray[np.float64]:
    """[K, BUCKETS] ridge coefficients for every target at once, solved in the dual (stays are fewer than buckets).

    The penalty is RIDGE in units of the mean squared length of the rows.
    """
    kernel = np.asarray((features @ features.T).todense())
    scale = float(np.trace(kernel)) / len(kernel)
    centred = kernel - kernel.mean(axis=0) - kernel.mean(axis=1)[:, None] + kernel.mean()
    dual = np.linalg.solve(centred / scale + RIDGE * np.eye(len(kernel)), targets - targets.mean(axis=0))
    return np.asarray((features.T @ (dual - dual.mean(axis=0))).T)
