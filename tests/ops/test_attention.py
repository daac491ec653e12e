"""Every entry of ATTENTION against one NumPy float64 oracle, forward and gradient, and against what masks promise."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.cudnn import fused_attention_stablehlo
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel
from jax.sharding import AbstractDevice, AbstractMesh, use_abstract_mesh

from transformer_jax.ops import attention, blockwise
from transformer_jax.ops.attention import ATTENTION, attention_weights, choose, next_step

TOLERANCE = {
    "float32": 2e-5,
    "bfloat16": 4e-2,
    "float16": 6e-3,
}  # of the largest entry; about 5 units in the last place

QUICK = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
}  # compiles in two thirds of the time


@pytest.fixture(params=[*(name for name in ATTENTION if name != "auto"), "blockwise off the CPU"])
def attend(request, monkeypatch):
    """One implementation, made to run here where it can be: splash in Pallas's interpreter, blocks of 4 x 3, and
    off the CPU two or more heads of these at once."""
    name = request.param.partition(" ")[0]
    monkeypatch.setattr(blockwise, "ROWS", 4)
    monkeypatch.setattr(blockwise, "KEYS", 3)
    monkeypatch.setattr(blockwise, "SCORES_AT_ONCE", 2 * 8 * 6)
    if request.param != name:
        monkeypatch.setattr(blockwise, "platform", lambda: "gpu")
    if request.param == "cudnn" and attention.platform() != "gpu":
        pytest.skip("cuDNN runs on NVIDIA only; test_cudnn_lowers does what is possible here")
    if request.param == "splash" and attention.platform() != "tpu":
        monkeypatch.setattr(attention, "platform", lambda: "tpu")
        interpreted = functools.partial(splash_attention_kernel.make_splash_mha_single_device, interpret=True)
        monkeypatch.setattr(splash_attention_kernel, "make_splash_mha_single_device", interpreted)
    fn = ATTENTION[name]

    def call(q, *rest, **arguments):
        reason = attention.refusal(name, q, rest[0], **arguments)
        if reason is not None:
            with pytest.raises(ValueError, match=f"attention={name} cannot run.*these can: .*reference"):
                fn(q, *rest, **arguments)
            pytest.skip(reason)
        return fn(q, *rest, **arguments)

    return call


def oracle(q, k, v, d_out, *, mask=None, causal=False, lengths=None, window=None):
    """Output and gradients in float64, one query of one head at a time, from the formula."""
    q, k, v, d_out = (np.asarray(x, np.float64) for x in (q, k, v, d_out))
    (B, L, H, Dh), (S, K) = q.shape, k.shape[1:3]
    mask = np.broadcast_to(True if mask is None else mask, (B, H, L, S))
    out, dq, dk, dv = (np.zeros_like(x) for x in (q, q, k, v))
    for b, h, i in np.ndindex(B, H, L):
        g, at = h // (H // K), i + S - L
        seen = [
            s
            for s in range(S if lengths is None else int(lengths[b]))
            if mask[b, h, i, s] and (not causal or s <= at) and (window is None or abs(at - s) < window)
        ]
        if not seen:
            continue
        scores = k[b, seen, g] @ q[b, i, h] / np.sqrt(Dh)
        p = np.exp(scores - scores.max())
        p /= p.sum()
        out[b, i, h] = p @ v[b, seen, g]
        dv[b, seen, g] += np.outer(p, d_out[b, i, h])
        dp = v[b, seen, g] @ d_out[b, i, h]
        ds = p * (dp - p @ dp) / np.sqrt(Dh)
        dq[b, i, h] += ds @ k[b, seen, g]
        dk[b, seen, g] += np.outer(ds, q[b, i, h])
    return out, dq, dk, dv


def draw(seed, B, L, S, H, K, Dh, dtype="float32"):
    rng = np.random.default_rng(seed)
    shapes = (B, L, H, Dh), (B, S, K, Dh), (B, S, K, Dh), (B, L, H, Dh)
    return [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]


def value_and_gradients(fn, q, k, v, d_out, **arguments):
    def run(q, k, v, d_out, arrays):
        out, pull = jax.vjp(lambda q, k, v: fn(q, k, v, **static, **arrays), q, k, v)
        return out, *pull(d_out)

    static = {key: value for key, value in arguments.items() if not hasattr(value, "shape")}
    arrays = {key: jnp.asarray(value) for key, value in arguments.items() if hasattr(value, "shape")}
    return jax.jit(run, compiler_options=QUICK)(q, k, v, d_out, arrays)


def assert_close(actual, expected, dtype="float32"):
    for got, want in zip(actual, expected, strict=True):
        assert got.dtype == dtype and got.shape == want.shape
        scale = max(1.0, np.abs(want).max())
        np.testing.assert_allclose(np.asarray(got, np.float64), want, rtol=0, atol=TOLERANCE[dtype] * scale)


random_mask = np.random.default_rng(0).random((2, 6, 7, 9)) < 0.5
CASES = {  # (B, L, S, H, K, Dh), arguments
    "plain": ((2, 7, 7, 3, 3, 5), {}),
    "causal": ((1, 11, 11, 2, 2, 5), {"causal": True}),
    "one query, one key": ((2, 1, 1, 3, 3, 4), {"causal": True}),
    "one head": ((1, 9, 9, 1, 1, 6), {"causal": True}),
    "padding": ((2, 7, 7, 3, 3, 5), {"lengths": np.array([3, 7])}),
    "causal and padding": ((2, 7, 7, 1, 1, 5), {"causal": True, "lengths": np.array([4, 7])}),
    "cross-attention": ((1, 5, 13, 2, 2, 3), {}),
    "newest queries": ((1, 3, 10, 2, 2, 5), {"causal": True}),
    "queries before all keys": ((1, 10, 6, 2, 2, 5), {"causal": True}),
    "a row of padding only": ((2, 6, 5, 1, 1, 3), {"lengths": np.array([0, 5])}),
    "grouped heads": ((2, 6, 7, 6, 2, 5), {"causal": True}),
    "window": ((1, 13, 13, 2, 2, 5), {"causal": True, "window": 3}),
    "window to both sides": ((1, 6, 13, 4, 2, 5), {"window": 5}),
    "mask": ((2, 7, 9, 6, 2, 5), {"mask": random_mask}),
    "mask of a batch row": ((2, 7, 9, 2, 1, 5), {"mask": random_mask[:, :1], "causal": True}),
    "mask of keys, hiding all": ((1, 5, 6, 2, 2, 3), {"mask": np.zeros((6,), bool)}),
}


@pytest.mark.parametrize("case", CASES)
def test_equals_the_formula(attend, case):
    sizes, arguments = CASES[case]
    arrays = draw(1, *sizes)
    assert_close(value_and_gradients(attend, *arrays, **arguments), oracle(*arrays, **arguments))


@pytest.mark.parametrize(("B", "L", "S"), [(2, 0, 4), (2, 4, 0), (0, 4, 4), (2, 0, 0)])
def test_sizes_of_zero_give_zeros(attend, B, L, S):
    arrays = draw(1, B, L, S, 4, 2, 5)
    for got, like in zip(value_and_gradients(attend, *arrays, causal=True), (arrays[0], *arrays[:3]), strict=True):
        np.testing.assert_array_equal(got, np.zeros(like.shape))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_keeps_a_float32_softmax(attend, dtype):
    arrays = draw(2, 1, 9, 9, 2, 2, 8, dtype)
    assert_close(value_and_gradients(attend, *arrays, causal=True), oracle(*arrays, causal=True), dtype)


def test_large_scores_do_not_overflow(attend):
    q, k, v, d_out = draw(3, 1, 6, 6, 2, 2, 4)
    arrays = q * 100, k * 100, v, d_out
    result = value_and_gradients(attend, *arrays, causal=True)
    np.testing.assert_allclose(result[0], oracle(*arrays, causal=True)[0], atol=1e-3)
    assert all(np.isfinite(x).all() for x in result)


def test_garbage_in_hidden_positions_has_no_effect(attend):
    """Keys and values past a row's length hold NaN: output and gradients stay as they were, to the bit."""
    q, k, v, d_out = draw(4, 2, 7, 7, 2, 2, 5)
    lengths = np.array([3, 5])
    hidden = (np.arange(7) >= lengths[:, None])[..., None, None]
    clean = value_and_gradients(attend, q, k, v, d_out, lengths=lengths, causal=True)
    k, v = jnp.where(hidden, jnp.nan, k), jnp.where(hidden, jnp.nan, v)
    dirty = value_and_gradients(attend, q, k, v, d_out, lengths=lengths, causal=True)
    for before, after in zip(clean, dirty, strict=True):
        np.testing.assert_array_equal(before, after)
    for gradient in dirty[2:]:
        np.testing.assert_array_equal(np.where(hidden, gradient, 0), np.zeros(gradient.shape))


