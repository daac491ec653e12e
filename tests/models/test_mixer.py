"""A mixer alone: step by step it is what it is over the whole sequence, and that is the formula."""

import jax
import numpy as np
import pytest

from tests.parameters import drawn
from transformer_jax.config import MIXERS, ModelConfig
from transformer_jax.models.mixer import build_mixer

B, T, D = 2, 7, 6
X = np.random.default_rng(1).normal(size=(B, T, D)).astype(np.float32)


@pytest.mark.parametrize("position", ["none", "rotary"])
@pytest.mark.parametrize("mixer", MIXERS)
def test_step_by_step_is_the_whole_sequence(mixer, position):
    one = build_mixer(ModelConfig(mixer=mixer, d_model=D, num_heads=3, position=position))
    params, state, outputs = drawn(one), one.initial_state(B, T), []
    step, extended = jax.jit(one.step), jax.jit(one.extended)
    for t in range(T):
        y_BxD, added = step(params, X[:, t], state)
        state = extended(state, added)
        outputs.append(y_BxD)
    assert np.allclose(np.stack(outputs, 1), jax.jit(one.apply)(params, X), atol=1e-5)
    assert int(state.index) == T


def test_attention_alone_is_the_formula():
    one = build_mixer(ModelConfig(mixer="attention", d_model=D, num_heads=1, attention="reference"))
    params = drawn(one)
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    q, k, v = (X @ p[name]["kernel"][:, 0] + p[name]["bias"][0] for name in ("query", "key", "value"))
    y = np.zeros((B, T, D))
    for b in range(B):
        for t in range(T):
            scores = np.array([q[b, t] @ k[b, s] for s in range(t + 1)]) / np.sqrt(D)
            weights = np.exp(scores - scores.max())
            y[b, t] = weights / weights.sum() @ v[b, : t + 1] @ p["out"]["kernel"][0] + p["out"]["bias"]
    assert np.allclose(jax.jit(one.apply)(params, X), y, atol=1e-5)


def test_what_a_step_hands_on_is_its_own_key_and_value_or_the_whole_carry():
    for mixer, shapes in (("attention", [(B, 3, 1, 2)] * 2), ("lstm", [(B, D)] * 2), ("gru", [(B, D)])):
        one = build_mixer(ModelConfig(mixer=mixer, d_model=D, num_heads=3))
        _, added = jax.eval_shape(one.step, drawn(one), X[:, 0], one.initial_state(B, T))
        assert [leaf.shape for leaf in jax.tree.leaves(added)] == shapes
