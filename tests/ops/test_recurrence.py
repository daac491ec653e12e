"""Recurrences against formulas in NumPy float64, their gradients against autodiff and finite differences."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer_jax.ops import linear_recurrence as linear
from transformer_jax.ops.recurrence import (
    RECURRENCE,
    initial_carry,
    min_gru,
    project_and_recur,
)

B, T, R, D = 2, 7, 5, 3  # batch, time, width, raw inputs
NAMES = list(RECURRENCE)


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


def oracle_step(name, x, weights, h, c):
    """One example, one step, one formula after another: x (G,), h (R,), c (R,) -> h, c."""
    gates = np.split(x, RECURRENCE[name].num_gates)
    if name == "rnn":
        return np.tanh(gates[0] + h @ weights[0]), c
    if name == "gru":
        w_r, w_z, w_n = np.split(weights[0], 3, axis=1)
        r, z = sigmoid(gates[0] + h @ w_r), sigmoid(gates[1] + h @ w_z)
        n = np.tanh(gates[2] + r * (h @ w_n + weights[1]))
        return (1 - z) * n + z * h, c
    if name == "lstm":
        w_i, w_f, w_g, w_o = np.split(weights[0], 4, axis=1)
        i, f, o = sigmoid(gates[0] + h @ w_i), sigmoid(gates[1] + h @ w_f), sigmoid(gates[3] + h @ w_o)
        c = f * c + i * np.tanh(gates[2] + h @ w_g)
        return o * np.tanh(c), c
    z, candidate = sigmoid(gates[0]), np.where(gates[1] >= 0, gates[1] + 0.5, sigmoid(gates[1]))
    return (1 - z) * h + z * candidate, c


def oracle(name, x, weights, carry):
    """The whole recurrence in float64, example by example and step by step."""
    x, weights, carry = jax.tree.map(lambda a: np.asarray(a, np.float64), (x, weights, carry))
    out, last = [], []
    for b in range(x.shape[0]):
        h, c, hs = carry[0][b], carry[-1][b], []
        for x_G in x[b]:
            h, c = oracle_step(name, x_G, weights, h, c)
            hs.append(h)
        out.append(hs)
        last.append((h, c)[: len(carry)])
    return np.array(out), tuple(np.array(part) for part in zip(*last, strict=True))


def arguments(name, *, batch=B, steps=T, width=R, dtype=np.float32, seed=0):
    """x, weights and a carry that is not zero; large enough for saturated gates to occur."""
    random = np.random.default_rng(seed)
    G = RECURRENCE[name].num_gates * width
    shapes = {"gru": ((width, G), (width,)), "min_gru": ()}.get(name, ((width, G),))
    weights = tuple(random.normal(size=shape) * 0.7 for shape in shapes)
    carry = tuple(random.normal(size=c.shape) for c in initial_carry(name, batch, width))
    x = random.normal(size=(batch, steps, G)) * 1.5
    return jax.tree.map(lambda a: a.astype(dtype), (x, weights, carry))


def plain(name, x, weights, carry):
    """The formulas in jax.numpy under a plain scan, differentiated by JAX itself."""

    def step(carry, x_BxG):
        (h, *rest), gates = carry, jnp.split(x_BxG, RECURRENCE[name].num_gates, axis=-1)
        if name == "min_gru":
            z = jax.nn.sigmoid(gates[0])
            h = (1 - z) * h + z * jnp.where(gates[1] >= 0, gates[1] + 0.5, jax.nn.sigmoid(gates[1]))
            return (h,), h
        a = jnp.split(h @ weights[0], RECURRENCE[name].num_gates, axis=-1)
        if name == "rnn":
            h = jnp.tanh(gates[0] + a[0])
        elif name == "gru":
            r, z = jax.nn.sigmoid(gates[0] + a[0]), jax.nn.sigmoid(gates[1] + a[1])
            h = (1 - z) * jnp.tanh(gates[2] + r * (a[2] + weights[1])) + z * h
        else:
            i, f, g, o = (x + y for x, y in zip(gates, a, strict=True))
            c = jax.nn.sigmoid(f) * rest[0] + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h
        return (h,), h

    carry, h = jax.lax.scan(step, carry, jnp.swapaxes(x, 0, 1))
    return jnp.swapaxes(h, 0, 1), carry


@cache
def jitted(name):
    return jax.jit(RECURRENCE[name].recur)


def scalar(outputs):
    """A loss that gives every output, the last carry included, a weight of its own."""
    return sum(
        jnp.sum(a * jnp.cos(jnp.arange(a.size, dtype=a.dtype).reshape(a.shape) + k))
        for k, a in enumerate(jax.tree.leaves(outputs))
    )


def close(actual, expected, tolerance=1e-5):
    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=tolerance, atol=tolerance),
        jax.tree.map(lambda a: np.asarray(a, np.float64), actual),
        jax.tree.map(lambda a: np.asarray(a, np.float64), expected),
    )


def test_initial_carry_is_zeros_and_unknown_names_are_errors():
    carry = initial_carry("lstm", B, R, jnp.bfloat16)
    assert [c.shape for c in carry] == [(B, R)] * 2 and all(c.dtype == jnp.bfloat16 for c in carry)
    assert all(not np.any(c) for c in carry) and len(initial_carry("gru", B, R)) == 1
    with pytest.raises(KeyError):
        initial_carry("elman", B, R)


@pytest.mark.parametrize("name", NAMES)
def test_equals_the_formula(name):
    args = arguments(name)
    close(jitted(name)(*args), oracle(name, *args))


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_is_float32_inside(name):
    args = arguments(name, dtype=jnp.bfloat16)
    h, carry = jitted(name)(*args)
    assert h.dtype == jnp.bfloat16 and all(c.dtype == jnp.bfloat16 for c in carry)
    close((h, carry), oracle(name, *args), 0.03)  # bfloat16 keeps 8 bits; T roundings of the carry
    x, weights, _ = args
    h, carry = jitted(name)(x, weights, initial_carry(name, B, R, jnp.float32))
    assert h.dtype == jnp.bfloat16 and all(c.dtype == jnp.float32 for c in carry)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_equal_autodiff_and_finite_differences(name):
    with jax.enable_x64(True):
        args = arguments(name, dtype=np.float64)
        loss = jax.jit(lambda *args: scalar(RECURRENCE[name].recur(*args)))
        gradients = jax.jit(jax.grad(lambda *args: scalar(RECURRENCE[name].recur(*args)), argnums=(0, 1, 2)))(*args)
        expected = jax.jit(jax.grad(lambda *args: scalar(plain(name, *args)), argnums=(0, 1, 2)))(*args)
        close(gradients, expected, 1e-12)
        random = np.random.default_rng(1)
        direction = jax.tree.map(lambda a: random.normal(size=a.shape), args)
        ahead, behind = (loss(*jax.tree.map(lambda a, d, s=step: a + s * d, args, direction)) for step in (1e-6, -1e-6))
        slope = sum(np.sum(g * d) for g, d in zip(*map(jax.tree.leaves, (gradients, direction)), strict=True))
        np.testing.assert_allclose((ahead - behind) / 2e-6, slope, rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_float32_gradients_keep_dtypes(name):
    x, weights, carry = arguments(name, dtype=jnp.bfloat16)
    carry = jax.tree.map(lambda c: c.astype(np.float32), carry)
    loss = lambda *args: scalar(RECURRENCE[name].recur(*args))  # noqa: E731
    gradients = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(x, weights, carry)
    assert jax.tree.map(lambda g: g.dtype, gradients) == jax.tree.map(lambda a: a.dtype, (x, weights, carry))
    exact = jax.tree.map(lambda a: a.astype(np.float32), (x, weights, carry))
    expected = jax.jit(jax.grad(lambda *args: scalar(plain(name, *args)), argnums=(0, 1, 2)))(*exact)
    close(gradients, expected, 0.25)


@pytest.mark.parametrize("name", NAMES)
def test_stepping_equals_the_whole_pass_and_a_carry_continues_it(name):
    x, weights, carry = arguments(name)
    whole, last = jitted(name)(x, weights, carry)
    h, state = [], carry
    for t in range(T):
        h_Bx1xR, state = jitted(name)(x[:, t : t + 1], weights, state)
        h.append(h_Bx1xR)
    close((np.concatenate(h, axis=1), state), (whole, last), 1e-6)
    head, state = jitted(name)(x[:, :3], weights, carry)
    tail, state = jitted(name)(x[:, 3:], weights, state)
    close((np.concatenate([head, tail], axis=1), state), (whole, last), 1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_vmap_jit_checkpoint_and_repeats(name):
    args = arguments(name)
    loss = lambda *args: scalar(RECURRENCE[name].recur(*args))  # noqa: E731
    gradient = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))
    first = gradient(*args)
    jax.tree.map(np.testing.assert_array_equal, first, gradient(*args))
    close(jax.jit(jax.grad(jax.checkpoint(loss), argnums=(0, 1, 2)))(*args), first, 1e-6)
    lanes = [arguments(name, seed=seed) for seed in (0, 5)]
    stacked = jax.tree.map(lambda *a: np.stack(a), *lanes)
    out = jax.jit(jax.vmap(jax.grad(loss, argnums=(0, 1, 2))))(*stacked)
    close(jax.tree.map(lambda a: a[1], out), gradient(*lanes[1]))
    per_example = jax.jit(jax.vmap(jax.grad(loss, argnums=1), in_axes=(0, None, 0)))  # as the Fisher needs it
    x, weights, carry = args
    each = per_example(x[:, None], weights, jax.tree.map(lambda c: c[:, None], carry))
    assert all(g.shape == (B, *w.shape) for g, w in zip(each, weights, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_causal_by_its_jacobian(name):
    x, weights, carry = arguments(name, batch=1)
    jacobian = jax.jit(jax.jacrev(lambda x: RECURRENCE[name].recur(x, weights, carry)[0][0]))(x)
    jacobian = np.asarray(jacobian)[:, :, 0]  # T, R, T, G
    depends = np.abs(jacobian).max((1, 3)) > 0
    np.testing.assert_array_equal(depends, np.tri(T, dtype=bool))


@pytest.mark.parametrize("name", NAMES)
def test_shapes_that_do_not_fit_are_errors(name):
    x, weights, carry = arguments(name)
    for wrong in (x[..., :-1], x[0], x[:1], x[:, :0]):
        with pytest.raises(ValueError, match=f"{name} with a carry of"):
            RECURRENCE[name].recur(wrong, weights, carry)
    with pytest.raises(ValueError, match="has weights"):
        RECURRENCE[name].recur(x, (*weights, weights[0].T if weights else x), carry)


@pytest.mark.parametrize("name", ["rnn", "gru", "lstm"])
def test_gradients_cost_no_second_array_of_gates(name):
    """Forward and backward pass over one array of x's size; a naive scan holds at least three."""
    batch, steps, width = 4, 64, 32
    x, weights, carry = arguments(name, batch=batch, steps=steps, width=width)
    inputs, kernel = np.ones((batch, steps, width), np.float32), np.ones((width, x.shape[-1]), np.float32)

    def loss(inputs, kernel, weights, carry):
        return scalar(RECURRENCE[name].recur(inputs @ kernel, weights, carry))

    compiled = jax.jit(jax.grad(loss, argnums=(0, 1, 2))).lower(inputs, kernel, weights, carry).compile()
    state = batch * steps * width * 4
    # x, then (h, h before, d_h and what the cell keeps beside its gates)
    assert compiled.memory_analysis().temp_size_in_bytes < x.nbytes + 6 * state


