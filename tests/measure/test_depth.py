"""Depth of small programs whose longest chain is known, and against numbers that carry the time of their making."""

import itertools
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from jax.sharding import PartitionSpec

from configs import bench
from transformer_jax.config import with_overrides
from transformer_jax.measure import generation, programs
from transformer_jax.measure.depth import depth, of_program
from transformer_jax.measure.flops import UnknownPrimitive, UnknownTripCount
from transformer_jax.measure.work import Work, next_token
from transformer_jax.ops.attention import ATTENTION
from transformer_jax.ops.linear_recurrence import linear_recurrence
from transformer_jax.ops.recurrence import RECURRENCE


def spec(*shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


class Ready:
    """A number of which only the time is known at which it is there: one operation after those that it is made of."""

    def __init__(self, at=0):
        self.at = at

    def __add__(self, other):
        return Ready(1 + max(self.at, getattr(other, "at", 0)))

    __mul__ = __rmul__ = __radd__ = __sub__ = __rsub__ = __add__

    def apply(self):
        return Ready(1 + self.at)


def tree_sum(numbers):
    """Two at a time, as long as there are two."""
    numbers = list(numbers)
    while len(numbers) > 1:
        pairs = itertools.zip_longest(numbers[::2], numbers[1::2])
        numbers = [a if b is None else a + b for a, b in pairs]
    return numbers[0]


def product(row, matrix):
    return [tree_sum(a * w for a, w in zip(row, column, strict=True)) for column in zip(*matrix, strict=True)]


def rnn_by_hand(T, R):
    w, h = [[Ready() for _ in range(R)] for _ in range(R)], [Ready() for _ in range(R)]
    for _ in range(T):
        h = [(Ready() + a).apply() for a in product(h, w)]
    return max(number.at for number in h)


@pytest.mark.parametrize(("T", "R"), [(1, 2), (3, 5), (4, 8)])
def test_a_recurrence_is_as_deep_as_numbers_that_carry_their_time(T, R):
    recur = RECURRENCE["rnn"].recur
    assert depth(lambda *args: recur(*args)[0], spec(2, T, R), (spec(R, R),), (spec(2, R),)) == rnn_by_hand(T, R)


def softmax_by_hand(scores):
    weights = [(score - Ready(tree_sum(scores).at)).apply() for score in scores]  # a maximum is a tree as a sum is
    total = tree_sum(weights)
    return [weight + total for weight in weights]


@pytest.mark.parametrize("n", [1, 2, 6, 9])
def test_a_softmax_is_as_deep_as_numbers_that_carry_their_time(n):
    def softmax(x):
        weights = jnp.exp(x - x.max())
        return weights / weights.sum()

    assert depth(softmax, spec(n)) == max(number.at for number in softmax_by_hand([Ready() for _ in range(n)]))


@settings(max_examples=20)
@given(st.integers(1, 70), st.integers(1, 5))
def test_sums_and_products_are_trees(n, m):
    levels = math.ceil(math.log2(n))
    assert depth(jnp.sum, spec(n)) == depth(lambda x: x.max(1), spec(m, n)) == levels
    assert depth(jnp.matmul, spec(m, n), spec(n, 3)) == 1 + levels
    assert depth(jnp.cumsum, spec(n)) == levels
    assert depth(jnp.sort, spec(m, n)) == levels**2
    assert depth(partial(jnp.argmax, axis=1), spec(m, n)) == levels


UNARY = st.lists(st.sampled_from([jnp.sin, jnp.negative, lambda x: x + 1, lambda x: x.T, lambda x: x @ x]), max_size=5)


@settings(max_examples=20)
@given(UNARY, UNARY)
def test_one_after_another_adds_and_side_by_side_is_the_deeper(first, then):
    def chained(functions, x):
        for function in functions:
            x = function(x)
        return x

    of = [depth(partial(chained, functions), spec(4, 4)) for functions in (first, then)]
    assert depth(partial(chained, first + then), spec(4, 4)) == sum(of)
    assert depth(lambda x: (chained(first, x), chained(then, x)), spec(4, 4)) == max(of)


def test_what_moves_data_is_no_operation():
    def move(x, i):
        piece = lax.dynamic_slice(x, (i, i), (1, 2), allow_negative_indices=False)  # else i is compared and added to
        return jnp.concatenate([x.T.reshape(-1)[::-1], jnp.tile(x[0], 2), piece[0]])

    assert depth(move, spec(3, 4), spec(dtype=jnp.int32)) == 0


def test_a_loop_is_its_trips_times_its_body():
    def loop(x, n):
        return lax.fori_loop(0, n, lambda _, c: jnp.sin(jnp.cos(c)), x)

    def nested(x):
        return lax.scan(lambda c, _: (loop(c, 5) + 1, None), x, None, length=3)[0]

    assert depth(lambda x: loop(x, 7), spec(3)) == 14
    assert depth(lambda x: loop(x, 4) + loop(x, 7), spec(3)) == 14 + 1
    assert depth(nested, spec(3)) == 3 * (10 + 1)
    assert depth(lambda x: lax.scan(lambda c, _: (c[::-1], None), x, None, length=6)[0], spec(3)) == 6
    assert depth(lambda x: lax.while_loop(lambda s: s[0] < 9, lambda s: (s[0] + 1, s[1] * 2), (0, x))[1], spec(3)) == 9


@pytest.mark.parametrize("length", [1, 4, 9])
def test_a_loop_whose_steps_need_each_other_is_as_deep_as_the_same_written_out(length):
    def scanned(unroll, x, w):
        return lax.scan(lambda c, _: (jnp.tanh(c @ w), None), x, None, length=length, unroll=unroll)[0]

    looped, unrolled = (depth(partial(scanned, unroll), spec(2, 6), spec(6, 6)) for unroll in (1, True))
    assert looped == unrolled == length * (1 + 3 + 1)


def test_a_loop_waits_for_the_run_before_even_where_it_needs_nothing_of_it():
    def mapped(x):
        return lax.map(jnp.sin, x)

    assert depth(mapped, spec(8, 3)) == 8 and depth(jax.vmap(jnp.sin), spec(8, 3)) == 1


def test_an_associative_scan_is_a_logarithm_deep():
    found = {n: depth(partial(lax.associative_scan, jnp.add), spec(n)) for n in (16, 32, 64, 1024)}
    assert found[32] - found[16] == found[64] - found[32] <= 3 and found[1024] < 40


def test_calls_and_branches_are_entered_and_each_result_has_its_own_depth():
    called = jax.jit(lambda x, y: (jnp.sin(x), jnp.sin(jnp.cos(jnp.tan(y)))))
    assert depth(lambda x: called(x, x)[0] + 1, spec(3)) == 2
    chosen = lambda i, x: lax.switch(i, [lambda x: x, lambda x: x @ x, jnp.sin], x)  # noqa: E731
    assert depth(chosen, spec(dtype=jnp.int32), spec(8, 8)) == 1 + (1 + 3)  # the index is clamped, then the deepest
    remat = jax.grad(lambda x: jnp.sum(jax.checkpoint(lambda x: jnp.sin(jnp.sin(x)))(x)))
    assert depth(remat, spec(3)) == 4  # the inner sine once more, its cosine and those of both, two products beside


def test_what_nobody_uses_is_left_out_and_constants_are_there_at_once():
    def wasteful(x):
        _ = lax.fori_loop(0, 100, lambda _, c: jnp.sin(c), x)
        return x + jnp.asarray(np.ones(3, np.float32))

    assert depth(wasteful, spec(3)) == 1


def test_updates_may_all_meet_in_one_place():
    gradient = jax.grad(lambda table, i: (table[i] ** 2).sum())
    assert (
        depth(gradient, spec(50, 8), spec(7, dtype=jnp.int32)) >= 3
    )  # seven and the zero before them: a tree of eight
    one = jax.jit(lambda x, i, u: x.at[i].add(u, mode="promise_in_bounds"))
    found = {n: depth(one, spec(50), spec(n, dtype=jnp.int32), spec(n)) for n in (1, 7, 15)}
    assert found[7] - found[1] == 3 - 1 and found[15] - found[7] == 1


def test_under_shard_map_devices_work_side_by_side():
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    mapped = jax.shard_map(lambda x: x @ x, mesh=mesh, in_specs=PartitionSpec(), out_specs=PartitionSpec())
    assert depth(mapped, spec(8, 8)) == 4


def test_what_cannot_be_told_is_refused_with_its_place():
    with pytest.raises(UnknownPrimitive, match=r"'lgamma'.*test_depth.py"):
        depth(lambda x: lax.lgamma(x), spec(3))
    with pytest.raises(UnknownTripCount, match="test_depth.py"):
        depth(lambda x: lax.while_loop(lambda s: s.sum() > 0, lambda s: s * 0.5, x), spec(3))


def test_forms_of_one_recurrence_differ_in_depth():
    found = {form: {T: depth(partial(linear_recurrence, form=form), spec(2, T, 3), spec(2, T, 3), spec(2, 3))
                    for T in (64, 256, 1024)} for form in ("sequential", "chunked", "associative")}  # fmt: skip
    exponents = {form: math.log2(line[1024] / line[256]) / 2 for form, line in found.items()}
    assert exponents["sequential"] == 1 and exponents["chunked"] == pytest.approx(0.5, abs=0.06)
    assert exponents["associative"] < 0.2
    assert (
        found["associative"][256] - found["associative"][64] == found["associative"][1024] - found["associative"][256]
    )


def test_attention_by_the_formula_is_a_logarithm_deep_and_in_blocks_a_loop():
    def of(name, T):
        return depth(partial(ATTENTION[name], causal=True), *[spec(1, T, 2, 8)] * 3)

    assert of("reference", 512) - of("reference", 256) == 3  # the maximum, the sum, and the sum of the values
    assert of("blockwise", 4096) > 2 * of("blockwise", 2048) > 4 * of("blockwise", 1024) > 4 * of("reference", 1024)


def test_the_programs_that_are_measured_are_counted_without_a_run():
    base = with_overrides(bench.CONFIG, {"model.d_model": 8, "model.num_heads": 2, "task.batch_size": 2})

    def work(mixer, T):
        config = with_overrides(base, {"model.mixer": mixer, "task.seq_len": T, "model.num_layers": 1})
        return Work(config, next_token(config), "op")

    counted = {mixer: [of_program(programs.build(work(mixer, T))) for T in (16, 64)] for mixer in ("lstm", "attention")}
    assert counted["lstm"][1] > 3.5 * counted["lstm"][0] and counted["attention"][1] < 1.5 * counted["attention"][0]
    for mixer in ("lstm", "attention"):
        short, long = (of_program(generation.program(work(mixer, T))) for T in (8, 32))
        assert long > 3 * short
