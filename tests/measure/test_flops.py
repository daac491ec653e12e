"""The walk of the jaxpr against arithmetic by hand and against XLA's own count where XLA can count (no loops)."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from jax.sharding import PartitionSpec

from transformer_jax.measure.flops import UnknownPrimitive, UnknownTripCount, count
from transformer_jax.measure.primitives import Cost
from transformer_jax.ops.attention import ATTENTION
from transformer_jax.ops.recurrence import RECURRENCE


def spec(*shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


def analysis(stage):
    properties = stage.cost_analysis()
    return properties[0] if isinstance(properties, list) else properties


def xla_compiled(fn, *args):
    return analysis(jax.jit(fn).lower(*args).compile())


def xla_lowered(fn, *args):
    """XLA's count before its optimiser, whose fusions may compute an element more than once."""
    return analysis(jax.jit(fn).lower(*args))


@settings(max_examples=20)
@given(*[st.integers(0, 9)] * 4)
def test_matmul_is_two_b_m_n_k(b, m, n, k):
    cost = count(partial(jnp.einsum, "bmk,bkn->bnm"), spec(b, m, k), spec(b, k, n))
    assert cost.matmul_flops == cost.flops == 2 * b * m * n * k


UNARY = {
    "exp": jnp.exp, "tanh": jnp.tanh, "logistic": jax.nn.sigmoid, "log": jnp.log, "log1p": jnp.log1p,
    "expm1": jnp.expm1, "sin": jnp.sin, "cos": jnp.cos, "sqrt": jnp.sqrt, "rsqrt": lax.rsqrt, "erf": lax.erf,
    "erfc": lax.erfc, "exp2": jnp.exp2, "erf_inv": lax.erf_inv, "power": lambda x: x ** (x + 1),
    "cube": lambda x: x**3, "seventh power": lambda x: x**7, "inverse square": lambda x: x**-2,
    "neg": jnp.negative, "abs": jnp.abs, "sign": jnp.sign, "floor": jnp.floor, "square": jnp.square,
    "is_finite": jnp.isfinite, "compare": lambda x: x > 0.5, "select": lambda x: lax.select(x > 0, x, x + 1),
    "clamp": lambda x: lax.clamp(0.1, x, 0.7), "convert": lambda x: x.astype(jnp.int32),
    "gelu": jax.nn.gelu, "silu": jax.nn.silu, "argmax": lambda x: x.argmax(-1),
    "reduce_sum": lambda x: x.sum(-1), "reduce_max": lambda x: x.max(0), "pad": lambda x: jnp.pad(x, 3),
    "transpose": lambda x: x.T.reshape(-1)[::-1], "softmax": jax.nn.softmax, "logsumexp": jax.nn.logsumexp,
    "layer norm": jax.nn.standardize,
}  # fmt: skip


@pytest.mark.parametrize("name", UNARY)
def test_elementwise_and_reductions_count_as_in_xla(name):
    x = spec(32, 64)  # reductions of multiples of 32: XLA for CPU pads others, and counts the padding
    ours, xla = count(UNARY[name], x), xla_compiled(UNARY[name], x)
    one_per_row = 64  # the maximum of a row with -inf, which XLA folds away
    assert ours.flops == pytest.approx(max(0, xla.get("flops", 0)), abs=one_per_row)
    assert ours.transcendentals == xla.get("transcendentals", 0)


