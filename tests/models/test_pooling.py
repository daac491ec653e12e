"""One answer for a whole sequence: pooled three ways, from both ends, or from the embedding alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.parameters import drawn
from transformer_jax import models
from transformer_jax.config import ConfigError, ModelConfig, Shape
from transformer_jax.layers.block import Context
from transformer_jax.models.network import make_mixer

SMALL = dict(d_model=8, num_heads=2, num_layers=2, mlp_dim=12, max_len=9, causal=False)
SHAPE = Shape(seq_len=9, outputs=5, vocab_size=11, pooled=True)
TOKENS = jnp.asarray(np.random.default_rng(0).integers(2, 11, (3, 7)), jnp.int32)
LENGTHS = jnp.array([7, 4, 1])
VARIANTS = {
    "max": {"pooling": "max"},
    "cls": {"pooling": "cls"},
    "cls, rotary": {"pooling": "cls", "position": "rotary"},
    "cls, learned": {"pooling": "cls", "position": "learned"},
    "bidirectional": {"mixer": "lstm", "bidirectional": True, "pooling": "max"},
    "bidirectional, cls": {"mixer": "gru", "bidirectional": True, "pooling": "cls", "recurrent_dim": 5},
    "no blocks": {"num_layers": 0, "pooling": "max"},
}


def built(shape=SHAPE, **variant):
    model = models.build(ModelConfig(**SMALL | variant), shape)
    return model, drawn(model)


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("scan_layers", [True, False])
def test_padding_changes_nothing(variant, scan_layers):
    """A row in a batch with longer ones, its padding full of other tokens, is the row alone."""
    model, params = built(**variant, scan_layers=scan_layers)
    apply = jax.jit(model.apply)
    found = apply(params, TOKENS, lengths=LENGTHS)
    assert found.shape == (3, 5)
    for b, length in enumerate(LENGTHS):
        alone = apply(params, TOKENS[b : b + 1, :length])
        np.testing.assert_allclose(found[b], alone[0], atol=1e-5)


def test_max_pooling_of_embeddings_is_blind_to_order_and_to_repetition():
    """By hand: the largest entry of the rows of the table, normalised (pre-norm has a last norm), times the head."""
    model, params = built(num_layers=0, pooling="max", position="none", norm="post")
    found = model.apply(params, jnp.array([[4, 2, 7, 2]]))
    table = np.asarray(params["embedding"]["token"]["embedding"]) * 8**0.5
    head = params["head"]
    expected = table[[2, 4, 7]].max(0) @ np.asarray(head["kernel"]) + np.asarray(head["bias"])
    np.testing.assert_allclose(found[0], expected, rtol=1e-5, atol=1e-6)
    assert set(params) == {"embedding", "head"}


def test_a_language_model_without_blocks_predicts_from_the_last_token_alone_and_is_read_in_pieces():
    shape = Shape(seq_len=9, outputs=11, vocab_size=11)
    model, params = built(shape, num_layers=0, causal=True, position="none")
    whole = model.apply(params, TOKENS)
    pieces, state = [], model.initial_state(3, 9)
    for start, end in ((0, 3), (3, 4), (4, 7)):
        logits, state = model.extend(params, TOKENS[:, start:end], state)
        pieces.append(logits)
    np.testing.assert_allclose(np.concatenate(pieces, 1), whole, atol=1e-6)


@pytest.mark.parametrize("mixer", ["rnn", "gru", "lstm", "min_gru"])
def test_from_both_ends_every_step_sees_every_other(mixer):
    """By gradient; and the block's mixer is both directions, projected."""
    make = make_mixer(ModelConfig(**SMALL, mixer=mixer, bidirectional=True, recurrent_dim=5))
    x, positions = jax.random.normal(jax.random.key(1), (1, 6, 8)), jnp.arange(6)
    params = jax.jit(make().init)(jax.random.key(0), x, Context(positions))
    y, state = jax.jit(make().apply)(params, x, Context(positions))
    assert y.shape == x.shape and state is None
    assert params["params"]["out"]["kernel"].shape == (10, 8)
    slopes = jax.jit(jax.jacobian(lambda x: make().apply(params, x, Context(positions))[0][0].sum(-1)))(x)
    assert np.all(np.abs(np.asarray(slopes)[:, 0]).sum(-1) > 0)


def test_the_first_step_answers_and_what_is_read_after_it_decides():
    model, params = built(pooling="cls")
    assert params["cls"].shape == (8,)
    slope = jax.jit(jax.grad(lambda p: model.apply(p, TOKENS, lengths=LENGTHS).sum()))(params)
    assert np.any(np.asarray(slope["cls"])) and np.any(np.asarray(slope["embedding"]["token"]["embedding"]))
    with pytest.raises(ValueError, match="leave the mask out"):
        model.apply(params, TOKENS, mask=jnp.ones((1, 1, 7, 7), bool))


def test_only_the_pooled_vector_is_dropped():
    """With a rate of 0.5 the mean over many keys is the answer without dropout, as the head is linear."""
    model, params = built(pooling="max", pooled_dropout_rate=0.5)
    still = jax.jit(model.apply)(params, TOKENS)
    draw = jax.jit(jax.vmap(lambda key: model.apply(params, TOKENS, train=True, key=key)))
    drawn = draw(jax.random.split(jax.random.key(3), 4000))
    assert np.std(drawn, 0).min() > 0.01
    np.testing.assert_allclose(np.mean(drawn, 0), still, atol=5 * np.std(drawn, 0).max() / 4000**0.5)


NEXT_TOKEN = Shape(seq_len=9, outputs=11, vocab_size=11)
PAIRS = Shape(seq_len=9, outputs=11, vocab_size=11, source_len=9, source_vocab_size=11)


@pytest.mark.parametrize(
    ("changes", "shape", "message"),
    [
        ({"pooling": "max"}, NEXT_TOKEN, "model.pooling=max is for tasks that ask for one answer a sequence"),
        ({"pooled_dropout_rate": 0.5}, NEXT_TOKEN, "model.pooled_dropout_rate=0.5 is for .* leave it at 0.0"),
        ({"pooling": "cls", "causal": True}, SHAPE, "it needs model.causal=False"),
        ({"pooling": "cls", "mixer": "gru"}, SHAPE, "it needs model.bidirectional=True"),
        ({"pooling": "cls", "num_layers": 0}, SHAPE, "num_layers >= 1"),
        ({"num_layers": 0, "causal": True}, PAIRS, "model.num_layers=0: without a layer nothing reads"),
        ({"num_layers": 0, "causal": True, "mixer": "gru"}, PAIRS, "model.num_layers=0: without a layer"),
    ],
)
def test_what_cannot_be_pooled_is_refused(changes, shape, message):
    with pytest.raises(ConfigError, match=message):
        models.build(ModelConfig(**SMALL | changes), shape)
