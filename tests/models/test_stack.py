"""The stack of blocks: the same in every form, and padding that reaches no real step, whatever it holds."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from transformer_jax.config import ModelConfig
from transformer_jax.layers.block import Context, Source
from transformer_jax.models.encoder_decoder import Stack
from transformer_jax.models.network import make_mixer
from transformer_jax.models.stack import make_block, of_layers, over_depth

B, L, S, D, N = 2, 6, 5, 8, 3
SMALL = dict(d_model=D, num_heads=2, mlp_dim=12, max_len=16)
LENGTHS, SOURCE_LENGTHS = jnp.array([6, 4]), jnp.array([2, 5])
PADDED, SOURCE_PADDED = (np.arange(n) >= np.array(real)[:, None] for n, real in ((L, LENGTHS), (S, SOURCE_LENGTHS)))


def normal(*shape, seed=0):
    return np.random.default_rng((seed, *shape)).normal(size=shape).astype(np.float32)


def decoder(config, num_layers=N):
    attention = make_mixer(config)
    return Stack(config, make_block(config, attention, ("cross", partial(attention, cross=True))), num_layers)


def encoder(config, num_layers=N):
    return Stack(config, make_block(config, partial(make_mixer(config), causal=False)), num_layers)


def context(source=None, lengths=None):
    return Context(np.arange(L), lengths_B=lengths, source=source)


def source(rows=None):
    return Source(normal(B, S, D, seed=1) if rows is None else rows, np.arange(S), SOURCE_LENGTHS)


def random_params(module, given):
    shapes = jax.eval_shape(module.init, jax.random.key(7), normal(B, L, D), given)["params"]
    return jax.tree.map(lambda leaf: 0.35 * normal(*leaf.shape), shapes)


@pytest.mark.parametrize(
    ("attention", "norm"), [("reference", "post"), ("reference", "pre"), ("xla", "pre"), ("blockwise", "pre")]
)
def test_no_step_of_a_decoder_depends_on_a_later_one_in_any_layer(attention, norm):
    """L8, by Jacobian: d out_t / d in_s is zero for s > t and not for s <= t, after each of three blocks."""
    module = decoder(ModelConfig(**SMALL, attention=attention, norm=norm))
    blocks = random_params(module, context(source()))["blocks"]
    block, given = module.block(), Context(np.arange(L), source=Source(normal(1, S, D, seed=1), np.arange(S)))

    def after_each(x_LxD):
        def one(x, params):
            x = block.apply({"params": params}, x, given)[0]
            return x, x[0] @ normal(D, seed=3)  # of post-norm, the plain sum over D is constant

        return jax.lax.scan(one, x_LxD[None], blocks)[1]

    depends_NxLxL = np.abs(jax.jit(jax.jacrev(after_each))(normal(L, D))).sum(-1)
    np.testing.assert_array_equal(depends_NxLxL > 0, np.tril(np.ones((N, L, L), bool)))


def test_every_step_of_an_encoder_depends_on_every_real_one():
    config = ModelConfig(**SMALL)
    params = random_params(encoder(config), context())
    run = lambda x: encoder(config).apply({"params": params}, x, context(lengths=LENGTHS))[0].sum(-1)  # noqa: E731
    depends_BxLxBxL = np.abs(jax.jit(jax.jacrev(run))(normal(B, L, D))).sum(-1)
    for b in range(B):
        real = ~PADDED[b]
        np.testing.assert_array_equal(depends_BxLxBxL[b][real, b] > 1e-6, np.broadcast_to(real, (real.sum(), L)))
        assert not depends_BxLxBxL[b][:, 1 - b].any()


@pytest.mark.parametrize("attention", ["reference", "blockwise"])
@pytest.mark.parametrize("make", [encoder, decoder])
def test_padding_changes_nothing_whatever_it_holds(make, attention):
    """L7: real outputs and every gradient, bit by bit, with zeros, numbers or NaN in the padding of both sequences."""
    module = make(ModelConfig(**SMALL, attention=attention))
    params = random_params(module, context(source()))

    @jax.jit
    def run(params, x, rows):
        def loss(params, x, rows):
            y = module.apply({"params": params}, x, context(source(rows), LENGTHS))[0]
            y = jnp.where(PADDED[..., None], 0, y)
            return jnp.sum(y * normal(B, L, D, seed=2)), y

        return jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)(params, x, rows)

    results = []
    for fill in (0, 3.5, np.nan):
        x, rows = normal(B, L, D), normal(B, S, D, seed=1)
        results.append(
            run(params, np.where(PADDED[..., None], fill, x), np.where(SOURCE_PADDED[..., None], fill, rows))
        )
    for other in results[1:]:
        jax.tree.map(np.testing.assert_array_equal, results[0], other)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(results[2]))
    _, (_, d_x, d_rows) = results[2]
    np.testing.assert_array_equal(np.any(d_x, -1), ~PADDED)
    np.testing.assert_array_equal(np.any(d_rows, -1), ~SOURCE_PADDED if make is decoder else np.zeros((B, S), bool))


@cache
def run(mixer, scan_layers=True, remat=False):
    """Loss, states after and gradients of one set of parameters, restacked for the form."""
    config = ModelConfig(**SMALL, mixer=mixer, scan_layers=scan_layers, remat=remat)
    module = Stack(config, make_block(config, make_mixer(config)), N)
    states = over_depth([{"mixer": make_mixer(config)().initial_state(B, L)}] * N)
    scanned = Stack(ModelConfig(**SMALL, mixer=mixer), module.block, N)
    params = random_params(scanned, context())
    if not scan_layers:
        blocks = params.pop("blocks")
        params |= {f"block_{i}": jax.tree.map(lambda leaf, i=i: leaf[i], blocks) for i in range(N)}

    def loss(params):
        y, added = module.apply({"params": params}, normal(B, L, D), context(), states)
        return jnp.sum(y * normal(B, L, D, seed=2)), added

    value, grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    return value, {"blocks": of_layers(config, N, grads), "norm_out": grads["norm_out"]}


@pytest.mark.parametrize(
    ("mixer", "form"),
    [
        ("attention", {"remat": True}),
        ("attention", {"scan_layers": False, "remat": True}),
        ("gru", {"scan_layers": False}),
    ],
)
def test_scanned_unrolled_rematerialised(mixer, form):
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4)
    jax.tree.map(close, run(mixer), run(mixer, **form))