def test_garbage_under_a_mask_has_no_effect(attend):
    q, k, v, d_out = draw(5, 1, 5, 6, 2, 1, 3)
    mask = np.ones((5, 6), bool)
    mask[:, 2] = False  # nobody sees key 2
    mask[3] = False  # query 3 sees nothing
    q = q.at[:, 3].set(jnp.nan)
    k, v = k.at[:, 2].set(jnp.inf), v.at[:, 2].set(jnp.nan)
    out, dq, dk, dv = value_and_gradients(attend, q, k, v, d_out, mask=mask)
    assert all(np.isfinite(x).all() for x in (out, dq, dk, dv))
    assert not out[:, 3].any() and not dq[:, 3].any() and not dk[:, 2].any() and not dv[:, 2].any()


def test_decoder_cannot_look_ahead(attend):
    """d out_t / d in_s is zero for s > t and not for s <= t: a decoder that forgets its mask fails here."""
    q, k, v, _ = draw(6, 1, 6, 6, 2, 2, 3)
    jacobian = jax.jit(jax.jacrev(lambda k, v: attend(q, k, v, causal=True), argnums=(0, 1)))(k, v)
    influence = sum(np.abs(x).sum((0, 2, 3, 4, 6, 7)) for x in jacobian)  # (t, s)
    assert (influence[np.triu_indices(6, 1)] == 0).all()
    assert (influence[np.tril_indices(6)] > 0).all()