def recurrence(name, unroll, *args):
    """The step functions of the zoo on projected inputs, with a loop or written out."""

    def step(carry, x):
        h, w = carry[0], weights
        if name == "rnn":
            h = jnp.tanh(x + h @ w)
            return (h,), h
        if name == "gru":
            (xr, xz, xn), (ar, az, an) = jnp.split(x, 3, -1), jnp.split(h @ w, 3, -1)
            r, z = jax.nn.sigmoid(xr + ar), jax.nn.sigmoid(xz + az)
            h = (1 - z) * jnp.tanh(xn + r * an) + z * h
            return (h,), h
        i, f, g, o = jnp.split(x + h @ w, 4, -1)
        c = jax.nn.sigmoid(f) * carry[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    weights, x, carry = args
    return lax.scan(step, carry, x, unroll=unroll)[1]


def recurrence_args(name, T=4, B=3, R=256):
    # a carry of zeros would be known to XLA, which drops products with it
    gates = RECURRENCE[name].num_gates
    return spec(R, gates * R), spec(T, B, gates * R), (spec(B, R),) * (2 if name == "lstm" else 1)


def attention(q, k, v):
    scores = jnp.einsum("blhd,bshd->bhls", q, k) * q.shape[-1] ** -0.5
    scores = jnp.where(jnp.tril(jnp.ones(scores.shape[-2:], bool)), scores, -jnp.inf)
    return jnp.einsum("bhls,bshd->blhd", jax.nn.softmax(scores), v)


def mlp(w1, w2, x):
    return jax.nn.gelu(x @ w1) @ w2


def training(fn):
    return lambda *args: jax.value_and_grad(lambda args: jnp.sum(fn(*args) ** 2))(args)


LAYERS = {
    name: (partial(recurrence, name, 1), partial(recurrence, name, True), recurrence_args(name))
    for name in ("rnn", "gru", "lstm")
} | {
    "attention": (attention, attention, (spec(2, 64, 3, 32), spec(2, 96, 3, 32), spec(2, 96, 3, 32))),
    "mlp": (mlp, mlp, (spec(64, 192), spec(192, 64), spec(5, 64))),
}


@pytest.mark.parametrize("phase", ["forward", "training"])
@pytest.mark.parametrize("name", LAYERS)
def test_within_three_percent_of_xla_unrolled(name, phase):
    looped, unrolled, args = LAYERS[name]
    if phase == "training":
        looped, unrolled = training(looped), training(unrolled)
    ours = count(looped, *args)
    assert ours.flops == pytest.approx(xla_compiled(unrolled, *args)["flops"], rel=0.03)
    lowered = xla_lowered(unrolled, *args)
    # the loop of the backward pass adds to gradients that start as zeros; unrolled, XLA drops that addition
    added_to_zeros = sum(arg.size for arg in jax.tree.leaves(args))
    assert 0 <= ours.flops - lowered["flops"] <= added_to_zeros
    assert ours.transcendentals == lowered["transcendentals"]
    assert ours.flops == count(unrolled, *args).flops


@pytest.mark.parametrize("name", ["rnn", "gru", "lstm"])
def test_recurrences_of_the_package_within_three_percent_of_xla_unrolled(name, monkeypatch):
    B, T, R = 3, 4, 128
    w = spec(R, RECURRENCE[name].num_gates * R)
    weights = (w, spec(R)) if name == "gru" else (w,)
    carry = (spec(B, R),) * (2 if name == "lstm" else 1)
    args = (spec(B, T, RECURRENCE[name].num_gates * R), weights, carry)
    ours = count(RECURRENCE[name].recur, *args)
    assert ours.matmul_flops == 2 * B * T * R * RECURRENCE[name].num_gates * R
    assert ours.sequential_depth == T

    def unrolled(T, body, state):
        for t in range(T):
            state = body(t, state)
        return state

    monkeypatch.setattr("transformer_jax.ops.recurrence._each_step", unrolled)
    assert ours.flops == pytest.approx(xla_compiled(lambda *a: RECURRENCE[name].recur(*a), *args)["flops"], rel=0.03)


@pytest.mark.parametrize("name", ["reference", "xla"])
def test_attention_of_the_package_within_three_percent_of_xla(name):
    q = spec(2, 64, 4, 32)
    attend = partial(ATTENTION[name], causal=True)
    ours = count(attend, q, q, q)
    assert ours.matmul_flops == 2 * 2 * 2 * 4 * 64 * 64 * 32
    assert ours.flops == pytest.approx(xla_compiled(attend, q, q, q)["flops"], rel=0.03)


def test_bodies_of_loops_are_multiplied_and_nested_trips_too():
    def layer(x):
        return lax.scan(lambda c, _: (c @ c, None), x, None, length=5)[0]

    def layers(x):
        return lax.scan(lambda c, _: (layer(c), None), x, None, length=3)[0]

    assert count(layer, spec(4, 4)).flops == 5 * 2 * 4**3
    assert count(layers, spec(4, 4)).flops == 15 * 2 * 4**3
    assert count(layers, spec(4, 4)).sequential_depth == 15
    once = count(lambda x: x @ x, spec(4, 4))
    assert count(layers, spec(4, 4)).bytes == 15 * once.bytes
    assert count(layers, spec(4, 4)).by_primitive == {"dot_general": Cost(15, 15 * 128, 0, 15 * 3 * 64)}


def test_depth_is_the_longest_path():
    def loop(x, n):
        return lax.fori_loop(0, n, lambda _, c: jnp.sin(c), x)

    assert count(lambda x: loop(loop(x, 4), 7), spec(3)).sequential_depth == 11
    assert count(lambda x: loop(x, 4) + loop(x, 7), spec(3)).sequential_depth == 7
    assert count(lambda x, y: (loop(x, 4), loop(loop(y, 3), 2) * 2), spec(3), spec(3)).sequential_depth == 5
    called = jax.jit(lambda x, y: (loop(x, 4), loop(y, 7)))
    assert count(lambda x: loop(called(x, x)[0], 2), spec(3)).sequential_depth == 6  # the other result is longer
    assert count(jnp.sin, spec(3)).sequential_depth == 0


def test_gradient_of_a_recurrence_is_twice_as_deep():
    looped, _, args = LAYERS["rnn"]
    assert count(training(looped), *args).sequential_depth == 2 * 4


def test_associative_scan_has_no_trips():
    def scan(a):
        return lax.associative_scan(jnp.add, a)

    assert count(scan, spec(64)).sequential_depth == 0
    assert 63 <= count(scan, spec(64)).flops <= 4 * 64  # linear work: sums, and the sums that interleave them
    assert count(scan, spec(128)).flops <= 2.1 * count(scan, spec(64)).flops


def test_while_trips_are_told_where_they_are_static():
    def loop(start, stop, x):
        return lax.while_loop(lambda s: s[0] < s[1], lambda s: (s[0] + 3, s[1], s[2] * 2), (start, stop, x))[2]

    def literal(x):
        return lax.while_loop(lambda s: s[0] < 10, lambda s: (s[0] + 1, jnp.sin(s[1])), (0, x))[1]

    assert count(literal, spec(5)).by_primitive["sin"].calls == 10
    assert count(lambda x: loop(1, 12, x), spec(5)).by_primitive["mul"].flops == 4 * 5
    assert count(jax.jit(partial(loop, 1, 1)), spec(5)).by_primitive["mul"].flops == 0
    bounds = jax.jit(lambda n, x: lax.fori_loop(0, n, lambda _, c: c * 2, x))
    assert count(lambda x: bounds(7, x), spec(5)).sequential_depth == 7


@pytest.mark.parametrize(
    "condition",
    [lambda i, x: x.sum() > 0, lambda i, x: (i < 9) & (x[0] > 0), lambda i, x: i > -9, lambda i, x: i < x[0]],
)
def test_data_dependent_while_is_refused_with_its_place(condition):
    def wait(x):
        return lax.while_loop(lambda s: condition(*s), lambda s: (s[0] + 1, s[1] * 0.5), (0, x))

    with pytest.raises(UnknownTripCount, match="test_flops.py.*wait"):
        count(wait, spec(3))


def test_unknown_primitive_is_named_with_its_place():
    def gamma(x):
        return lax.scan(lambda c, _: (lax.lgamma(c), None), x, None, length=2)

    with pytest.raises(UnknownPrimitive, match=r"'lgamma'.*test_flops.py.*gamma"):
        count(gamma, spec(3))


def test_branches_count_as_the_costliest():
    def choose(i, x):
        return lax.switch(i, [lambda x: x, lambda x: x @ x, lambda x: x + 1], x)

    assert count(choose, spec(dtype=jnp.int32), spec(8, 8)).by_primitive["dot_general"].calls == 1


def test_calls_are_entered():
    twice = jax.custom_vjp(lambda x: x @ x)
    twice.defvjp(lambda x: (x @ x, x), lambda x, g: (g @ x.T + x.T @ g,))
    x = spec(6, 6)
    for call in (jax.jit(jnp.matmul), jax.checkpoint(jnp.matmul)):
        assert count(lambda x, call=call: call(x, x), x).flops == 2 * 6**3
    assert count(twice, x).flops == 2 * 6**3
    assert count(jax.grad(lambda x: twice(x).sum()), x).matmul_flops == 2 * 2 * 6**3  # forward's result is not needed
    assert count(jax.nn.relu, spec(7)).flops == 7
    rematerialised = jax.grad(lambda x: jnp.sum(jax.checkpoint(lambda x: jnp.sin(x @ x))(x)))
    assert count(rematerialised, x).matmul_flops == 3 * 2 * 6**3  # the product again, and its two gradients


def test_what_nobody_uses_is_not_counted():
    def wasteful(x):
        _ = x @ x
        unused, used = jax.jit(lambda x: (x @ x @ x, x + 1))(x)
        return used

    assert count(wasteful, spec(6, 6)).flops == 36


def test_work_of_all_devices_is_summed():
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))

    def body(x):
        return lax.psum(x @ x, "data")

    mapped = jax.shard_map(body, mesh=mesh, in_specs=PartitionSpec(), out_specs=PartitionSpec(), check_vma=False)
    assert count(mapped, spec(6, 6)).matmul_flops == 2 * 6**3


