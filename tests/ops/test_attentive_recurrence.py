"""The recurrence that attends before each step: its own gradient against JAX's of the same formula, unrolled."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from transformer_jax.ops.attentive_recurrence import attend_and_recur
from transformer_jax.ops.recurrence import RECURRENCE
from transformer_jax.ops.scores import SCORES

B, T, S, R = 2, 3, 5, 4
LENGTHS = np.array([5, 2])
SEEN = np.arange(S) < LENGTHS[:, None]


def normal(*shape):
    return np.random.default_rng(shape).normal(size=shape).astype(np.float32)


def arguments(name):
    record = RECURRENCE[name]
    weights = tuple(normal(*shape) for shape in record.weights(R).values())
    score = tuple(normal(*shape) for shape in SCORES["additive"].weights(1, 1, R, R).values())
    carry = tuple(normal(B, R) + n for n in range(record.num_carry))
    gates = record.num_gates * R
    return normal(B, T, gates), weights, carry, score, normal(B, S, 1, R), normal(B, S, gates)


def unrolled(name, x, weights, carry, score, keys, values):
    wq, _, v = score
    hs, alphas = [], []
    for t in range(T):
        energy = (jnp.tanh((carry[0] @ wq[0])[:, None] + keys[:, :, 0]) @ v[0])[..., 0]
        energy = jnp.exp(energy) * SEEN
        alphas.append(energy / energy.sum(-1, keepdims=True))
        context = sum(alphas[-1][:, s, None] * values[:, s] for s in range(S))
        h, carry = RECURRENCE[name].recur(x[:, t : t + 1] + context[:, None], weights, carry)
        hs.append(h[:, 0])
    return jnp.stack(hs, 1), jnp.stack(alphas, 1), carry


@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_the_formula_and_its_gradient(name):
    """Of all outputs, the weights and the last carry included."""
    arrays = arguments(name)
    ours = jax.jit(lambda *arrays: attend_and_recur(name, "additive", *arrays, SEEN))
    theirs = jax.jit(lambda *arrays: unrolled(name, *arrays))
    upstream = jax.tree.map(lambda out: normal(*out.shape), jax.eval_shape(ours, *arrays))
    assert jax.tree.structure(upstream) == jax.tree.structure(jax.eval_shape(theirs, *arrays))

    def both(function):
        outputs, pull = jax.vjp(function, *arrays)
        return outputs, pull(upstream)

    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), both(ours), both(theirs))


def test_what_is_not_seen_has_no_effect():
    x, weights, carry, score, keys, values = arguments("gru")
    run = jax.jit(
        lambda keys, values: attend_and_recur("gru", "additive", x, weights, carry, score, keys, values, SEEN)
    )
    moved = [np.where(SEEN.reshape(B, S, *[1] * (a.ndim - 2)), a, 50) for a in (keys, values)]
    jax.tree.map(np.testing.assert_array_equal, run(keys, values), run(*moved))
