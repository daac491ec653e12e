"""A recurrence both ways, and what a recurrent decoder reads of a source."""

from functools import partial

import jax
import numpy as np
import pytest

from tests.parameters import of_module
from transformer_jax.layers.block import Context, Source
from transformer_jax.layers.recurrent import Bidirectional, Recurrent
from transformer_jax.layers.recurrent_attention import AttentiveRecurrent, StateAttention, context

B, S, D, R, L, E = 3, 6, 4, 5, 2, 7
LENGTHS = np.array([6, 4, 1])


def normal(*shape):
    return np.random.default_rng(shape).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("name", ["gru", "lstm", "min_gru"])
def test_both_ways_are_two_runs_by_hand_on_rows_without_padding(name):
    one, x = Recurrent(name, R), normal(B, S, D)
    module = Bidirectional(partial(Recurrent, name, R))
    read = Context(np.arange(S), lengths_B=LENGTHS)
    params, apply = of_module(module, x, read), jax.jit(one.apply)
    y, state = jax.jit(module.apply)({"params": params}, x, read)
    assert y.shape == (B, S, 2 * R) and state is None
    run = lambda direction, row: apply({"params": params[direction]}, row[None])[0][0]  # noqa: E731
    for b, length in enumerate(LENGTHS):
        np.testing.assert_allclose(y[b, :length, :R], run("forward", x[b, :length]), atol=1e-5)
        np.testing.assert_allclose(y[b, :length, R:], run("backward", x[b, :length][::-1])[::-1], atol=1e-5)
        assert not np.any(y[b, length:])


def test_garbage_in_the_padding_changes_nothing_both_ways():
    module, x = Bidirectional(partial(Recurrent, "gru", R)), normal(B, S, D)
    read = Context(np.arange(S), lengths_B=LENGTHS)
    params = {"params": of_module(module, x, read)}

    @jax.jit
    @partial(jax.value_and_grad, argnums=(0, 1))
    def loss_and_grads(params, x):
        return (module.apply(params, x, read)[0] ** 2).sum()

    garbage = np.where((np.arange(S) < LENGTHS[:, None])[..., None], x, np.nan)
    one, other = (loss_and_grads(params, inputs) for inputs in (x, garbage))
    jax.tree.map(np.testing.assert_array_equal, one, other)
    assert not np.any(one[1][1][1, 4:])


def test_both_ways_need_the_whole_sequence():
    module, x = Bidirectional(partial(Recurrent, "gru", R)), normal(B, S, D)
    for context_, state in ((Context(np.arange(S), mask=np.ones((S, S), bool)), None), (None, (normal(B, R),))):
        with pytest.raises(ValueError, match="no state, and no mask but lengths"):
            module.init(jax.random.key(0), x, context_, state)


@pytest.mark.parametrize("score", ["additive", "general"])
def test_nan_in_a_sources_padding_changes_nothing(score):
    """Neither what attention gives nor the gradient of any parameter; weights sum to 1 and are 0 at padding."""
    before = score == "additive"
    module = AttentiveRecurrent("gru", score, R, E) if before else StateAttention(score, R, E)
    x, carry = normal(B, L, R), (normal(B, R),)

    def run(module, source):
        memory = module.read(Source(source, np.arange(S), LENGTHS))
        weights = module(x, memory, carry)[1] if before else module(x, memory)
        return weights, context(weights, memory.x_BxSxE)

    source = normal(B, S, E)
    params = {"params": of_module(module, source, method=run)}

    @jax.jit
    def all_of_it(source):
        def loss(params):
            weights, c_BxLxE = module.apply(params, source, method=run)
            return (c_BxLxE**2).sum(), (weights, c_BxLxE)

        return jax.value_and_grad(loss, has_aux=True)(params)

    garbage = np.where((np.arange(S) < LENGTHS[:, None])[..., None], source, np.nan)
    jax.tree.map(np.testing.assert_array_equal, all_of_it(source), all_of_it(garbage))
    weights = np.asarray(all_of_it(garbage)[0][1][0])
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-6)
    assert not (weights * (np.arange(S) >= LENGTHS[:, None, None])).any()
