"""Learning without forgetting: the divergence from old answers against its formula, and among which answers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from transformer_jax import models
from transformer_jax.continual import distillation

F, V, B, ORDER = 3, 6, 5, (2, 0, 1)


def apply(params, inputs, *, lengths=None, train=False, key=None):
    return inputs @ params


MODEL = models.Model(None, apply, None, None)
DRAW = np.random.default_rng(0)
CENTRE, PARAMS = (DRAW.normal(size=(F, V)).astype(np.float32) for _ in range(2))
BATCH = {"inputs": DRAW.normal(size=(B, F)).astype(np.float32), "weights": np.array([1, 1, 0, 1, 1], np.float32)}
GROUPS = {
    ("task", 0): [], ("task", 1): [[4, 5]], ("task", 2): [[4, 5], [0, 1]],
    ("class", 0): [], ("class", 1): [[4, 5]], ("class", 2): [[0, 1, 4, 5]],
    ("domain", 0): [], ("domain", 2): [[*range(V)]],
}  # fmt: skip
"""By scenario and number of tasks learned, the answers among which one chooses."""


def anchor(learned, strength=3.0):
    return {"strength": jnp.float32(strength), "task": jnp.int32(learned), "centre": CENTRE}


def formula(learned, groups):
    x, T = BATCH["inputs"][BATCH["weights"] > 0].astype(np.float64), 2.0
    found = []
    for group in groups:
        p, q = (np.exp(x @ w[:, group] / T) for w in (CENTRE, PARAMS))
        p, q = p / p.sum(1, keepdims=True), q / q.sum(1, keepdims=True)
        found.append(np.mean(np.sum(p * np.log(p / q), 1)))
    return 3.0 * T**2 * np.mean(found) if found else 0.0


@pytest.mark.parametrize(("scenario", "learned"), GROUPS)
def test_it_is_the_divergence_from_the_old_answers(scenario, learned):
    penalty = distillation.penalty(MODEL, ORDER, V, scenario)
    value, pull = jax.jit(jax.value_and_grad(penalty))(PARAMS, anchor(learned), BATCH)
    np.testing.assert_allclose(value, formula(learned, GROUPS[scenario, learned]), rtol=1e-4)
    among = sorted({v for group in GROUPS[scenario, learned] for v in group})
    assert set(np.flatnonzero(np.abs(pull).max(0))) == set(among) and np.isfinite(pull).all()
    assert penalty is distillation.penalty(MODEL, ORDER, V, scenario)  # compiled once


def test_nothing_is_drawn_where_answers_are_what_they_were_or_at_strength_0():
    penalty = jax.jit(jax.value_and_grad(distillation.penalty(MODEL, ORDER, V, "class")))
    value, pull = penalty(CENTRE, anchor(2), BATCH)
    np.testing.assert_allclose(value, 0, atol=1e-6)
    np.testing.assert_allclose(pull, 0, atol=1e-6)
    value, pull = penalty(PARAMS, anchor(2, strength=0.0), BATCH)
    assert value == 0 and not np.any(pull)
