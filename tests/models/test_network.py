"""Classification: vectors in, one answer per sequence, every mixer; and the paths of all parameters."""

import json
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.parameters import drawn
from transformer_jax import models
from transformer_jax.config import Config, ConfigError, ModelConfig, Shape, TaskConfig, canonical_json, from_flat

SMALL = dict(d_model=8, num_heads=2, num_layers=2, mlp_dim=12, max_len=9)
PATCHES = dict(SMALL, position="learned", causal=False)
SHAPE = Shape(seq_len=9, outputs=5, input_dim=3, pooled=True)
NEXT_TOKEN = Shape(seq_len=9, outputs=11, vocab_size=11)


@cache
def built(**variant):
    model = models.build(ModelConfig(**PATCHES | variant), SHAPE)
    return model, drawn(model)


def vectors(length=6):
    return jnp.asarray(np.random.default_rng(0).normal(size=(4, length, 3)), jnp.float32)


@pytest.mark.parametrize("mixer", ["attention", "rnn", "gru", "lstm", "min_gru"])
def test_every_mixer_classifies(mixer):
    model, params = built(mixer=mixer)
    logits, grads = jax.jit(jax.value_and_grad(lambda p: model.apply(p, vectors()).sum()))(params)
    assert jax.eval_shape(model.apply, params, vectors()).shape == (4, 5)
    assert np.isfinite(logits) and all(np.any(np.asarray(g)) for g in (grads["head"]["kernel"],))
    assert model.extend is None and model.initial_state is None


def test_attention_looks_both_ways_when_it_classifies():
    """By gradient: in a classifier the first position's value depends on the last input, in a decoder never."""
    config = ModelConfig(**PATCHES)
    model = models.build_block(config)
    params = drawn(model)
    x = jax.random.normal(jax.random.key(1), (1, 6, 8))

    def slope(model):
        return jax.jit(jax.grad(lambda x: model.apply(params, x)[0, 0].sum()))(x)

    assert np.any(slope(model)[0, -1])
    assert not np.any(slope(models.build_block(ModelConfig(**SMALL)))[0, 1:])


@pytest.mark.parametrize("position", ["none", "sinusoidal", "learned", "rotary"])
def test_attention_knows_the_order_only_of_what_has_positions(position):
    """L14's ablation. Without positions attention is blind to order, and the mean over positions too."""
    model, params = built(mixer="attention", position=position)
    apply, x = jax.jit(model.apply), np.asarray(vectors())
    change = np.abs(apply(params, x) - apply(params, x[:, ::-1])).max()
    assert change < 1e-5 if position == "none" else change > 1e-3


def test_tokens_can_be_classified():
    model = models.build(ModelConfig(**SMALL, causal=False), Shape(seq_len=7, outputs=3, vocab_size=11, pooled=True))
    params = jax.eval_shape(model.init, jax.random.key(0))
    assert jax.eval_shape(model.apply, params, jnp.ones((2, 7), jnp.int32)).shape == (2, 3)


def test_vectors_can_be_answered_step_by_step():
    """Regression at every step: whether attention looks ahead is a field of its own, and nothing is read in pieces."""
    shape = Shape(seq_len=6, outputs=2, input_dim=3)
    for causal in (True, False):
        model = models.build(ModelConfig(**SMALL, causal=causal), shape)
        params = drawn(model)
        answer = jax.jit(jax.grad(lambda x, model=model, params=params: model.apply(params, x)[0, 0].sum()))
        assert jax.eval_shape(model.apply, params, vectors()).shape == (4, 6, 2)
        assert np.any(np.asarray(answer(vectors()))[0, -1]) == (not causal)
        assert model.extend is None and model.initial_state is None


def test_steps_that_are_asked_alone_are_answered_as_among_all():
    model = models.build(ModelConfig(**SMALL), NEXT_TOKEN)
    params, random = jax.jit(model.init)(jax.random.key(0)), np.random.default_rng(0)
    tokens, asked = random.integers(0, 11, (4, 7)), random.permuted(np.tile(np.arange(7), (4, 1)), axis=1)[:, :3]
    apply = jax.jit(model.apply)
    found, everywhere = apply(params, tokens, asked=asked), apply(params, tokens)
    assert found.shape == (4, 3, 11)
    expected = [[everywhere[row, step] for step in steps] for row, steps in enumerate(asked)]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_pooled_answer_cannot_be_asked_for_at_some_steps():
    model, params = built()
    with pytest.raises(ValueError, match="a pooled answer is one for all steps"):
        model.apply(params, vectors(), asked=np.zeros((4, 1), np.int32))


