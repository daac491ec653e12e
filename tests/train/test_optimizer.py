"""The learning rate: the 2017 paper's schedule against its formula, whatever the length of the run."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer_jax.config import ConfigError, TrainConfig
from transformer_jax.train.optimizer import extension, learning_rate


def inverse_sqrt(warmup, num_steps, peak_lr=3e-4):
    return TrainConfig(schedule="inverse_sqrt", warmup_steps=warmup, num_steps=num_steps, peak_lr=peak_lr)


@settings(deadline=None)
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
