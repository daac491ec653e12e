"""Which blocks are visited, and how memory grows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer_jax.ops import blockwise
from transformer_jax.ops.attention import ATTENTION


@settings(max_examples=80)
@given(
    st.integers(1, 23),
    st.integers(1, 23),
    st.integers(1, 6),
    st.booleans(),
    st.none() | st.integers(1, 25),
    st.booleans(),
)
def test_every_visible_score_lies_in_one_block_and_no_block_is_empty(L, S, block, causal, window, masked):
    call = blockwise._Call(L, S, 1, 1, causal, window, min(block, L), min(block, S))
    at, key = np.arange(L)[:, None] + S - L, np.arange(S)
    visible = np.ones((L, S), bool)
    if causal:
        visible &= key <= at
    if window is not None:
        visible &= np.abs(at - key) < window
    covered = np.zeros((L, S), int)
    for rows, columns, hidden, pairs in blockwise.loops(call, masked):
        assert hidden or not masked
        for i, j in pairs:
            part = np.s_[i * rows : (i + 1) * rows, j * columns : (j + 1) * columns]
            covered[part] += 1
            assert visible[part].any()
            assert hidden or (visible[part].all() and visible[part].shape == (rows, columns))
    assert covered.max(initial=0) <= 1 and (covered[visible] == 1).all()


def test_visited_scores_counts_the_matmuls_of_the_program():
    """The counter against the shapes of the products that are traced, trip counts multiplied."""
    L, S, H, K, Dh = 600, 700, 4, 2, 8
    shapes = [jax.ShapeDtypeStruct((1, T, heads, Dh), jnp.float32) for T, heads in ((L, H), (S, K), (S, K))]

    def products(jaxpr, trips=1):
        for eqn in jaxpr.eqns:
            if eqn.primitive.name == "dot_general":
                (contract, _), _ = eqn.params["dimension_numbers"]
                depth = np.prod([eqn.invars[0].aval.shape[axis] for axis in contract])
                yield trips * int(np.prod(eqn.outvars[0].aval.shape) * depth)
            inner = trips * eqn.params.get("length", 1)
            for value in eqn.params.values():
                if hasattr(value, "jaxpr") or hasattr(value, "eqns"):
                    yield from products(getattr(value, "jaxpr", value), inner)

    for causal, window in ((True, None), (False, None), (True, 100)):
        forward = lambda *x: blockwise.attend(*x, causal=causal, window=window)  # noqa: E731,B023
        train = lambda *x: jax.vjp(forward, *x)[1](x[0])  # noqa: E731,B023
        scores = H * blockwise.visited_scores(L, S, causal=causal, window=window, group=H // K)
        assert sum(products(jax.make_jaxpr(forward)(*shapes).jaxpr)) == 2 * scores * Dh
        assert sum(products(jax.make_jaxpr(train)(*shapes).jaxpr)) == 7 * scores * Dh


def test_what_is_seen_whole_is_taken_in_wide_blocks():
    (wide,) = blockwise.loops(blockwise._Call(24, 16, 1, 1, False, None, 4, 4), masked=False)
    assert (wide.queries, wide.keys, wide.hidden, len(wide.pairs)) == (8, 8, False, 6)
    causal = blockwise._Call(24, 24, 1, 1, True, None, 4, 4)
    assert [(loop.keys, loop.hidden, len(loop.pairs)) for loop in blockwise.loops(causal, masked=False)] == [
        (4, True, 6),  # on the diagonal
        (4, False, 3),  # beside it
        (8, False, 3),
    ]
    assert [(loop.keys, loop.hidden, len(loop.pairs)) for loop in blockwise.loops(causal, masked=True)] == [
        (4, True, 9),
        (8, True, 3),
    ]


def test_blocks_above_the_diagonal_are_not_computed():
    block = blockwise.KEYS
    assert blockwise.ROWS == block
    T = 16 * block
    assert blockwise.visited_scores(T, T, causal=True) == 16 * 17 // 2 * block**2
    assert blockwise.visited_scores(T, T, causal=False) == T * T
    assert blockwise.visited_scores(T, T, causal=True, window=block) == (2 * 16 - 1) * block**2


def compiled_training(T, heads):
    x = jax.ShapeDtypeStruct((1, T, heads, 64), jnp.float32)
    forward = lambda q, k, v: blockwise.attend(q, k, v, causal=True)  # noqa: E731
    train = lambda q, k, v, d_out: jax.vjp(forward, q, k, v)[1](d_out)  # noqa: E731
    return jax.jit(train).lower(x, x, x, x).compile()


def test_memory_is_linear_at_length_16384():
    """Forward and backward of one head need less than 40 MiB of temporaries; the scores alone would be 1 GiB."""
    short, long = (compiled_training(T, 1).memory_analysis().temp_size_in_bytes for T in (8192, 16384))
    assert long < 40 * 2**20
    assert long < 2.1 * short


@pytest.mark.parametrize("causal", [True, False])
def test_memory_is_linear_under_a_mask_of_keys(causal):
    def temporaries(T):
        x, mask = jax.ShapeDtypeStruct((1, T, 1, 64), jnp.float32), jax.ShapeDtypeStruct((1, 1, 1, T), jnp.bool_)
        forward = lambda q, k, v, mask: ATTENTION["blockwise"](q, k, v, mask=mask, causal=causal)  # noqa: E731
        train = lambda q, k, v, mask, d_out: jax.vjp(lambda *x: forward(*x, mask), q, k, v)[1](d_out)  # noqa: E731
        return jax.jit(train).lower(x, x, x, mask, x).compile().memory_analysis().temp_size_in_bytes

    assert temporaries(16384) < 2.1 * temporaries(8192)


def test_memory_at_length_4096_stays_under_32_mib():
    assert compiled_training(4096, 8).memory_analysis().temp_size_in_bytes <= 32 * 2**20


def test_second_derivatives_are_those_of_the_formula(monkeypatch):
    monkeypatch.setattr(blockwise, "ROWS", 4)
    monkeypatch.setattr(blockwise, "KEYS", 3)
    rng = np.random.default_rng(0)
    arrays = tuple(jnp.asarray(rng.normal(size=(1, T, H, 4)), jnp.float32) for T, H in ((5, 2), (7, 1), (7, 1)))

    def second(name):
        loss = lambda *x: (ATTENTION[name](*x, causal=True) ** 2).sum()  # noqa: E731
        slope = lambda *x: sum((g * y**2).sum() for g, y in zip(jax.grad(loss, (0, 1, 2))(*x), x, strict=True))  # noqa: E731
        return jax.jit(jax.grad(slope, (0, 1, 2)))(*arrays)

    for got, want in zip(second("blockwise"), second("reference"), strict=True):
        np.testing.assert_allclose(got, want, atol=2e-5 * np.abs(want).max())


@pytest.mark.parametrize("arguments", [{"causal": True}, {"mask": (2, 6, 5, 7)}, {"lengths": (2,)}])
def test_heads_in_batches_are_heads_one_by_one(monkeypatch, arguments):
    """The form of accelerators, here with a batch that does not divide the number of key heads (2 * 3)."""
    monkeypatch.setattr(blockwise, "ROWS", 4)
    monkeypatch.setattr(blockwise, "KEYS", 3)
    monkeypatch.setattr(blockwise, "SCORES_AT_ONCE", 4 * 8 * 6)  # four heads of a wide block
    rng = np.random.default_rng(0)
    shapes = (2, 5, 6, 4), (2, 7, 3, 4), (2, 7, 3, 4), (2, 5, 6, 4)
    arrays = tuple(jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes)
    draw = {"mask": lambda shape: rng.random(shape) < 0.5, "lengths": lambda shape: rng.integers(1, 7, shape)}
    arguments = {key: jnp.asarray(draw[key](value)) if key in draw else value for key, value in arguments.items()}

    def values(platform):
        monkeypatch.setattr(blockwise, "platform", lambda: platform)
        out, pull = jax.vjp(jax.jit(lambda *x: blockwise.attend(*x, **arguments)), *arrays[:3])
        return out, *jax.jit(pull)(arrays[3])

    for got, want in zip(values("gpu"), values("cpu"), strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-6 * np.abs(want).max())


@pytest.mark.slow
def test_length_65536_runs_forward_and_backward():
    rng = np.random.default_rng(0)
    q, k, v, d_out = (jnp.asarray(rng.normal(size=(1, 65536, 1, 64)), jnp.float32) for _ in range(4))
    gradients = compiled_training(65536, 1)(q, k, v, d_out)
    assert all(np.isfinite(x).all() for x in gradients)
    for i in (1, 4095):  # dq of a query, from its own row of weights
        keys, values = (np.asarray(x[0, : i + 1, 0], np.float64) for x in (k, v))
        row = keys @ np.asarray(q[0, i, 0], np.float64) / 8
        p = np.exp(row - row.max())
        p /= p.sum()
        dp = values @ np.asarray(d_out[0, i, 0], np.float64)
        np.testing.assert_allclose(gradients[0][0, i, 0], (p * (dp - p @ dp)) @ keys / 8, atol=2e-5)
