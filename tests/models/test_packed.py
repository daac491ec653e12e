"""Sentences packed into one row under a segment mask know nothing of each other, forward and backward, bit for bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.parameters import drawn
from transformer_jax import models
from transformer_jax.config import ModelConfig, Shape
from transformer_jax.ops.masks import segment_mask, segments

END, VOCAB = 0, 9
FIRST, SECOND, L = 4, 6, 10


def sentences(seed):
    """(2, FIRST) and (2, SECOND) tokens; each sentence has its END."""
    random = np.random.default_rng(seed)
    words = [random.integers(1, VOCAB, (2, n - 1)) for n in (FIRST, SECOND)]
    return [np.concatenate([w, np.full((2, 1), END)], axis=1).astype(np.int32) for w in words]


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("attention", ["reference", "xla", "blockwise"])
def test_another_sentence_changes_neither_outputs_nor_gradients(attention, causal):
    config = ModelConfig(d_model=12, num_heads=3, num_layers=2, max_len=L, attention=attention, causal=causal)
    model = models.build(config, Shape(L, VOCAB, vocab_size=VOCAB))
    params = drawn(model)
    weight = np.random.default_rng(3).normal(size=(2, L, VOCAB)).astype(np.float32)

    @jax.jit
    def run(tokens, asked_L):
        numbers = segments(tokens, END)

        def loss(params):
            logits = model.apply(params, tokens, mask=segment_mask(numbers, numbers))
            return jnp.sum(jnp.where(asked_L[:, None], logits * weight, 0)), logits

        return jax.grad(loss, has_aux=True)(params)

    (a, b), (c, d) = sentences(1), sentences(2)
    asked_of_first = np.arange(L) < FIRST
    for asked, one, other in (
        (asked_of_first, np.concatenate([a, b], 1), np.concatenate([a, d], 1)),
        (~asked_of_first, np.concatenate([a, b], 1), np.concatenate([c, b], 1)),
    ):
        (grads, logits), (others, moved) = run(one, asked), run(other, asked)
        np.testing.assert_array_equal(logits[:, asked], moved[:, asked])
        assert np.any(np.asarray(logits)[:, ~asked] != np.asarray(moved)[:, ~asked])
        jax.tree.map(np.testing.assert_array_equal, grads, others)
        assert all(np.any(np.asarray(leaf)) for leaf in jax.tree.leaves(grads["head"]))
