"""The penalty and what it holds: its gradient, how tasks join, SI's path integral, and training at strength 0."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer_jax.config import ConfigError, ModelConfig, Shape, TrainConfig
from transformer_jax.continual import anchor
from transformer_jax.models import build
from transformer_jax.tasks.objectives import cross_entropy
from transformer_jax.train import programs
from transformer_jax.train.anchored import Anchored
from transformer_jax.train.state import create
from transformer_jax.train.step import train_step

NUMBERS = st.lists(st.floats(-3, 3, width=32), min_size=3, max_size=3).map(lambda x: np.array(x, np.float32))
GRADIENT, JOINED = jax.jit(jax.grad(anchor.penalty)), jax.jit(anchor.consolidated)
POSITIVE = st.lists(st.floats(0, 5, width=32), min_size=3, max_size=3).map(lambda x: np.array(x, np.float32))


def tree(x):
    return {"a": jnp.asarray(x[:2]), "b": {"c": jnp.asarray(x[2:])}}


def held(centre, importance, strength=1.0):
    return anchor.begin(tree(centre)) | {"importance": tree(importance), "strength": jnp.asarray(strength)}


@settings(max_examples=30, deadline=None)
@given(NUMBERS, NUMBERS, POSITIVE, st.floats(0, 100, width=32))
def test_the_penaltys_gradient_is_that_of_finite_differences(params, centre, importance, strength):
    one = held(centre, importance, strength)
    grads = GRADIENT(tree(params), one)
    found = np.concatenate([grads["a"], grads["b"]["c"]])

    def value(x):
        return strength / 2 * float(np.sum(importance.astype(float) * (x - centre) ** 2))

    for i in range(3):
        step = np.eye(3)[i] * 1e-3
        difference = (value(params + step) - value(params - step)) / 2e-3
        np.testing.assert_allclose(found[i], difference, rtol=1e-3, atol=1e-3)


@settings(max_examples=30, deadline=None)
@given(NUMBERS, NUMBERS, NUMBERS, POSITIVE, POSITIVE)
def test_separate_penalties_are_one_but_for_a_constant(params, first, second, one, two):
    """The gradient of the anchor is the sum of the gradients of a penalty for each task."""
    begun = anchor.begin(tree(first))
    after_one = JOINED(begun, tree(first), tree(one))
    after_two = JOINED(after_one, tree(second), tree(two)) | {"strength": jnp.ones(())}
    grads = GRADIENT(tree(params), after_two)
    wanted = one * (params - first) + two * (params - second)
    np.testing.assert_allclose(np.concatenate([grads["a"], grads["b"]["c"]]), wanted, rtol=1e-3, atol=1e-4)
    assert int(after_two["task"]) == 2


@pytest.mark.parametrize(("variant", "decay", "importance"), [("online", 0.5, 0.5 * 2 + 3), ("corrected", 0.5, 5.0)])
def test_online_and_corrected_are_about_the_last_end(variant, decay, importance):
    ones = np.ones(3, np.float32)
    first = anchor.consolidated(anchor.begin(tree(ones)), tree(ones), tree(2 * ones), variant, decay)
    second = anchor.consolidated(first, tree(7 * ones), tree(3 * ones), variant, decay)
    np.testing.assert_allclose(second["importance"]["a"], importance)
    np.testing.assert_allclose(second["centre"]["b"]["c"], 7)


def test_what_is_not_protected_is_not_drawn():
    ones = np.ones(3, np.float32)
    begun = anchor.begin(tree(ones)) | {"mask": tree(np.array([1, 0, 1], np.float32))}
    after = anchor.consolidated(begun, tree(ones), tree(4 * ones))
    np.testing.assert_array_equal(after["importance"]["a"], [4, 0])
    assert float(anchor.size(after)) == 4  # of the two that are protected


def test_a_fisher_of_another_model_is_refused():
    ones = tree(np.ones(3, np.float32))
    with pytest.raises(ConfigError, match=r"Fisher is of another model: of another shape: a float32\[3\]"):
        anchor.consolidated(anchor.begin(ones), ones, {"a": jnp.ones(3), "b": {"c": jnp.ones(1)}})
    with pytest.raises(ConfigError, match="missing: b/c"):
        anchor.check(ones, {"a": jnp.ones(2)})


def test_sis_path_integral_of_a_quadratic():
    """Gradient descent in small steps from w to 0 on c w² / 2 takes that much from the loss, by coordinate."""
    c, start = jnp.array([1.0, 4.0]), {"w": jnp.array([2.0, -1.0])}

    def loss_fn(params, batch, key):
        loss = jnp.sum(c * params["w"] ** 2) / 2
        return loss, {"loss": (loss, jnp.ones(()))}

    tx = optax.sgd(1e-3)
    state = create(start, tx, jax.random.key(0), anchor.begin(start))
    step = partial(train_step, loss_fn=loss_fn, tx=tx, observe=anchor.follow)
    state = jax.jit(lambda state: jax.lax.fori_loop(0, 8000, lambda _, s: step(s, {})[0], state))(state)
    np.testing.assert_allclose(state.anchor["path"]["w"], c * start["w"] ** 2 / 2, rtol=3e-3)
    found = anchor.path_importance(state.anchor, state.params, start)["w"]
    np.testing.assert_allclose(found, c / 2, rtol=5e-3)  # over the squared way; damping takes a little
    nothing = anchor.path_importance({"path": {"w": jnp.array([-1.0, 0.0])}}, state.params, start)["w"]
    np.testing.assert_array_equal(nothing, 0)


SHAPE = Shape(5, 7, vocab_size=7)
SMALL = ModelConfig(d_model=8, num_heads=2, num_layers=1, mlp_dim=12, max_len=8, scan_layers=False)
TRAIN = TrainConfig(num_steps=6, peak_lr=1e-2, chunk_steps=3, lanes=2, weight_decay=0.0)


def chunk():
    tokens = np.random.default_rng(3).integers(0, 7, (3, 2, 4, 6)).astype(np.int32)
    return {"inputs": tokens[..., :-1], "targets": tokens[..., 1:], "weights": np.ones((3, 2, 4, 5), np.float32)}


def test_strength_0_is_plain_training_bit_for_bit_and_lanes_carry_their_own():
    """And the next task compiles nothing anew: strength, Fisher and what moves are no part of the program."""
    model, objective = build(SMALL, SHAPE), cross_entropy()
    plain = programs.build(model, objective, TRAIN)
    run = programs.build(model, objective, TRAIN, Anchored(anchor.begin, anchor.penalty, seeds=(0, 0)))
    alone, _ = plain.run_chunk(plain.init(), chunk())

    def trained(strengths, frozen=0.0):
        state = run.init()
        ones = jax.tree.map(jnp.ones_like, state.params)
        moves = jax.tree.map(lambda leaf: leaf.at[1].set(1 - frozen), ones)
        held = state.anchor | {"strength": jnp.asarray(strengths), "importance": ones}
        begun = state.replace(anchor=held, opt_state=(moves, *state.opt_state[1:]))
        return run.run_chunk(jax.tree.map(jnp.copy, begun), chunk())

    after, metrics = trained([0.0, 10.0])
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[0], b[0]), after.params, alone.params)
    assert (np.asarray(metrics["penalty"][0])[:, 0] == 0).all() and np.asarray(metrics["penalty"][0])[-1, 1] > 0
    begun = run.init().params
    same, _ = trained([0.0, 0.0], frozen=1.0)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[1], b[1]), same.params, begun)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[0], b[0]), same.params, alone.params)
    assert run.run_chunk.program._cache_size() == 1
