"""Masks against brute force over positions."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer_jax.ops import masks


def sees(i, s, L, S, causal, window):
    at = i + S - L
    return (not causal or s <= at) and (window is None or abs(at - s) < window)


arguments = st.fixed_dictionaries(
    {
        "L": st.sampled_from([1, 2, 5]),  # each pair of lengths is compiled for
        "S": st.sampled_from([1, 4, 6]),
        "causal": st.booleans(),
        "window": st.none() | st.integers(1, 7),
        "lengths": st.none() | st.lists(st.integers(0, 6), min_size=2, max_size=2),
        "holes": st.none() | st.integers(0, 2**30),
        "of keys": st.booleans(),  # the mask is the same for all queries
    }
)


@cache
def both(L, S, causal, window):
    """Compiled, so that a case is one program and not one for every step of it; None stays None."""

    def run(mask, lengths):
        kept = dict(mask=mask, causal=causal, lengths=lengths, window=window)
        return masks.whole_mask(L, S, **kept), masks.seen(L, S, **kept)

    return jax.jit(run)


@settings(max_examples=60)
@given(arguments)
def test_whole_mask_and_what_is_seen(case):
    L, S = case["L"], case["S"]
    lengths = None if case["lengths"] is None else [min(n, S) for n in case["lengths"]]
    mask = None if case["holes"] is None else np.random.default_rng(case["holes"]).random((2, 3, L, S)) < 0.4
    if mask is not None and case["of keys"]:
        mask = mask[:, :, :1]
    expected = np.zeros((2, 3, L, S), bool)
    for b, h, i, s in np.ndindex(2, 3, L, S):
        expected[b, h, i, s] = (
            sees(i, s, L, S, case["causal"], case["window"])
            and (lengths is None or s < lengths[b])
            and (mask is None or mask[b, h, min(i, mask.shape[2] - 1), s])
        )
    whole, (queries, keys) = both(L, S, case["causal"], case["window"])(
        mask, None if lengths is None else np.array(lengths)
    )
    if whole is None:
        assert expected.all() and queries is None and keys is None
        return
    assert whole.ndim == 4
    np.testing.assert_array_equal(np.broadcast_to(whole, expected.shape), expected)
    if queries is None:
        assert expected.any(-1).all() and expected.any(-2).all()
    else:
        np.testing.assert_array_equal(np.broadcast_to(queries, (2, 3, L)), expected.any(-1))
        np.testing.assert_array_equal(np.broadcast_to(keys, (2, 3, S)), expected.any(-2))


@given(st.lists(st.lists(st.integers(0, 3), min_size=7, max_size=7), min_size=1, max_size=3))
def test_a_sentence_ends_with_its_end(rows):
    found = np.asarray(masks.segments(np.array(rows), end=2))
    assert found.shape == (len(rows), 7)
    for row, numbers in zip(rows, found, strict=True):
        assert [row[:i].count(2) for i in range(7)] == list(numbers)


def test_packed_sentences_do_not_see_each_other():
    mask = masks.segment_mask(jnp.array([[1, 1, 2]]), jnp.array([[1, 2, 2, 0]]))
    assert mask.shape == (1, 1, 3, 4)
    np.testing.assert_array_equal(mask[0, 0], [[1, 0, 0, 0], [1, 0, 0, 0], [0, 1, 1, 0]])


def test_padding_mask_broadcasts_over_heads_and_queries():
    np.testing.assert_array_equal(masks.padding_mask(jnp.array([0, 2]), 3)[:, 0, 0], [[0, 0, 0], [1, 1, 0]])


def test_nothing_to_hide_is_none():
    assert masks.combine(None, None) is None
    with pytest.raises(TypeError):
        masks.combine(jnp.ones((2, 2), bool), 1.5)
