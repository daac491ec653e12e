"""Blocks of one layer's Jacobian, whole and past what lies in between, against NumPy's formulas of the layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from transformer_jax.config import MIXERS, ModelConfig
from transformer_jax.measure import initial
from transformer_jax.measure.interaction import influence, rows
from transformer_jax.models.mixer import build_mixer

N, B, T, D = 2, 3, 6, 4
X = np.random.default_rng(2).normal(size=(N, B, T, D))


def of(mixer, **more):
    model = ModelConfig(mixer=mixer, d_model=D, num_heads=1, **more)
    params = initial.mixers(model, jnp.arange(N))
    found = influence(model, params, jnp.asarray(X, jnp.float32))
    return model, params, np.asarray(found.whole), np.asarray(found.direct)


@pytest.mark.parametrize("mixer", MIXERS)
def test_the_whole_influence_is_the_jacobian_of_the_layer_over_the_whole_sequence(mixer):
    model, params, whole, _ = of(mixer)
    apply = build_mixer(model).apply
    for n in range(N):
        own = jax.tree.map(lambda leaf, n=n: leaf[n], params)
        jacobian = np.asarray(jax.vmap(jax.jacrev(lambda x, own=own: apply(own, x[None])[0, -1]))(jnp.float32(X[n])))
        norms = np.sqrt(np.square(jacobian).sum((1, 3)).mean(0))  # of B, D, T, D
        assert np.allclose(whole[n], norms[-2::-1], rtol=1e-4, atol=1e-7)


def test_of_a_tanh_rnn_the_whole_is_the_product_of_jacobians_and_the_direct_one_is_zero_past_a_step():
    _, params, whole, direct = of("rnn")
    w_in, w = (np.asarray(params[name]["kernel"] if name == "input" else params[name], np.float64)
               for name in ("input", "kernel"))  # fmt: skip
    squares = np.zeros((N, B, T - 1))
    for n in range(N):
        for b in range(B):
            h, states = np.zeros(D), []
            for t in range(T):
                h = np.tanh(X[n, b, t] @ w_in[n] + h @ w[n])
                states.append(h)
            back = np.diag(1 - states[-1] ** 2)  # dh_T / d(its sum)
            for lag in range(1, T):
                back = (1 - states[T - 1 - lag] ** 2)[:, None] * (w[n] @ back)
                squares[n, b, lag - 1] = np.square(w_in[n] @ back).sum()
    assert np.allclose(whole, np.sqrt(squares.mean(1)), rtol=1e-4)
    assert np.allclose(direct[:, 0], whole[:, 0], rtol=1e-6) and not direct[:, 1:].any()


def test_of_attention_all_is_direct_and_it_is_the_formula():
    """y = sum_s w_s v_s: dy / dx_s = w_s W_v + (v_s - y) w_s dscore_s / dx_s, with nothing of the other keys in it."""
    _, params, whole, direct = of("attention", attention="reference")
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    squares = np.zeros((N, B, T - 1))
    for n in range(N):
        w_q, w_k, w_v, w_o = (p[name]["kernel"][n].reshape(D, D) for name in ("query", "key", "value", "out"))
        for b in range(B):
            q, k, v = X[n, b, -1] @ w_q, X[n, b] @ w_k, X[n, b] @ w_v
            weights = np.exp(k @ q / np.sqrt(D))
            weights /= weights.sum()
            y = weights @ v
            for lag in range(1, T):
                s = T - 1 - lag
                block = weights[s] * (w_v + np.outer(w_k @ q / np.sqrt(D), v[s] - y)) @ w_o
                squares[n, b, lag - 1] = np.square(block).sum()
    assert np.allclose(whole, np.sqrt(squares.mean(1)), rtol=1e-4)
    assert np.allclose(direct, whole, rtol=1e-5)


@pytest.mark.parametrize("mixer", [mixer for mixer in MIXERS if mixer != "attention"])
def test_a_recurrence_acts_directly_on_its_neighbour_alone(mixer):
    _, _, whole, direct = of(mixer)
    assert (whole > 0).all() and np.allclose(direct[:, 0], whole[:, 0], rtol=1e-6) and not direct[:, 1:].any()


def test_rows_sum_a_lane_up_in_its_last_lag():
    found = rows(ModelConfig(mixer="lstm", d_model=D), T, range(7, 9), forget_bias=3.0)
    assert [(row["lane"], row["lag"]) for row in found] == [(lane, lag) for lane in (0, 1) for lag in range(1, T)]
    last = [row for row in found if row["lag"] == T - 1]
    assert [(row["nonzero"], row["past"]) for row in last] == [(1.0, 0.0)] * 2
    assert last[0]["left"] == pytest.approx(last[0]["whole"] / found[0]["whole"]) != last[1]["left"]
    usual = rows(ModelConfig(mixer="lstm", d_model=D), T, range(7, 9))
    assert last[0]["left"] > usual[T - 2]["left"]  # a gate that is more open keeps more
    attention = rows(ModelConfig(mixer="attention", d_model=D, num_heads=2), T, range(2))
    assert {row["past"] for row in attention if "past" in row} == {1.0}