@pytest.mark.parametrize("steps", [1, 65, 77])
@pytest.mark.parametrize("name", ["lstm", "min_gru"])
def test_projecting_block_by_block_changes_nothing(name, steps):
    x, weights, carry = arguments(name, steps=steps)
    random = np.random.default_rng(2)
    inputs = random.normal(size=(B, steps, D)).astype(np.float32)
    projection = random.normal(size=(D, x.shape[-1])), random.normal(size=x.shape[-1])
    projection = tuple(p.astype(np.float32) for p in projection)
    expected = oracle(name, inputs.astype(np.float64) @ projection[0] + projection[1], weights, carry)
    close(jax.jit(partial(project_and_recur, name))(inputs, projection, weights, carry), expected)

    def blockwise(*args):
        return scalar(project_and_recur(name, *args))

    def direct(inputs, projection, weights, carry):
        return scalar(plain(name, inputs @ projection[0] + projection[1], weights, carry))

    args = (inputs, projection, weights, carry)
    gradients, expected = (jax.jit(jax.grad(f, argnums=(0, 1, 2, 3)))(*args) for f in (blockwise, direct))
    close(gradients, expected, 1e-4)


@pytest.mark.parametrize("form", linear.FORMS)
def test_forms_of_the_linear_recurrence_agree_with_the_loop(form):
    with jax.enable_x64(True):
        args = arguments("min_gru", steps=11, dtype=np.float64)  # 11 is no multiple of a chunk
        close(jax.jit(partial(min_gru, form=form))(*args), oracle("min_gru", *args), 1e-12)
        gradients = jax.jit(jax.grad(lambda *a: scalar(min_gru(*a, form=form)), argnums=(0, 2)))(*args)
        expected = jax.jit(jax.grad(lambda *a: scalar(plain("min_gru", *a)), argnums=(0, 2)))(*args)
        close(gradients, expected, 1e-12)


