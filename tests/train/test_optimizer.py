"""The learning rate: the 2017 paper's schedule against its formula, whatever the length of the run."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer_jax.config import ConfigError, TrainConfig
from transformer_jax.train.optimizer import extension, learning_rate, make_optimizer


def inverse_sqrt(warmup, num_steps, peak_lr=3e-4):
    return TrainConfig(schedule="inverse_sqrt", warmup_steps=warmup, num_steps=num_steps, peak_lr=peak_lr)


@given(st.integers(1, 500), st.integers(0, 5000), st.integers(1, 700))
def test_inverse_sqrt_is_the_papers_formula(warmup, step, d_model):
    """Equation 3: d_model ** -0.5 * min(n ** -0.5, n * warmup ** -1.5) at the n-th step; its peak is at n = warmup."""
    n, peak = step + 1, (d_model * warmup) ** -0.5
    expected = d_model**-0.5 * min(n**-0.5, n * warmup**-1.5)
    for num_steps in (warmup + 1, 9000):
        found = float(learning_rate(inverse_sqrt(warmup, num_steps, peak))(step))
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_inverse_sqrt_has_no_step_at_its_peak():
    rates = np.array([float(learning_rate(inverse_sqrt(100, 1000, 0.5))(step)) for step in range(98, 104)])
    assert rates.argmax() == 1 and rates[1] == np.float32(0.5)
    assert (np.abs(np.diff(rates)) < 0.0051).all() and (np.diff(rates)[1:] < 0).all()


def test_inverse_sqrt_needs_a_warm_up():
    with pytest.raises(ConfigError, match="inverse_sqrt needs train.warmup_steps of at least 1"):
        inverse_sqrt(0, 10)


def test_what_an_extension_says():
    text = extension(inverse_sqrt(3, 12), 4, 4)
    assert text == (
        "extended from 4 to 12 steps: the learning rate does not depend on their number, so that these are the steps"
        " of an unbroken run"
    )


@settings(max_examples=20)
@given(st.integers(0, 100), st.floats(0.5, 0.99), st.sampled_from([0.0, 0.1]))
def test_rmsprop_is_its_formula(seed, beta2, weight_decay):
    """v = b v + (1 - b) g²; p -= rate (g / sqrt(v + eps) + decay p), where only a kernel decays; without clipping."""
    random = np.random.default_rng(seed)
    config = TrainConfig(optimizer="rmsprop", beta2=beta2, weight_decay=weight_decay, peak_lr=0.01, clip_norm=1e6)
    params = {"kernel": random.normal(size=(3, 2)), "bias": random.normal(size=2)}
    tx, expected = make_optimizer(config), {name: value.copy() for name, value in params.items()}
    params = {name: value.astype(np.float32) for name, value in params.items()}
    state, mean_square = tx.init(params), {name: 0.0 for name in params}
    for _ in range(4):
        grads = {name: random.normal(size=value.shape) for name, value in params.items()}
        updates, state = tx.update({k: g.astype(np.float32) for k, g in grads.items()}, state, params)
        params = {name: params[name] + np.asarray(updates[name]) for name in params}
        for name, g in grads.items():
            mean_square[name] = beta2 * mean_square[name] + (1 - beta2) * g**2
            decay = weight_decay * expected[name] if name == "kernel" else 0
            expected[name] = expected[name] - 0.01 * (g / np.sqrt(mean_square[name] + 1e-7) + decay)
    for name, value in expected.items():
        np.testing.assert_allclose(params[name], value, rtol=1e-4, atol=1e-5)


def test_rmsprop_forgets_fast_as_its_first_steps_are_not_corrected():
    with pytest.raises(ConfigError, match="train.beta2=0.999: .* 32 times as long"):
        TrainConfig(optimizer="rmsprop")


def test_rmsprop_is_behind_the_clipping():
    tx = make_optimizer(TrainConfig(optimizer="rmsprop", beta2=0.9, weight_decay=0.0, clip_norm=1e-9, peak_lr=1.0))
    grads = {"kernel": np.ones((2, 2), np.float32)}
    update = np.asarray(tx.update(grads, tx.init(grads), grads)[0]["kernel"])
    clipped = 1e-9 / 2  # the norm of four ones is 2
    np.testing.assert_allclose(update, -clipped / np.sqrt(0.1 * clipped**2 + 1e-7), rtol=1e-3)