def test_bytes_are_operands_and_results():
    assert count(jnp.add, spec(5, 7), spec(5, 7)).bytes == 3 * 4 * 35
    assert count(lambda x: x.astype(jnp.bfloat16), spec(5, 7)).bytes == (4 + 2) * 35


def test_selecting_touches_only_what_is_selected():
    table, row = spec(1000, 8), spec(1, 8)
    index = spec(dtype=jnp.int32)
    zero = jnp.int32(0)
    read = count(lambda t, i: lax.dynamic_slice(t, (i, zero), (1, 8)), table, index)
    write = count(lambda t, r, i: lax.dynamic_update_slice(t, r, (i, zero)), table, row, index)
    look_up = count(lambda t, i: t.at[i].get(mode="clip"), table, spec(3, dtype=jnp.int32))
    assert read.by_primitive["dynamic_slice"].bytes == 2 * 4 * 8 + 2 * 4
    assert write.by_primitive["dynamic_update_slice"].bytes == 2 * 4 * 8 + 2 * 4
    assert look_up.by_primitive["gather"].bytes == 2 * 4 * 3 * 8 + 4 * 3


def test_scatter_add_is_one_flop_for_each_update():
    gradient = jax.grad(lambda t, i: t[i].sum())
    assert count(gradient, spec(50, 8), spec(3, dtype=jnp.int32)).by_primitive["scatter-add"].flops == 3 * 8


