"""Norms of gradients over the lag, against NumPy's product of Jacobians, against differences, and planted curves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from transformer_jax import models
from transformer_jax.config import ModelConfig, Shape
from transformer_jax.measure import gradient_flow, initial
from transformer_jax.measure.gradient_flow import norms, of_tokens, rows, slope, untrained

N, B, T, D = 2, 3, 9, 5
X = np.random.default_rng(0).normal(size=(N, B, T, D))


def directions(outputs, seed):
    key = gradient_flow._key(seed, "directions")
    return np.asarray(jax.random.normal(key, (N, B, outputs)), np.float64)


def test_of_a_tanh_rnn_it_is_the_product_of_its_jacobians():
    """dh_T / dx_t = W_in^T diag(1 - h_t^2) W diag(1 - h_(t+1)^2) ... W diag(1 - h_T^2), from the left."""
    model = ModelConfig(mixer="rnn", d_model=D)
    params = initial.mixers(model, jnp.arange(N), recurrent_scale=2.0)
    found, r = norms(model, "mixer", params, jnp.asarray(X, jnp.float32), seed=4), directions(D, 4)
    w_in, bias, w = (np.asarray(leaf, np.float64) for leaf in
                     (params["input"]["kernel"], params["input"]["bias"], params["kernel"]))  # fmt: skip
    squares = np.zeros((N, B, T))
    for n in range(N):
        for b in range(B):
            h, states = np.zeros(D), []
            for t in range(T):
                h = np.tanh(X[n, b, t] @ w_in[n] + bias[n] + h @ w[n])
                states.append(h)
            g = r[n, b]
            for lag, h in enumerate(reversed(states)):
                g = g * (1 - h**2)
                squares[n, b, lag] = np.sum((w_in[n] @ g) ** 2)
                g = w[n] @ g
    assert np.allclose(found, np.sqrt(squares.mean(1)), rtol=1e-4)


def test_the_spectrum_of_a_tanh_rnn_is_that_of_its_matrix_and_the_slope_of_tanh():
    """dh_T / dh_(T-1) = diag(1 - h_T^2) W^T."""
    model, steps = ModelConfig(mixer="rnn", d_model=D), 6
    found = gradient_flow.spectrum(model, steps, range(3, 3 + N), recurrent_scale=2.0)
    params = initial.mixers(model, jnp.arange(3, 3 + N), recurrent_scale=2.0)
    w_in, bias, w = (np.asarray(leaf, np.float64) for leaf in
                     (params["input"]["kernel"], params["input"]["bias"], params["kernel"]))  # fmt: skip
    shape = N, gradient_flow.SEQUENCES, steps + 1, D
    x = np.asarray(jax.random.normal(gradient_flow._key(3, "inputs"), shape), np.float64)
    for n in range(N):
        each = []
        for b in range(gradient_flow.SEQUENCES):
            h = np.zeros(D)
            for x_D in x[n, b]:
                h = np.tanh(x_D @ w_in[n] + bias[n] + h @ w[n])
            each.append(np.linalg.svd((1 - h**2)[:, None] * w[n].T, compute_uv=False))
        smallest, *_, largest = [row["singular_value"] for row in found if row["lane"] == n]
        assert largest == pytest.approx(np.mean(each, 0)[0], rel=1e-4)
        assert smallest == pytest.approx(np.mean(each, 0)[-1], rel=1e-3)


def test_of_an_lstm_both_arrays_are_the_state_and_an_open_forget_gate_keeps_the_cell():
    model = ModelConfig(mixer="lstm", d_model=D)
    closed, open_ = ([row["singular_value"] for row in gradient_flow.spectrum(model, 4, range(2), bias)
                      if row["place"] == 1] for bias in (-4.0, 8.0))  # fmt: skip
    assert max(closed) < 0.8 < 0.95 < min(open_)


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("mixer", ["attention", "gru"])
def test_of_a_stack_it_is_what_a_small_change_of_an_embedding_does(mixer, norm):
    """Central differences in each of the D directions, of a network whose every step has a token of its own."""
    model = ModelConfig(mixer=mixer, norm=norm, d_model=4, num_heads=2, num_layers=2, max_len=T)
    network = models.build(model, Shape(T, 3, vocab_size=T))
    params = jax.tree.map(lambda leaf: leaf[None], network.init(jax.random.key(1)))
    tokens, r = np.arange(T)[None], np.asarray(jax.random.normal(gradient_flow._key(0, "directions"), (1, 1, 3)))[0, 0]
    table = params["embedding"]["token"]["embedding"]
    apply = jax.jit(network.apply)

    def last(t, d, by):
        moved = {"token": {"embedding": table[0].at[t, d].add(by / 2)}}  # the embedding multiplies by sqrt(4)
        return float(apply(jax.tree.map(lambda leaf: leaf[0], params) | {"embedding": moved}, tokens)[0, -1] @ r)

    by = 0.02
    found = of_tokens(model, params, tokens)[0]
    for lag in (1, 4, T - 1):
        gradient = [(last(T - 1 - lag, d, by) - last(T - 1 - lag, d, -by)) / (2 * by) for d in range(4)]
        assert found[lag] == pytest.approx(np.linalg.norm(gradient), rel=0.02, abs=2e-4)


def test_a_token_of_the_vocabulary_stands_at_several_steps_and_each_has_its_own_gradient():
    model = ModelConfig(mixer="attention", d_model=4, num_heads=2, max_len=T, position="rotary")
    params = jax.vmap(models.build(model, Shape(T, 3, vocab_size=7)).init)(jax.random.split(jax.random.key(0), N))
    tokens_BxT = np.random.default_rng(0).integers(0, 7, (B, T))
    found = of_tokens(model, params, tokens_BxT)
    assert found.shape == (N, T) and (found > 0).all()
    head = of_tokens(model, params, np.concatenate([tokens_BxT] * 4)[: gradient_flow.SEQUENCES])
    assert head.shape == (N, T)  # no more sequences than that are read


def test_norms_are_read_where_float32_has_no_square():
    """A matrix of a thousandth: every step back costs three orders of magnitude; squares end at lag 6, norms at 12."""
    found = untrained(ModelConfig(mixer="rnn", d_model=8), "mixer", 16, range(5, 7), recurrent_scale=1e-3)
    assert found.shape == (2, 16) and found[0, 9] > 0
    assert slope(found[0], first=2) == pytest.approx(-3.1, abs=0.3)


def test_the_slope_is_that_of_a_planted_curve():
    lags = np.arange(60)
    assert slope(10 ** (2 - 0.07 * lags)) == pytest.approx(-0.07)
    falling = 10 ** (-0.9 * lags)
    assert slope(np.where(falling > 1e-40, falling, 0)) == pytest.approx(-0.9)
    kink = np.where(lags < 8, 1.0, 10 ** (0.02 * (lags - 8)))
    assert slope(kink) == pytest.approx(0.02)
    assert np.isnan(slope(np.zeros(60))) and np.isnan(slope(np.where(lags < 10, 1.0, np.inf)))


def test_rows_give_the_curve_of_each_lane_and_say_where_it_is_lost():
    lags = np.arange(41)
    found = rows(np.stack([5 * 10 ** (-0.2 * lags), 10 ** (0.2 * lags), np.full(41, 3.0), 10 ** (-0.9 * lags)]))
    of_lane = {lane: [row for row in found if row["lane"] == lane] for lane in range(4)}
    assert [row["lag"] for row in of_lane[0]] == [1, 4, 8, 16, 32, 40]
    assert [row["relative_norm"] for row in of_lane[0]] == pytest.approx([10 ** (-0.2 * (lag - 1)) for lag in
                                                                 (1, 4, 8, 16, 32, 40)])  # fmt: skip
    last = [of_lane[lane][-1] for lane in range(4)]
    assert [row["lost"] for row in last] == [1.0, 1.0, 0.0, 1.0]
    assert [row["slope"] for row in last] == pytest.approx([-0.2, 0.2, 0, -0.9], abs=1e-9)
    kink = np.where(lags < 30, 10 ** (-0.1 * lags), 1.0)[None]
    assert rows(kink, alike=30)[-1]["slope"] == pytest.approx(-0.1) != rows(kink)[-1]["slope"]
    assert last[3]["relative_norm"] is None and all("slope" not in row for row in of_lane[0][:-1])


def test_lanes_are_seeds_and_do_not_depend_on_each_other():
    model = ModelConfig(mixer="min_gru", d_model=D)
    both = untrained(model, "mixer", T, range(3, 5))
    assert not np.allclose(both[0], both[1]) and np.array_equal(both, untrained(model, "mixer", T, range(3, 5)))
    alike = initial.mixers(model, jnp.asarray([4, 4]))
    same = norms(model, "mixer", alike, jnp.asarray(np.stack([X[0], X[0]]), jnp.float32))
    assert same.shape == (2, T)


def test_attention_keeps_and_an_rnn_loses_it():
    slopes = {mixer: slope(untrained(ModelConfig(mixer=mixer, d_model=16, num_heads=2, attention="reference"), "mixer",
                                     48, range(2))[0]) for mixer in ("attention", "rnn")}  # fmt: skip
    assert abs(slopes["attention"]) < 0.03 and slopes["rnn"] < -0.05