def test_composes_with_vmap_grad_and_checkpoint(attend):
    q, k, v, _ = draw(7, 3, 6, 6, 2, 2, 4)

    def loss(q, k, v):
        return (attend(q, k, v, causal=True) ** 2).sum()

    expected = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(q, k, v)
    again = jax.jit(jax.grad(jax.checkpoint(loss), argnums=(0, 1, 2)))(q, k, v)
    one = jax.grad(lambda q, k, v: loss(q[None], k[None], v[None]), argnums=(0, 1, 2))
    mapped = jax.jit(jax.vmap(one))(q, k, v)
    for want, rematerialised, row in zip(expected, again, mapped, strict=True):
        np.testing.assert_array_equal(want, rematerialised)
        np.testing.assert_allclose(want, row, atol=1e-5)


def test_heads_are_independent_single_heads(attend):
    """H heads = H single heads one after the other = a vmap over them."""
    q, k, v, _ = draw(8, 2, 5, 5, 3, 3, 4)
    whole = jax.jit(lambda q, k, v: attend(q, k, v, causal=True))(q, k, v)
    single = jax.jit(lambda q, k, v: attend(q, k, v, causal=True))
    loop = jnp.concatenate([single(q[:, :, [h]], k[:, :, [h]], v[:, :, [h]]) for h in range(3)], axis=2)
    lane = lambda q, k, v: attend(q[:, :, None], k[:, :, None], v[:, :, None], causal=True)[:, :, 0]  # noqa: E731
    mapped = jax.jit(jax.vmap(lane, in_axes=2, out_axes=2))(q, k, v)
    np.testing.assert_array_equal(whole, loop)
    np.testing.assert_array_equal(whole, mapped)


def test_the_order_of_keys_has_no_influence(attend):
    q, k, v, _ = draw(9, 1, 5, 7, 2, 2, 4)
    order = np.random.default_rng(9).permutation(7)
    run = jax.jit(attend)
    np.testing.assert_allclose(run(q, k, v), run(q, k[:, order], v[:, order]), atol=1e-6)


def test_runs_are_bit_equal(attend):
    arrays = draw(10, 1, 9, 9, 2, 2, 4)
    run = jax.jit(lambda q, k, v, d_out: jax.vjp(lambda *x: attend(*x, causal=True), q, k, v)[1](d_out))
    for first, second in zip(run(*arrays), run(*arrays), strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", ["reference", "blockwise"])  # jax.nn has no float64 softmax
def test_gradient_is_that_of_finite_differences(name, monkeypatch):
    monkeypatch.setattr(blockwise, "ROWS", 4)
    with jax.enable_x64(True):
        q, k, v, d_out = draw(11, 1, 5, 5, 2, 1, 3, "float64")
        run = jax.jit(lambda q, k, v: (ATTENTION[name](q, k, v, causal=True) * d_out).sum())
        gradients = jax.grad(run, argnums=(0, 1, 2))(q, k, v)
        for index, gradient in enumerate(gradients):
            step = np.random.default_rng(12).normal(size=gradient.shape)
            moved = lambda by: run(*[x + by * step * (i == index) for i, x in enumerate((q, k, v))])  # noqa: E731,B023
            slope = (moved(1e-5) - moved(-1e-5)) / 2e-5
            np.testing.assert_allclose((gradient * step).sum(), slope, rtol=1e-8)


def test_weights_are_a_distribution_over_the_seen_keys():
    q, k, _, _ = draw(13, 2, 4, 6, 4, 2, 3)
    weights = attention_weights(q, k, causal=True, lengths=jnp.array([0, 5]))
    assert weights.shape == (2, 4, 4, 6)
    np.testing.assert_allclose(weights.sum(-1), np.broadcast_to([[[0]], [[1]]], (2, 4, 4)), atol=1e-6)
    assert not weights[..., 5].any() and not weights[1, :, 0, 3:].any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mask": jnp.ones((3, 4))}, "boolean"),
        ({"mask": jnp.ones((5, 4), bool)}, "broadcast"),
        ({"lengths": jnp.ones((3,), int)}, "lengths"),
        ({"lengths": jnp.ones((2,))}, "lengths"),
        ({"window": 0}, "window"),
    ],
)
def test_wrong_arguments_raise(arguments, message):
    q, k, v, _ = draw(14, 2, 3, 4, 2, 2, 8)
    with pytest.raises(ValueError, match=message):
        ATTENTION["reference"](q, k, v, **arguments)


