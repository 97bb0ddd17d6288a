"""Tokens of notes: deterministic, bounded, and blind to what must not matter."""

import string

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from services.domain.notes import BUCKETS, MAX_TOKENS, note_tokens


def bag(text: str, title: str = "") -> set[int]:
    return set(note_tokens(text, title).tolist()) - {0}


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=400), st.text(max_size=20))
def test_any_text_gives_tokens_in_range_each_once_and_padding_last(text: str, title: str) -> None:
    tokens = note_tokens(text, title)
    assert tokens.shape == (MAX_TOKENS,)
    assert tokens.dtype == np.int64
    used = tokens[tokens != 0]
    assert len(set(used.tolist())) == len(used)
    assert (tokens[len(used) :] == 0).all()
    assert tokens.min() >= 0
    assert tokens.max() < BUCKETS


def test_case_spacing_and_punctuation_do_not_matter() -> None:
    assert bag("Acute  respiratory FAILURE") == bag("acute, respiratory failure")


def test_order_of_words_matters_through_pairs_only() -> None:
    assert bag("septic shock") != bag("shock septic")
    assert len(bag("septic shock") & bag("shock septic")) == 2


def test_a_pair_does_not_cross_a_sentence() -> None:
    assert bag("no fever. chest pain") == bag("no fever") | bag("chest pain")


def test_a_number_is_known_by_its_length_alone() -> None:
    assert bag("room 4711") == bag("room 9023")
    assert bag("room 4711") != bag("room 47")


def test_a_text_without_words_is_all_padding() -> None:
    assert not note_tokens("  \n ... !").any()
    assert not note_tokens("").any()


def test_the_longest_note_is_cut_and_not_refused() -> None:
    letters = string.ascii_lowercase
    text = " ".join(a + b + c for a in letters for b in letters for c in letters[:8])
    tokens = note_tokens(text)
    assert (tokens != 0).all()


def test_the_tokens_are_the_ones_that_shipped_models_were_trained_on() -> None:
    assert note_tokens("Septic shock", "Note")[:4].tolist() == SEPTIC_SHOCK


SEPTIC_SHOCK = [14617, 16007, 1588, 13828]
