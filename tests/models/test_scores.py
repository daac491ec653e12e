"""Models whose attention compares by another score: what they hold, and that decoding computes the same."""

import jax
import numpy as np
import pytest

from transformer_jax import models
from transformer_jax.config import ConfigError, ModelConfig, Shape
from transformer_jax.ops.scores import SCORES

OTHERS = [name for name in SCORES if name != "scaled_dot"]
SIZES = dict(d_model=12, num_heads=4, num_kv_heads=2, head_dim=6, num_layers=2, mlp_dim=10, max_len=16)
TOKENS = np.random.default_rng(0).integers(0, 11, (3, 7)).astype(np.int32)
SOURCE, LENGTHS = np.random.default_rng(1).integers(1, 13, (3, 5)).astype(np.int32), np.array([5, 2, 4])


def built(score, shape, position="rotary"):
    """A model and parameters without a zero among them, which could hide a part that is missing."""
    model = models.build(ModelConfig(**SIZES, score=score, position=position), shape)
    leaves, tree = jax.tree.flatten(jax.eval_shape(model.init, jax.random.key(0)))
    rng = np.random.default_rng(2)
    return model, jax.tree.unflatten(tree, [0.4 * rng.normal(size=p.shape).astype(np.float32) for p in leaves])


@pytest.mark.parametrize("score", OTHERS)
def test_one_step_after_another_and_in_pieces_is_the_whole(score):
    model, params = built(score, Shape(7, 11, vocab_size=11))
    whole = jax.jit(model.apply)(params, TOKENS)
    extend = jax.jit(model.extend, static_argnames="first")
    state, found = model.initial_state(3, 9), []
    for start, end, first in ((0, 2, True), (2, 3, False), (3, 6, False), (6, 7, False)):
        logits, state = extend(params, TOKENS[:, start:end], state, first=first)
        found.append(logits)
    np.testing.assert_allclose(np.concatenate(found, 1), whole, atol=2e-5)


@pytest.mark.parametrize("score", ["cosine", "additive"])
def test_a_source_that_was_read_once_is_attended_to_alike(score):
    model, params = built(score, Shape(7, 11, vocab_size=11, source_len=5, source_vocab_size=13))
    given = {"source": SOURCE, "source_lengths": LENGTHS}
    whole = jax.jit(lambda params, tokens: model.apply(params, tokens, **given))(params, TOKENS)
    state = jax.jit(model.read, static_argnums=3)(params, SOURCE, LENGTHS, 9)
    extend, found = jax.jit(model.extend), []
    for step in range(7):
        logits, state = extend(params, TOKENS[:, step : step + 1], state)
        found.append(logits)
    np.testing.assert_allclose(np.concatenate(found, 1), whole, atol=2e-5)
    weights = jax.jit(model.alignment)(params, TOKENS, SOURCE, LENGTHS)
    np.testing.assert_allclose(weights.sum(-1), np.ones(weights.shape[:-1]), atol=1e-5)
    assert not weights[:, :, 1, :, 2:].any()


def test_scores_differ_and_their_weights_have_gradients():
    shape, answers = Shape(7, 11, vocab_size=11), []
    for score in SCORES:
        model, params = built(score, shape)
        plain = {name: leaf for name, leaf in params["blocks"]["mixer"].items() if not name.startswith("score_")}
        names = set(params["blocks"]["mixer"]) - set(plain)
        assert names == {f"score_{name}" for name in SCORES[score].weights(4, 2, 6, 6)}
        logits, grads = jax.jit(jax.value_and_grad(lambda p, m=model: (m.apply(p, TOKENS) ** 2).mean()))(params)
        assert all(np.abs(grads["blocks"]["mixer"][name]).max() > 1e-6 for name in names)
        answers.append(float(logits))
    assert len(set(answers)) == len(SCORES)


def test_auto_is_the_scaled_dot_product():
    shape = Shape(7, 11, vocab_size=11)
    outputs = [
        jax.jit(model.apply)(params, TOKENS) for model, params in (built(s, shape) for s in ("auto", "scaled_dot"))
    ]
    np.testing.assert_array_equal(*outputs)


@pytest.mark.parametrize("attention", ["xla", "blockwise", "cudnn", "splash"])
def test_a_kernel_that_computes_another_score_is_refused_before_anything_is_built(attention):
    with pytest.raises(
        ConfigError, match=f"model.attention={attention} computes model.score=scaled_dot alone, not cosine"
    ):
        ModelConfig(attention=attention, score="cosine")
    ModelConfig(attention=attention, score="scaled_dot")