def test_wrong_shapes_raise():
    q, k, v, _ = draw(15, 2, 3, 4, 3, 2, 5)
    with pytest.raises(ValueError, match="divide"):
        ATTENTION["blockwise"](q, k, v)
    with pytest.raises(ValueError, match="dtype"):
        ATTENTION["xla"](q[:, :, :2], k.astype("float16"), v)
    with pytest.raises(ValueError, match="B, S, K, Dh"):
        ATTENTION["reference"](q[:, :, :2], k, v[:1])


@pytest.mark.slow
@pytest.mark.parametrize(("L", "S", "window"), [(512, 1024, None), (1000, 250, 300), (700, 700, None)])
def test_splash_in_large_blocks(monkeypatch, L, S, window):
    """Blocks of 512 and 256, in Pallas's interpreter: too many scores for the oracle, so against the formula."""
    arrays = draw(18, 1, L, S, 2, 1, 16)
    expected = value_and_gradients(ATTENTION["reference"], *arrays, causal=True, window=window)
    monkeypatch.setattr(attention, "platform", lambda: "tpu")
    interpreted = functools.partial(splash_attention_kernel.make_splash_mha_single_device, interpret=True)
    monkeypatch.setattr(splash_attention_kernel, "make_splash_mha_single_device", interpreted)
    assert {attention._splash_block(T) for T in (L, S)} & {256, 512}
    assert_close(value_and_gradients(ATTENTION["splash"], *arrays, causal=True, window=window), expected)


def traced_for(platform):
    return use_abstract_mesh(AbstractMesh((), (), abstract_device=AbstractDevice(platform, 1, platform)))


def test_choice_follows_platform_shape_and_mask():
    short, long = (jax.ShapeDtypeStruct((1, T, 2, 64), jnp.bfloat16) for T in (16, 4096))
    mask = jax.ShapeDtypeStruct((4096, 4096), jnp.bool_)
    assert choose(short, short) == "reference" and choose(long, long, causal=True) == "blockwise"
    with traced_for("cuda"):
        assert choose(long, long, causal=True) == "cudnn"
        assert choose(long, long, window=3) == "blockwise"
    with traced_for("tpu"):
        assert choose(long, long, causal=True, window=3) == "splash"
        assert choose(long, long, mask=mask) == "blockwise"


def test_auto_is_the_chosen_one(monkeypatch):
    monkeypatch.setattr(blockwise, "ROWS", 4)
    q, k, v, _ = draw(17, 1, 6, 6, 1, 1, 4)
    for small, name in ((36, "reference"), (35, "blockwise")):
        monkeypatch.setattr(attention, "SMALL", small)
        assert choose(q, k, causal=True, window=3) == name
        auto, named = (jax.jit(lambda *x, fn=ATTENTION[n]: fn(*x, causal=True, window=3)) for n in ("auto", name))
        np.testing.assert_array_equal(auto(q, k, v), named(q, k, v))


@pytest.mark.parametrize("name", ["cudnn", "splash"])
def test_absent_platform_raises_with_the_reason(name):
    q, k, v, _ = draw(16, 1, 3, 3, 1, 1, 8)
    if attention.platform() == "cpu":
        with pytest.raises(ValueError, match=f"attention={name} cannot run: it needs .*, this is cpu"):
            ATTENTION[name](q, k, v)


