"""Inside a network: the vectors before and after every block, and what looks at what."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.parameters import drawn
from transformer_jax import models
from transformer_jax.config import ModelConfig, Shape

SIZES = dict(d_model=12, num_heads=3, num_kv_heads=1, num_layers=2, mlp_dim=10, max_len=9)
SHAPE = Shape(seq_len=7, outputs=11, vocab_size=11)
TOKENS = np.array([[1, 5, 3, 9, 2], [4, 4, 8, 7, 10]], np.int32)


def built(shape=SHAPE, **variant):
    model = models.build(ModelConfig(**SIZES | variant), shape)
    return model._replace(inspect=jax.jit(model.inspect)), drawn(model)


def softmax_of(q_LxDh, k_LxDh, causal):
    """The formula."""
    scores = q_LxDh @ k_LxDh.T / np.sqrt(q_LxDh.shape[-1])
    scores[np.triu_indices(len(scores), 1)] = -np.inf if causal else scores[np.triu_indices(len(scores), 1)]
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


@pytest.mark.parametrize("scan", [True, False])
@pytest.mark.parametrize("causal", [True, False])
def test_the_first_layers_weights_follow_from_its_vectors_by_the_formula(scan, causal):
    model, params = built(scan_layers=scan, causal=causal, norm="post")  # post-norm: attention reads the vectors as is
    found = model.inspect(params, TOKENS)
    assert found.vectors_NxBxLxD.shape == (3, 2, 5, 12) and found.weights_NxHxBxLxL.shape == (2, 3, 2, 5, 5)
    layers = jax.tree.map(lambda x: x[0], params["blocks"]) if scan else params["block_0"]
    mixer, x_LxD = layers["mixer"], np.asarray(found.vectors_NxBxLxD[0, 1], np.float64)
    for head in range(3):
        q = x_LxD @ mixer["query"]["kernel"][:, head] + mixer["query"]["bias"][head]
        k = x_LxD @ mixer["key"]["kernel"][:, 0] + mixer["key"]["bias"][0]
        want = softmax_of(np.asarray(q), np.asarray(k), causal)
        np.testing.assert_allclose(found.weights_NxHxBxLxL[0, head, 1], want, atol=1e-5)


@pytest.mark.parametrize("mixer", ["attention", "gru"])
def test_the_last_vectors_are_those_that_the_head_answers_from(mixer):
    model, params = built(mixer=mixer, norm="post", position="none")
    found = model.inspect(params, TOKENS)
    logits = found.vectors_NxBxLxD[-1] @ params["head"]["kernel"] + params["head"]["bias"]
    np.testing.assert_allclose(logits, jax.jit(model.apply)(params, TOKENS), atol=1e-5)
    embedded = params["embedding"]["token"]["embedding"][TOKENS] * 12**0.5
    np.testing.assert_allclose(found.vectors_NxBxLxD[0], embedded, atol=1e-6)
    assert (found.weights_NxHxBxLxL is None) == (mixer == "gru")


def test_padding_is_not_looked_at():
    model, params = built(Shape(seq_len=7, outputs=3, vocab_size=11, pooled=True), causal=False)
    weights = model.inspect(params, TOKENS, lengths=jnp.array([5, 3])).weights_NxHxBxLxL
    assert not np.any(weights[:, :, 1, :, 3:]) and np.all(np.asarray(weights[:, :, 0]) > 0)
    np.testing.assert_allclose(weights[:, :, 1, :3].sum(-1), 1, atol=1e-6)


def test_of_two_sequences_it_is_the_encoder_of_the_source():
    model, params = built(Shape(7, 11, vocab_size=11, source_len=7, source_vocab_size=11), encoder_layers=3)
    found = model.inspect(params, TOKENS)
    assert found.vectors_NxBxLxD.shape == (4, 2, 5, 12) and found.weights_NxHxBxLxL.shape == (3, 3, 2, 5, 5)
    assert np.all(np.asarray(found.weights_NxHxBxLxL) > 0)  # it looks both ways