class Net(nn.Module):
    """Everything that a training step of this package may contain, small."""

    @nn.compact
    def __call__(self, tokens, train=True):
        x = nn.Embed(20, 16)(tokens)
        attend = nn.MultiHeadDotProductAttention(2, dropout_rate=0.1, deterministic=not train)
        x = x + attend(nn.LayerNorm()(x), mask=nn.make_causal_mask(tokens))
        x = x + nn.Dropout(0.1, deterministic=not train)(nn.remat(nn.Dense)(16)(nn.gelu(nn.Dense(32)(x))))
        return nn.Dense(20)(nn.RMSNorm()(nn.RNN(nn.LSTMCell(16))(x)))


def test_training_step_and_generation_hold_no_unknown_primitive():
    B, L = 3, 5
    net, tx = Net(), optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adamw(optax.warmup_cosine_decay_schedule(0.0, 1e-3, 10, 100), mask=lambda p: jax.tree.map(jnp.ndim, p)),
    )  # fmt: skip
    tokens, key = spec(B, L, dtype=jnp.int32), jax.eval_shape(lambda: jax.random.key(0))
    params = jax.eval_shape(lambda t, k: net.init({"params": k, "dropout": k}, t), tokens, key)

    def loss(params, tokens, key):
        logits = net.apply(params, tokens, rngs={"dropout": key})
        return optax.softmax_cross_entropy_with_integer_labels(logits, tokens).mean()

    def step(params, opt_state, tokens, key):
        value, grads = jax.value_and_grad(loss)(params, tokens, jax.random.fold_in(key, 1))
        updates, opt_state = tx.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, value

    def generate(params, tokens, key):
        logits = net.apply(params, tokens, train=False)[:, -1]
        logits = jnp.where(logits < lax.top_k(logits, 5)[0][:, -1:], -jnp.inf, logits)
        kept = jnp.cumsum(jax.nn.softmax(jnp.sort(logits)), -1) > 0.1
        return jax.random.categorical(key, logits), jnp.argmax(logits * kept, -1)

    forward = count(partial(net.apply, train=False), params, tokens).matmul_flops
    D, F, V = 16, 32, 20
    by_hand = 2 * B * L * (4 * D * D + 2 * D * L + 2 * D * F + 8 * D * D + D * V)
    assert forward == by_hand
    trained = count(step, params, jax.eval_shape(tx.init, params), tokens, key)
    assert 2.9 * forward < trained.matmul_flops < 3.2 * forward  # remat computes one product again
    assert trained.sequential_depth == 2 * L
    assert count(generate, params, tokens, key).matmul_flops == forward


def test_arrays_and_shapes_count_alike():
    x = np.ones((3, 4), np.float32)
    assert count(jnp.tanh, x) == count(jnp.tanh, spec(3, 4))