def lowered(name, platform, dtype):
    shapes = [jax.ShapeDtypeStruct((2, 256, heads, 64), dtype) for heads in (4, 2, 2)]

    def train(q, k, v):
        return jax.grad(lambda q: ATTENTION[name](q, k, v, causal=True).astype("float32").sum())(q)

    with traced_for(platform):
        return jax.jit(train).trace(*shapes).lower(lowering_platforms=(platform,)).as_text()


def test_splash_lowers_for_tpu():
    assert lowered("splash", "tpu", jnp.bfloat16).count("tpu_custom_call") >= 2


@pytest.mark.parametrize(("L", "S"), [(7, 7), (1, 8), (5, 9), (6, 8)])
@pytest.mark.parametrize("arguments", [{"causal": True}, {}, {"causal": True, "window": 3}, {"mask": (1, 1, 1)}])
def test_cudnn_lowers_with_its_gradient_at_odd_lengths(monkeypatch, L, S, arguments):
    monkeypatch.setattr(fused_attention_stablehlo, "check_cudnn_version", lambda: 91100)
    q, k = (jax.ShapeDtypeStruct((2, T, 2, 64), jnp.bfloat16) for T in (L, S))
    static = {name: value for name, value in arguments.items() if name != "mask"}
    masks = [jax.ShapeDtypeStruct((*arguments["mask"], S), jnp.bool_)] if "mask" in arguments else []

    def train(q, k, v, mask=None):
        return jax.grad(lambda *x: ATTENTION["auto"](*x, mask=mask, **static).astype("float32").sum(), (0, 1, 2))(
            q, k, v
        )

    with traced_for("cuda"):
        assert choose(q, k, **static) == "cudnn"
        text = jax.jit(train).trace(q, k, k, *masks).lower(lowering_platforms=("cuda",)).as_text()
    assert "__cudnn$fmha" in text and "SoftmaxBackward" in text


@pytest.mark.parametrize(
    "case", ["causal", "padding", "cross-attention", "queries before all keys", "mask", "window to both sides"]
)
def test_what_cudnn_is_given_means_the_same(monkeypatch, case):
    """The arguments that the wrapper makes, read by XLA in cuDNN's place: odd lengths are padded, and cut again."""
    (B, L, S, H, K, _), arguments = CASES[case]
    arguments = {"causal": True, **arguments} if "window" in arguments else arguments
    real = jax.nn.dot_product_attention
    stand_in = lambda *x, implementation, **rest: real(*x, implementation="xla", **rest)  # noqa: E731
    monkeypatch.setattr(jax.nn, "dot_product_attention", stand_in)
    monkeypatch.setattr(attention, "platform", lambda: "gpu")
    arrays = draw(1, B, L, S, H, K, 8, "bfloat16")
    result = value_and_gradients(ATTENTION["cudnn"], *arrays, **arguments)
    assert_close(result, oracle(*arrays, **arguments), "bfloat16")


def test_cudnn_lowers(monkeypatch):
    monkeypatch.setattr(fused_attention_stablehlo, "check_cudnn_version", lambda: 91100)
    assert "__cudnn$fmhaSoftmaxBackward" in lowered("cudnn", "cuda", jnp.bfloat16)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("name", ["reference", "xla", "blockwise"])
def test_portable_ones_lower_everywhere(name, platform):
    assert "stablehlo" in lowered(name, platform, jnp.bfloat16)


@pytest.mark.parametrize("num_past", [0, 4, 7])
def test_a_step_reads_the_cache_and_itself(num_past):
    """Against the formula in float64; places that are not filled yet have no weight, whatever they hold."""
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((2, heads, 5)) for heads in (6, 3, 3))
    past_k, past_v = rng.standard_normal((2, 2, 3, 7, 5))
    keys, values = (
        np.concatenate([past[:, :, :num_past], own[:, :, None]], 2).repeat(2, 1)
        for past, own in ((past_k, k), (past_v, v))
    )
    weights = np.exp(np.einsum("bhd,bhsd->bhs", q, keys) / 5**0.5)
    expected = np.einsum("bhs,bhsd->bhd", weights / weights.sum(-1, keepdims=True), values)
    arrays = [jnp.asarray(x, jnp.float32) for x in (q, k, v, past_k, past_v)]
    np.testing.assert_allclose(jax.jit(next_step)(*arrays, num_past), expected, atol=1e-6)
    low = jax.jit(next_step)(*(x.astype(jnp.bfloat16) for x in arrays), num_past)
    assert low.dtype == jnp.bfloat16
    np.testing.assert_allclose(low.astype(np.float32), expected, atol=0.05)
