"""Cross-attention: another sequence's keys, at its own positions, without its padding, computed once to decode."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.parameters import of_module
from transformer_jax.layers.attention import Attention, KVCache
from transformer_jax.layers.block import Block, Context, Source
from transformer_jax.layers.mlp import MLP

B, L, S, D, E, H, K, Dh, F = 2, 5, 7, 6, 9, 4, 2, 8, 11  # all different; E is the source's width
POSITIONS, SOURCE_POSITIONS = np.arange(3, 3 + L), np.arange(20, 20 + 3 * S, 3)
LENGTHS = np.array([7, 4])
CROSS = partial(Attention, d_model=D, num_heads=H, num_kv_heads=K, head_dim=Dh, cross=True)


def normal(*shape, seed=0):
    return np.random.default_rng((seed, *shape)).normal(size=shape).astype(np.float32)


def turned(x, position):
    """Pair (i, i + Dh/2) by the angle position / 10000^(2i/Dh), one number at a time."""
    out = x.copy()
    for i in range(Dh // 2):
        angle = position / 10000 ** (2 * i / Dh)
        a, b = x[i], x[i + Dh // 2]
        out[i], out[i + Dh // 2] = a * np.cos(angle) - b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle)
    return out


def oracle(params, x, source, lengths, rotary):
    """Head by head, row by row, float64: query head h reads key head h // (H / K)."""
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    project = lambda name, row, head: row @ p[name]["kernel"][:, head] + p[name]["bias"][head]  # noqa: E731
    turn = turned if rotary else lambda row, position: row
    out = np.zeros((*x.shape[:2], D)) + p["out"]["bias"]
    for b in range(len(x)):
        for h in range(H):
            real = range(lengths[b])
            k = np.array([turn(project("key", source[b, s], h // (H // K)), SOURCE_POSITIONS[s]) for s in real])
            v = np.array([project("value", source[b, s], h // (H // K)) for s in real])
            for i in range(x.shape[1]):
                q = turn(project("query", x[b, i], h), POSITIONS[i])
                weights = np.exp(q @ k.T / np.sqrt(Dh))
                out[b, i] += weights / weights.sum() @ v @ p["out"]["kernel"][h]
    return out


@pytest.fixture(params=["reference", "blockwise"])
def module(request):
    return CROSS(attention=request.param, rotary=True)


@pytest.fixture
def x():
    return normal(B, L, D)


@pytest.fixture
def source():
    return Source(normal(B, S, E), SOURCE_POSITIONS, jnp.asarray(LENGTHS))


@pytest.mark.parametrize("rotary", [False, True])
def test_it_is_the_formula_with_keys_at_the_sources_positions(x, source, rotary):
    module = CROSS(rotary=rotary)
    params = of_module(module, x, Context(POSITIONS, source=source))
    got, state = jax.jit(module.apply)({"params": params}, x, Context(POSITIONS, source=source))
    assert state is None
    np.testing.assert_allclose(got, oracle(params, x, source.x_BxSxD, LENGTHS, rotary), atol=1e-5)


def test_a_source_without_lengths_is_read_whole(x, source, module):
    source = source._replace(lengths_B=None)
    params = of_module(module, x, Context(POSITIONS, source=source))
    got, _ = jax.jit(module.apply)({"params": params}, x, Context(POSITIONS, source=source))
    np.testing.assert_allclose(got, oracle(params, x, source.x_BxSxD, [S] * B, True), atol=1e-5)


def test_steps_that_share_one_reading_are_the_whole_pass(x, source, module):
    params = of_module(module, x, Context(POSITIONS, source=source))
    whole, _ = jax.jit(module.apply)({"params": params}, x, Context(POSITIONS, source=source))
    cache = jax.jit(partial(module.apply, method="read"))({"params": params}, source)
    step = jax.jit(module.apply)
    for t in range(L):  # no source in the context: all that is read of it is the cache
        y, added = step({"params": params}, x[:, t : t + 1], Context(POSITIONS[t : t + 1]), cache)
        assert added is None
        np.testing.assert_allclose(y[:, 0], whole[:, t], atol=1e-5)


def test_padding_of_the_source_changes_nothing_whatever_it_holds(x, source, module):
    params = of_module(module, x, Context(POSITIONS, source=source))

    @jax.jit
    def run(params, x, rows):
        def loss(params, x, rows):
            context = Context(POSITIONS, source=source._replace(x_BxSxD=rows))
            y = module.apply({"params": params}, x, context)[0]
            return jnp.sum(y * normal(B, L, D, seed=1)), y

        return jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)(params, x, rows)

    padded = np.arange(S) >= LENGTHS[:, None]
    results = [run(params, x, np.where(padded[..., None], fill, source.x_BxSxD)) for fill in (0, 3.5, np.nan)]
    for other in results[1:]:
        jax.tree.map(np.testing.assert_array_equal, results[0], other)
    d_source = np.asarray(results[0][1][2])
    assert np.all(d_source[padded] == 0) and np.all(np.abs(d_source[~padded]).sum(-1) > 0)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_a_block_with_a_source_decodes_what_it_reads_at_once(x, source, norm):
    """The self-attention's cache holds x's own L steps and nothing of the source, whose cache stays as it is."""
    sublayers = (
        ("mixer", partial(Attention, d_model=D, num_heads=3, num_kv_heads=3, head_dim=4, rotary=True)),
        ("cross", partial(CROSS, rotary=True)),
        ("mlp", partial(MLP, F)),
    )
    block, positions = Block(sublayers, norm=norm), np.arange(L)
    params = of_module(block, x, Context(positions, source=source))
    assert set(params) == {"mixer", "cross", "mlp", "norm_mixer", "norm_cross", "norm_mlp"}
    whole, none = jax.jit(block.apply)({"params": params}, x, Context(positions, source=source))
    assert none is None
    mixer, cross = (dict(sublayers)[name]() for name in ("mixer", "cross"))
    states = {"mixer": mixer.initial_state(B, L)}
    states["cross"] = cross.apply({"params": params["cross"]}, source, method="read")
    before = jax.tree.map(np.array, states["cross"])
    step = jax.jit(block.apply)
    for t in range(L):
        context = Context(positions[t : t + 1])
        y, added = step({"params": params}, x[:, t : t + 1], context, states)
        assert set(added) == {"mixer"} and isinstance(added["mixer"], KVCache)
        assert added["mixer"].k_BxKxSxDh.shape == (B, 3, 1, 4)
        states = states | {"mixer": states["mixer"].extended(added["mixer"], t)}
        np.testing.assert_allclose(y[:, 0], whole[:, t], atol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, before, states["cross"])
    _, alone = jax.jit(mixer.apply)(
        {"params": params["mixer"]}, norm_of(params, x) if norm == "pre" else x, Context(positions),
        mixer.initial_state(B, 0),
    )  # fmt: skip
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), states["mixer"], alone)


def norm_of(params, x):
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(var + 1e-6) * params["norm_mixer"]["scale"] + params["norm_mixer"]["bias"]


def test_the_source_of_a_block_gets_a_gradient_and_the_mixer_none_of_it(x, source):
    sublayers = (("mixer", partial(Attention, d_model=D, num_heads=3, num_kv_heads=3, head_dim=4)), ("cross", CROSS))
    block = Block(sublayers)
    context = Context(POSITIONS, source=source)
    params = of_module(block, x, context)

    def one(rows, t):
        rows = context._replace(source=source._replace(x_BxSxD=rows))
        return block.apply({"params": params}, x, rows)[0][:, t].sum()

    slope = jax.jit(jax.grad(one), static_argnums=1)
    for t in (0, L - 1):  # the first step, too, sees all of the source
        d_source = np.abs(np.asarray(slope(source.x_BxSxD, t))).sum(-1)
        assert np.all((d_source > 0) == (np.arange(S) < LENGTHS[:, None]))