def test_the_choice_of_form_is_visible():
    assert linear.picked("cpu") == "sequential"
    assert linear.picked("gpu") == linear.picked("tpu") == "associative"
    assert linear.picked() in linear.FORMS
    with pytest.raises(ValueError, match="no form 'parallel'"):
        min_gru(*arguments("min_gru"), form="parallel")


@cache
def jitted_linear(form):
    return jax.jit(partial(linear.linear_recurrence, form=form))


@settings(max_examples=20)
@given(form=st.sampled_from(list(linear.FORMS)), steps=st.sampled_from([1, 4, 11]), seed=st.integers(0, 99))
def test_linear_recurrence_forgets_where_a_is_zero_and_sums_where_it_is_one(form, steps, seed):
    b = np.random.default_rng(seed).normal(size=(B, steps, R)).astype(np.float32)
    start = b[:, -1]
    run = jitted_linear(form)
    close(run(np.zeros_like(b), b, start), b)
    close(run(np.ones_like(b), b, start), start[:, None] + b.cumsum(1))


@settings(max_examples=20)
@given(name=st.sampled_from(NAMES), seed=st.integers(0, 999), size=st.floats(0, 1e4))
def test_states_stay_within_their_bounds(name, seed, size):
    """However large the input: h of rnn, gru, lstm lies in [-1, 1]; minGRU's is positive from a start at zero."""
    x, weights, _ = arguments(name, seed=seed)
    h, _ = jitted(name)(x * np.float32(size), weights, initial_carry(name, B, R))
    assert np.all(np.isfinite(h))
    assert np.all(h >= 0) if name == "min_gru" else np.all(np.abs(h) <= 1)