@pytest.mark.parametrize("shape", [NEXT_TOKEN._replace(pooled=True), NEXT_TOKEN, SHAPE])
@pytest.mark.parametrize("causal", [True, False])
def test_what_is_read_in_pieces_is_causal_and_answers_every_token(shape, causal):
    model = models.build(ModelConfig(**SMALL, causal=causal), shape)
    assert (model.extend is not None) == (model.initial_state is not None) == (shape == NEXT_TOKEN and causal)


@pytest.mark.parametrize(
    ("changes", "shape", "message"),
    [
        ({}, NEXT_TOKEN._replace(seq_len=10), "up to 10 steps: longer than model.max_len=9"),
        ({"tie_embeddings": True}, NEXT_TOKEN._replace(outputs=10), "vocab_size=11, outputs=10$"),
        ({"tie_embeddings": True}, NEXT_TOKEN._replace(pooled=True), "outputs=11 for a whole sequence"),
        ({"tie_embeddings": True}, SHAPE, "vocab_size=None, outputs=5 for a whole sequence"),
        ({}, Shape(seq_len=3, outputs=2), "tokens or vectors"),
    ],
)
def test_a_shape_that_the_model_cannot_read(changes, shape, message):
    with pytest.raises(ConfigError, match=message):
        models.build(ModelConfig(**SMALL | changes), shape)


def test_a_config_written_and_read_again_builds_the_same_model():
    config = Config(ModelConfig(**PATCHES, mixer="gru", recurrent_dim=5), TaskConfig(seq_len=9))
    again = from_flat(json.loads(canonical_json(config)))
    assert again == config
    one, other = (models.build(c.model, SHAPE) for c in (config, again))
    params = [jax.jit(model.init)(jax.random.key(3)) for model in (one, other)]
    jax.tree.map(np.testing.assert_array_equal, *params)
    np.testing.assert_array_equal(*(jax.jit(m.apply)(p, vectors()) for m, p in zip((one, other), params, strict=True)))


def paths(config, shape):
    params = jax.eval_shape(models.build(config, shape).init, jax.random.key(0))
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf.shape
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    }


BLOCK = {
    "blocks/mlp/Dense_0/bias": (2, 12),
    "blocks/mlp/Dense_0/kernel": (2, 8, 12),
    "blocks/mlp/Dense_1/bias": (2, 8),
    "blocks/mlp/Dense_1/kernel": (2, 12, 8),
    "blocks/norm_mixer/bias": (2, 8),
    "blocks/norm_mixer/scale": (2, 8),
    "blocks/norm_mlp/bias": (2, 8),
    "blocks/norm_mlp/scale": (2, 8),
    "norm_out/bias": (8,),
    "norm_out/scale": (8,),
}
ATTENTION = {
    **{f"blocks/mixer/{name}/bias": (2, 2, 4) for name in ("query", "key", "value")},
    **{f"blocks/mixer/{name}/kernel": (2, 8, 2, 4) for name in ("query", "key", "value")},
    "blocks/mixer/out/bias": (2, 8),
    "blocks/mixer/out/kernel": (2, 2, 4, 8),
}


def test_where_the_parameters_are():
    """Checkpoints name their leaves by these paths: a change here makes old ones unreadable."""
    tokens = {"embedding/token/embedding": (11, 8), "head/bias": (11,), "head/kernel": (8, 11)}
    assert paths(ModelConfig(**SMALL), NEXT_TOKEN) == BLOCK | ATTENTION | tokens
    lstm = {
        "blocks/mixer/input/bias": (2, 32),
        "blocks/mixer/input/kernel": (2, 8, 32),
        "blocks/mixer/kernel": (2, 8, 32),
    }
    assert paths(ModelConfig(**SMALL, mixer="lstm"), NEXT_TOKEN) == BLOCK | lstm | tokens
    patches = {
        "embedding/vector/bias": (8,),
        "embedding/vector/kernel": (3, 8),
        "embedding/learned/embedding": (9, 8),
        "head/bias": (5,),
        "head/kernel": (8, 5),
    }
    assert paths(ModelConfig(**PATCHES), SHAPE) == BLOCK | ATTENTION | patches
