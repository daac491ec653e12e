"""The language model: causal, the same scanned or unrolled, read in pieces or whole; it refuses what is too long."""

import itertools
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.parameters import drawn
from transformer_jax import models
from transformer_jax.config import ModelConfig, Shape
from transformer_jax.layers.attention import KVCache
from transformer_jax.ops.masks import segment_mask

SMALL = dict(d_model=12, num_heads=3, num_layers=2, max_len=16)
SHAPE = Shape(seq_len=16, outputs=11, vocab_size=11)
VARIANTS = {
    "attention": dict(),
    "post-norm, learned": dict(norm="post", position="learned"),
    "rotary, grouped, tied": dict(position="rotary", num_kv_heads=1, tie_embeddings=True),
    "heads of a fixed width": dict(head_dim=6),
    **{name: dict(mixer=name) for name in ("rnn", "gru", "lstm", "min_gru")},
    "matched gru": dict(mixer="gru", recurrent_dim=7),
}


@cache
def built(**variant):
    model = models.build(ModelConfig(**SMALL | variant), SHAPE)
    return model, drawn(model), jax.jit(model.apply)


@cache
def reader(**variant):
    """What reads on: one program for each number of steps, and for whether they are the first."""
    return jax.jit(built(**variant)[0].extend, static_argnames="first")


@pytest.fixture(scope="module")
def tokens():
    return np.random.default_rng(1).integers(0, 11, (2, 9)).astype(np.int32)


CUTS = {variant: [(True, (4, 5))] for variant in VARIANTS}  # first several steps, then one, then several
for variant in ("attention", "rotary, grouped, tied", "lstm"):  # a cache, one of rotated keys, a carry
    CUTS[variant] += [(False, (4, 5)), (True, (1, 5))]


@pytest.mark.parametrize(("variant", "first", "cuts"), [(name, *how) for name in VARIANTS for how in CUTS[name]])
def test_decoding_is_the_forward_pass(variant, tokens, first, cuts):
    model, params, apply = built(**VARIANTS[variant])
    whole = apply(params, tokens)
    assert whole.shape == (2, 9, 11) and whole.dtype == jnp.float32
    state, pieces = model.initial_state(2, 9), []
    for start, end in itertools.pairwise((0, *cuts, 9)):
        logits, state = reader(**VARIANTS[variant])(params, tokens[:, start:end], state, first=first and start == 0)
        pieces.append(logits)
    np.testing.assert_allclose(np.concatenate(pieces, 1), whole, atol=1e-5)
    assert int(state.index) == 9


@pytest.mark.parametrize("variant", ["attention", "lstm"])
def test_depth_scanned_is_depth_unrolled(variant, tokens):
    """The same parameters, restacked, give the same logits and gradients; remat changes neither."""
    scanned = models.build(ModelConfig(**SMALL, **VARIANTS[variant], remat=True), SHAPE)
    unrolled = models.build(ModelConfig(**SMALL, **VARIANTS[variant], scan_layers=False), SHAPE)
    _, params, _ = built(**VARIANTS[variant])
    blocks = params["blocks"]
    unrolled_params = {name: leaf for name, leaf in params.items() if name != "blocks"}
    unrolled_params |= {f"block_{i}": jax.tree.map(lambda leaf, i=i: np.asarray(leaf)[i], blocks) for i in range(2)}

    def loss(model, params):
        return jnp.sum(model.apply(params, tokens) ** 2)

    one, grads = jax.jit(jax.value_and_grad(partial(loss, scanned)))(params)
    other, unrolled_grads = jax.jit(jax.value_and_grad(partial(loss, unrolled)))(unrolled_params)
    np.testing.assert_allclose(one, other, rtol=1e-6)
    restacked = jax.tree.map(lambda *leaves: np.stack(leaves), *(unrolled_grads[f"block_{i}"] for i in range(2)))
    for a, b in zip(jax.tree.leaves(grads["blocks"]), jax.tree.leaves(restacked), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("variant", ["attention", "gru", "min_gru"])
def test_the_model_never_looks_ahead(variant, tokens):
    _, params, apply = built(**VARIANTS[variant])
    before = apply(params, tokens)
    moved = tokens.copy()
    moved[:, 5] = (moved[:, 5] + 1) % 11
    after = apply(params, moved)
    before, after = np.asarray(before), np.asarray(after)
    assert np.array_equal(before[:, :5], after[:, :5])
    assert not np.allclose(before[:, 5:], after[:, 5:])


def test_what_decoding_keeps():
    """Attention keeps every key and value, a recurrence a state of one size."""
    for length in (8, 16):
        cache = models.build(ModelConfig(**SMALL), SHAPE).initial_state(3, length).blocks["mixer"]
        assert isinstance(cache, KVCache) and cache.k_BxKxSxDh.shape == (2, 3, 3, length, 4)
        h, c = models.build(ModelConfig(**SMALL, mixer="lstm"), SHAPE).initial_state(3, length).blocks["mixer"]
        assert h.shape == c.shape == (2, 3, 12)


@pytest.mark.parametrize("length", [0, 17])
def test_a_length_that_the_model_cannot_address(length):
    model, params, _ = built()
    with pytest.raises(ValueError, match=f"a sequence of {length} steps: model.max_len=16"):
        model.apply(params, jnp.zeros((1, length), jnp.int32))
    with pytest.raises(ValueError, match="max_len=16"):
        model.initial_state(1, length)


def test_bfloat16_computes_low_and_stores_high(tokens):
    model = models.build(ModelConfig(**SMALL, dtype="bfloat16"), SHAPE)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}
    _, params, apply = built()
    exact = apply(params, tokens)
    np.testing.assert_allclose(jax.jit(model.apply)(params, tokens), exact, atol=0.1)
    assert model.initial_state(1, 4).blocks["mixer"].k_BxKxSxDh.dtype == jnp.bfloat16


