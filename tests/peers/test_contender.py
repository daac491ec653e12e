"""A peer is timed only if it computes what ours computes, and a problem that has no such peer is refused."""

import numpy as np
import pytest

from transformer_jax.config import Config, with_overrides
from transformer_jax.measure.work import Work, next_token
from transformer_jax.peers import contender
from transformer_jax.peers.build import build
from transformer_jax.peers.contender import SMALLEST_SHARE, TOLERANCE, Mismatch, largest_difference

OURS = {"out": np.array([[1.0, -4.0], [2.0, 0.5]]), "zero": np.zeros(3)}


def changed(name, by):
    return OURS | {name: OURS[name] + by}


def test_the_difference_is_a_share_of_the_arrays_largest_entry():
    assert largest_difference(OURS, OURS) == 0
    assert largest_difference(changed("out", 0.5 * TOLERANCE * 4), OURS) == pytest.approx(0.5 * TOLERANCE)


def test_what_is_zero_but_for_rounding_is_measured_against_the_largest_array():
    by = 0.5 * TOLERANCE * SMALLEST_SHARE * 4
    assert largest_difference(changed("zero", by), OURS) == pytest.approx(0.5 * TOLERANCE)
    with pytest.raises(Mismatch, match="zero differs from ours by"):
        largest_difference(changed("zero", 3 * by), OURS)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (changed("out", 2 * TOLERANCE * 4), "its out differs from ours by 0.0002 of the largest entry"),
        (changed("out", np.nan), "its out differs from ours by nan"),
        (OURS | {"out": OURS["out"].T[:1]}, r"its out has the shape \(1, 2\), ours \(2, 2\)"),
        ({"out": OURS["out"]}, "its outputs are out, ours are out, zero"),
    ],
)
def test_another_result_is_a_mismatch(found, message):
    with pytest.raises(Mismatch, match=message):
        largest_difference(found, OURS)


@pytest.mark.parametrize(
    ("overrides", "level", "phase", "peer", "message"),
    [
        ({"model.dtype": "bfloat16"}, "model", "train", "ours", "float32"),
        ({}, "block", "train", "ours", "not compared at measure.level=block"),
        ({}, "model", "train", "keras", "those that do: ours, torch, torch_compile"),
        ({}, "model", "forward", "torch", "here it is one of train"),
        ({}, "op", "decode", "torch", "here it is one of forward, train"),
        ({"model.mixer": "lstm"}, "op", "train", "jax_nn", "ours, linen, torch"),
        ({"model.mixer": "min_gru"}, "op", "train", "ours", "rnn, gru, lstm have peers, not min_gru"),
        ({"model.mixer": "gru"}, "model", "train", "torch", "not written for model.mixer=gru"),
        ({"model.norm": "post", "model.remat": True}, "model", "train", "torch", "model.norm=post, model.remat=True"),
        ({"model.causal": False}, "model", "train", "torch", "not written for model.causal=False"),
        ({"train.warmup_steps": 2}, "model", "train", "torch", "constant learning rate"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_the_reason(overrides, level, phase, peer, message):
    config = with_overrides(Config(), overrides)
    with pytest.raises(ValueError, match=message):
        build(Work(config, next_token(config), level, phase), peer)


def test_every_contender_gets_the_same_inputs():
    first, again = contender.normal(3, 0, (2, 5)), contender.normal(3, 0, (2, 5))
    assert np.array_equal(first, again) and not np.array_equal(first, contender.normal(3, 1, (2, 5)))
