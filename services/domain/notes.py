"""Clinical notes to the note encoder's input: the one tokenisation that training and serving share.

A note becomes the set of its words and pairs of neighbouring words, each hashed into one of `BUCKETS` rows of the
encoder's table (the hashing trick, Weinberger et al., ICML 2009). There is no vocabulary to ship and nothing of the
text can be read back from the numbers without guessing it.
"""

import re
from itertools import pairwise
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

NOTE_PREPROCESSING = "note-1"
"""Changes whenever the tokens of the same text do; a model states the one it was trained with."""

BUCKETS = 1 << 14
"""Rows of the table; row 0 is padding."""

MAX_TOKENS = 1024
"""Longer notes are read up to here."""

_WORD = re.compile(r"[a-z]+|\d+")
_BREAK = re.compile(r"[.;\n\r]+")


def note_tokens(text: str, title: str = "") -> NDArray[np.int64]:
    """int64 [MAX_TOKENS]: distinct hashed words and word pairs in order of first appearance, then zeros.

    Case, punctuation and the length of a number do not matter; a pair does not cross a sentence. All zeros when the
    note has no word.
    """
    found: dict[int, None] = {}
    for sentence in (title, *_BREAK.split(text)):
        words = [_shape(word) for word in _WORD.findall(sentence.lower())]
        for word in words:
            found[_bucket(word)] = None
        for first, second in pairwise(words):
            found[_bucket(f"{first} {second}")] = None
        if len(found) >= MAX_TOKENS:
            break
    tokens = np.zeros(MAX_TOKENS, dtype=np.int64)
    kept = list(found)[:MAX_TOKENS]
    tokens[: len(kept)] = kept
    return tokens


def _shape(word: str) -> str:
    """Numbers keep their number of digits alone: a value belongs to the series, a number of a person to nobody."""
    return "0" * len(word) if word[0].isdigit() else word


def _bucket(gram: str) -> int:
    return crc32(gram.encode()) % (BUCKETS - 1) + 1