def test_a_scanned_gradient_is_one_program_at_any_depth(tokens):
    """What is compiled, and so how long that takes, does not grow with the number of blocks."""

    def lines(num_layers, scan_layers):
        model = models.build(ModelConfig(**SMALL | {"num_layers": num_layers}, scan_layers=scan_layers), SHAPE)
        params = jax.eval_shape(model.init, jax.random.key(0))
        return jax.jit(jax.grad(lambda p: model.apply(p, tokens).sum())).lower(params).as_text().count("\n")

    assert lines(24, True) == lines(4, True)
    assert lines(8, False) > 1.5 * lines(4, False)


def test_lanes_decode_apart(tokens):
    """Two parameter sets, each with a cache of its own length read so far."""
    model = models.build(ModelConfig(**SMALL | {"num_layers": 1}, position="rotary", num_kv_heads=1), SHAPE)
    params = jax.tree.map(lambda leaf: np.stack([leaf, leaf[::-1] - 0.1]), drawn(model))
    extend, read, steps = jax.jit(model.extend), (4, 6), []
    for lane, count in enumerate(read):
        own = jax.tree.map(lambda p, lane=lane: np.asarray(p)[lane], params)
        steps.append(extend(own, tokens[:, :count], model.initial_state(2, 9))[1])
    states = jax.tree.map(lambda *leaves: np.stack(leaves), *steps)
    following = np.stack([tokens[:, count : count + 1] for count in read])
    logits, states = jax.jit(jax.vmap(model.extend))(params, following, states)
    whole = jax.jit(model.apply)
    for lane, count in enumerate(read):
        own = jax.tree.map(lambda p, lane=lane: np.asarray(p)[lane], params)
        np.testing.assert_allclose(logits[lane], whole(own, tokens[:, : count + 1])[:, -1:], atol=1e-5)
    assert states.index.tolist() == [5, 7]


def test_a_prompt_costs_its_own_length_not_the_room_behind_it():
    model = models.build(ModelConfig(**SMALL | {"max_len": 2048, "attention": "reference"}), SHAPE)
    params, tokens = jax.eval_shape(model.init, jax.random.key(0)), jax.ShapeDtypeStruct((1, 8), jnp.int32)
    flops = [
        jax.jit(lambda p, t, room=room: model.extend(p, t, model.initial_state(1, room), first=True)[0])
        .lower(params, tokens)
        .compile()
        .cost_analysis()["flops"]
        for room in (8, 2048)
    ]
    assert flops[1] < 1.1 * flops[0]


def test_a_token_leaves_the_cache_where_it_is():
    """Donated, the cache is the output's memory, and the step's own memory is less than one more cache."""
    model = models.build(ModelConfig(**SMALL | {"max_len": 2048, "num_layers": 6}), SHAPE)
    params, state = jax.eval_shape(model.init, jax.random.key(0)), jax.eval_shape(lambda: model.initial_state(2, 2048))
    token = jax.ShapeDtypeStruct((2, 1), jnp.int32)
    memory = jax.jit(model.extend, donate_argnums=2).lower(params, token, state).compile().memory_analysis()
    cache_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state.blocks))
    assert memory.alias_size_in_bytes >= cache_bytes
    assert memory.temp_size_in_bytes < cache_bytes / 2


@pytest.mark.parametrize("variant", ["attention", "rotary, grouped, tied"])
def test_packed_sentences_do_not_attend_to_each_other(variant, tokens):
    """Sentences of 4 and 5 words in one row: each is as it is alone; without the mask not."""
    model, params, apply = built(**VARIANTS[variant])
    segments = np.array([[1] * 4 + [2] * 5] * 2)
    packed = apply(params, tokens, mask=segment_mask(segments, segments))
    np.testing.assert_allclose(packed[:, :4], apply(params, tokens[:, :4]), atol=1e-5)
    moved = np.concatenate([(tokens[:, :4] + 1) % 11, tokens[:, 4:]], 1)  # another sentence before the second
    np.testing.assert_array_equal(apply(params, moved, mask=segment_mask(segments, segments))[:, 4:], packed[:, 4:])
    assert np.all(np.any(apply(params, tokens)[:, 4:] != packed[:, 4:], axis=-1))
    if variant != "attention":  # rotary positions are relative: where a sentence starts does not matter
        np.testing.assert_allclose(packed[:, 4:], apply(params, tokens[:, 4:]), atol=1e-5)
