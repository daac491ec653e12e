"""Attention behind one signature: `ATTENTION[name](q, k, v, *, mask, causal, lengths, window, score)`.

B batch, L queries, S keys (source), H heads of the queries, K heads of keys and values (K divides H), Dh width
of a head.

Every implementation takes unscaled q (B, L, H, Dh) and k, v (B, S, K, Dh) and returns (B, L, H, Dh) in q's dtype:
softmax(q k^T / sqrt(Dh)) v, with scores, softmax and sums in float32 (Vaswani et al. 2017, arXiv 1706.03762).

- mask: boolean, True = may attend, broadcastable to (B, H, L, S).
- causal: query i, at position i + S - L, sees keys up to its own position.
- lengths: (B,) integers; row b has that many real keys.
- window: a query sees keys less than `window` positions away.
- score: how a query and a key are compared, a key of SCORES, with its `score_weights`; anything but `scaled_dot` takes
  the place of q k^T / sqrt(Dh) in the formula, and kernels that have that one built in refuse it.

A query that sees no key gives zeros and zero gradients; so do sizes of zero. A key, value or query that takes no part
in any visible pair has no effect, whatever it holds (NaN included). An implementation that cannot honour an argument,
a shape, a dtype or the platform raises ValueError with the reason; nothing falls back silently.

Reverse mode only (no jvp) for `blockwise` and the recurrences.
Not here: tokamax (Pallas kernels for NVIDIA and TPU), because every release to 0.0.12 pins typeguard 2.13.3 and tyro
needs 4 or newer, so that the two do not install together; and JAX's own Triton kernel, deprecated in its favour. On
NVIDIA in float32, which cuDNN does not take, `auto` therefore is `blockwise`.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from transformer_jax.ops import blockwise, masks
from transformer_jax.ops.devices import platform
from transformer_jax.ops.scores import SCORES, normalised

SCALED_DOT = "scaled_dot"
SCORED = ("reference", "auto")
"""The implementations that take every score."""
SMALL = 96 * 96
"""Up to so many scores in a head the formula is the fastest on CPU (64 x 64 is), beyond it blocks (128 x 128)."""


def _check(q, k, v, mask, lengths, window) -> None:
    B, L, H, Dh = q.shape
    S, K = k.shape[1:3]
    if k.shape != (B, S, K, Dh) or v.shape != k.shape:
        raise ValueError(f"q is (B, L, H, Dh) and k, v (B, S, K, Dh); given {q.shape}, {k.shape}, {v.shape}")
    if H % K:
        raise ValueError(f"{K} heads of keys and values do not divide {H} heads of queries")
    if not q.dtype == k.dtype == v.dtype:
        raise ValueError(f"q, k and v differ in dtype: {q.dtype}, {k.dtype}, {v.dtype}")
    if mask is not None:
        if mask.dtype != jnp.bool_:
            raise ValueError(f"mask must be boolean (True = may attend), not {mask.dtype}")
        if mask.ndim > 4 or jnp.broadcast_shapes(mask.shape, (B, H, L, S)) != (B, H, L, S):
            raise ValueError(f"mask {mask.shape} does not broadcast to (B, H, L, S) = {(B, H, L, S)}")
    if lengths is not None and (lengths.shape != (B,) or not jnp.issubdtype(lengths.dtype, jnp.integer)):
        raise ValueError(f"lengths must be (B,) = {(B,)} integers, not {lengths.shape} {lengths.dtype}")
    if window is not None and window < 1:
        raise ValueError(f"window must be at least 1 (itself), not {window}")


def _drop_unseen(q, k, v, mask, causal, lengths, window):
    """q, k, v with zeros where nothing can be seen, and which queries see a key (B|1, L, H|1, 1), or None."""
    L, (S, K) = q.shape[1], k.shape[1:3]
    arguments = {"mask": mask, "causal": causal, "lengths": lengths, "window": window}
    queries, keys = masks.seen(L, S, **arguments)
    if queries is None:
        return q, k, v, None
    if keys.shape[1] > 1:  # a key counts when any head of its group sees it
        keys = keys.reshape(keys.shape[0], K, -1, S).any(2)
    queries, keys = (jnp.swapaxes(seen, 1, 2)[..., None] for seen in (queries, keys))
    return jnp.where(queries, q, 0), jnp.where(keys, k, 0), jnp.where(keys, v, 0), queries


def _entry(attend):
    """`attend` as ATTENTION promises it: arguments are checked first, and without a query or a key there are zeros."""

    @functools.wraps(attend)
    def call(
        q_BxLxHxDh, k_BxSxKxDh, v_BxSxKxDh, *,
        mask=None, causal=False, lengths=None, window=None, score=SCALED_DOT, score_weights=(),
    ):  # fmt: skip
        _check(q_BxLxHxDh, k_BxSxKxDh, v_BxSxKxDh, mask, lengths, window)
        arguments = {"mask": mask, "causal": causal, "lengths": lengths, "window": window}
        _demand(attend.__name__, q_BxLxHxDh, k_BxSxKxDh, **arguments, score=score)
        if not (q_BxLxHxDh.size and k_BxSxKxDh.size):
            return jnp.zeros_like(q_BxLxHxDh)
        if score != SCALED_DOT:
            arguments |= {"score": score, "score_weights": score_weights}
        return attend(q_BxLxHxDh, k_BxSxKxDh, v_BxSxKxDh, **arguments)

    return call


def attention_weights(
    q_BxLxHxDh, k_BxSxKxDh, *,
    mask=None, causal=False, lengths=None, window=None, score=SCALED_DOT, score_weights=(),
) -> jax.Array:  # fmt: skip
    """The weights (B, H, L, S), float32 (float64 for float64 inputs); a row sums to one, or to zero."""
    _check(q_BxLxHxDh, k_BxSxKxDh, k_BxSxKxDh, mask, lengths, window)
    seen = masks.whole_mask(
        q_BxLxHxDh.shape[1], k_BxSxKxDh.shape[1], mask=mask, causal=causal, lengths=lengths, window=window
    )
    return normalised(SCORES[score](q_BxLxHxDh, k_BxSxKxDh, *score_weights), seen)


@_entry
def reference(q_BxLxHxDh, k_BxSxKxDh, v_BxSxKxDh, *, mask=None, causal=False, lengths=None, window=None, **scored):
    """The formula, in plain einsum: stores all B*H*L*S weights."""
    q, k, v = q_BxLxHxDh, k_BxSxKxDh, v_BxSxKxDh
    q, k, v, _ = _drop_unseen(q, k, v, mask, causal, lengths, window)
    weights = attention_weights(q, k, mask=mask, causal=causal, lengths=lengths, window=window, **scored)
    B, H, L, S = weights.shape
    K = k.shape[2]
    weights = weights.astype(q.dtype).reshape(B, K, H // K, L, S)
    out = jnp.einsum("bkgls,bskd->blkgd", weights, v, preferred_element_type=jnp.promote_types(q.dtype, jnp.float32))
    return out.reshape(q.shape).astype(q.dtype)


def next_step(q_BxHxDh, k_BxKxDh, v_BxKxDh, past_k_BxKxSxDh, past_v_BxKxSxDh, num_past) -> jax.Array:
    """One query of every sequence over the first `num_past` of S cached keys and over its own: out_BxHxDh.

    The step of decoding: cached keys and values are read once and nothing of their size is written, so that the
    cache can be extended in place afterwards. Cached places from `num_past` on get no weight, but must be finite.
    """
    q, k, v = q_BxHxDh, k_BxKxDh, v_BxKxDh
    (B, K, S, Dh), dtype = past_k_BxKxSxDh.shape, jnp.promote_types(q.dtype, jnp.float32)
    q = q.reshape(B, K, -1, Dh)
    # Elementwise, because a matmul over one key is slower; the cache's products are plain (G, Dh) @ (Dh, S).
    own_BxKxGx1 = jnp.sum(q.astype(dtype) * k[:, :, None].astype(dtype), -1, keepdims=True) * Dh**-0.5
    scores_BxKxGxS = jnp.einsum("bkgd,bksd->bkgs", q, past_k_BxKxSxDh, preferred_element_type=dtype) * Dh**-0.5
    scores_BxKxGxS = jnp.where(jnp.arange(S) < num_past, scores_BxKxGxS, -jnp.inf)
    top = jnp.maximum(scores_BxKxGxS.max(-1, keepdims=True), own_BxKxGx1)
    weights_BxKxGxS, own_BxKxGx1 = jnp.exp(scores_BxKxGxS - top), jnp.exp(own_BxKxGx1 - top)
    total = weights_BxKxGxS.sum(-1, keepdims=True) + own_BxKxGx1
    out = jnp.einsum("bkgs,bksd->bkgd", weights_BxKxGxS.astype(v.dtype), past_v_BxKxSxDh, preferred_element_type=dtype)
    out = (out + own_BxKxGx1 * v[:, :, None].astype(dtype)) / total
    return out.reshape(q_BxHxDh.shape).astype(q_BxHxDh.dtype)


@_entry
def xla(q_BxLxHxDh, k_BxSxKxDh, v_BxSxKxDh, *, mask=None, causal=False, lengths=None, window=None):
    """`jax.nn.dot_product_attention` as XLA compiles it: stores the weights, works everywhere."""
    q, k, v = q_BxLxHxDh, k_BxSxKxDh, v_BxSxKxDh
    q, k, v, queries = _drop_unseen(q, k, v, mask, causal, lengths, window)
    L, S = q.shape[1], k.shape[1]
    aligned = causal and L == S  # elsewhere jax.nn counts positions from the first key
    seen = masks.whole_mask(L, S, mask=mask, causal=causal and not aligned, lengths=lengths, window=window)
    out = jax.nn.dot_product_attention(q, k, v, mask=seen, is_causal=aligned, implementation="xla")
    return out if queries is None else jnp.where(queries, out, 0)


@_entry
def blockwise_attention(q_BxLxHxDh, k_BxSxKxDh, v_BxSxKxDh, *, mask=None, causal=False, lengths=None, window=None):
    """Exact attention in memory linear in L and S; see `ops/blockwise.py`."""
    q, k, v = q_BxLxHxDh, k_BxSxKxDh, v_BxSxKxDh
    q, k, v, _ = _drop_unseen(q, k, v, mask, causal, lengths, window)
    return blockwise.attend(q, k, v, mask=mask, causal=causal, lengths=lengths, window=window)


@_entry
def cudnn(q_BxLxHxDh, k_BxSxKxDh, v_BxSxKxDh, *, mask=None, causal=False, lengths=None, window=None):
    """cuDNN's fused kernel through `jax.nn.dot_product_attention`: NVIDIA, float16 and bfloat16."""
    q, k, v = q_BxLxHxDh, k_BxSxKxDh, v_BxSxKxDh
    arguments = {"mask": mask, "causal": causal, "lengths": lengths, "window": window}
    q, k, v, queries = _drop_unseen(q, k, v, **arguments)
    L, S = q.shape[1], k.shape[1]
    aligned = causal and L == S  # cuDNN, too, counts positions from the first key
    rest = masks.whole_mask(L, S, mask=mask, causal=causal and not aligned, window=None if aligned else window)
    if L % 2 or S % 2:  # JAX has its gradient for even lengths only: one more query, one more key that none sees
        lengths = jnp.full(q.shape[:1], S) if lengths is None else lengths
        q, k, v = (jnp.pad(x, [(0, 0), (0, x.shape[1] % 2), (0, 0), (0, 0)]) for x in (q, k, v))
    if rest is not None:
        rest = jnp.broadcast_to(rest, (*rest.shape[:2], L, S))
        rest = jnp.pad(rest, [(0, 0), (0, 0), (0, L % 2), (0, S % 2)])
    out = jax.nn.dot_product_attention(
        q, k, v,
        mask=rest,
        is_causal=aligned,
        key_value_seq_lengths=None if lengths is None else lengths.astype(jnp.int32),
        local_window_size=(window - 1, 0) if window is not None and aligned else None,
        implementation="cudnn",
    )[:, :L]  # fmt: skip
    return out if queries is None else jnp.where(queries, out, 0)


def _splash_block(length: int) -> int:
    """MaxText's 512 where that pads little (the kernel's own default of 128 is marked as a placeholder); not timed."""
    enough = max(length + -length % 128, length * 9 // 8)
    return next(block for block in (512, 256, 128) if length + -length % block <= enough)


@_entry
def splash(q_BxLxHxDh, k_BxSxKxDh, v_BxSxKxDh, *, mask=None, causal=False, lengths=None, window=None):
    """JAX's splash attention, a Pallas kernel for TPU: blocks that positions hide are skipped."""
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernel
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as splash_mask

    q, k, v = q_BxLxHxDh, k_BxSxKxDh, v_BxSxKxDh
    arguments = {"mask": mask, "causal": causal, "lengths": lengths, "window": window}
    q, k, v, queries = _drop_unseen(q, k, v, **arguments)
    (B, L, H, Dh), S = q.shape, k.shape[1]
    blind = min(L, max(0, L - S if causal else L - S - window + 1 if window is not None else 0))
    if blind == L:
        return jnp.zeros_like(q)
    # Queries that stand before all keys would leave the kernel's softmax undefined: they are cut off, then zero.
    rows, offset = L - blind, S - L + blind
    block_q, block_kv = _splash_block(rows), _splash_block(S)
    blocks = kernel.BlockSizes(
        block_q=block_q, block_kv=block_kv,
        block_q_dkv=block_q, block_kv_dkv=block_kv,
        block_q_dq=block_q, block_kv_dq=block_kv,
    )  # fmt: skip
    pad = lambda x, block: jnp.pad(x, [(0, 0), (0, -x.shape[1] % block), (0, 0), (0, 0)]).swapaxes(1, 2)  # noqa: E731
    q_BxHxLxDh = pad(q[:, blind:] * jnp.asarray(Dh**-0.5, q.dtype), block_q)
    k, v = pad(k, block_kv), pad(v, block_kv)
    shape = q_BxHxLxDh.shape[2], k.shape[2]
    sides = (None if window is None else window - 1, 0 if causal else None if window is None else window - 1)
    local = splash_mask.FullMask(shape) if sides == (None, None) else splash_mask.LocalMask(shape, sides, offset)
    attend = kernel.make_splash_mha_single_device(splash_mask.MultiHeadMask([local] * H), block_sizes=blocks)
    real = jnp.full((B,), S) if lengths is None else lengths
    segments = kernel.SegmentIds(
        jnp.ones((B, shape[0]), jnp.int32), (jnp.arange(shape[1]) < real[:, None]).astype(jnp.int32)
    )
    out = jax.vmap(attend)(q_BxHxLxDh, k, v, segments).swapaxes(1, 2)[:, :rows]
    out = jnp.pad(out, [(0, 0), (blind, 0), (0, 0), (0, 0)])
    return out if queries is None else jnp.where(queries, out, 0)


def refusal(name: str, q, k, *, mask=None, causal=False, lengths=None, window=None, score=SCALED_DOT) -> str | None:
    """Why an implementation cannot run here on these arguments (arrays or ShapeDtypeStructs); None: it can."""
    if score not in SCORES:
        return f"there is no score {score!r}; there are {', '.join(SCORES)}"
    if score != SCALED_DOT and name not in SCORED:
        return f"it computes the score {SCALED_DOT} alone, not {score}"
    half, Dh, here = q.dtype in (jnp.float16, jnp.bfloat16), q.shape[-1], platform()
    reasons: dict[str, list[tuple[bool, str]]] = {
        "xla": [(here == "cpu" and q.dtype == jnp.float16, "jax.nn has no float16 product on CPU")],
        "cudnn": [
            (here != "gpu", f"it needs an NVIDIA GPU, this is {here}"),
            (not half, f"it takes float16 and bfloat16, not {q.dtype}"),
            (Dh % 8 != 0 or Dh > 128, f"it takes heads of width 8, 16, ... 128, not {Dh}"),
            (window is not None and not causal, "it has a window only together with causal"),
        ],
        "splash": [
            (here != "tpu", f"it needs a TPU, this is {here}"),
            (mask is not None, "it takes causal, lengths and window, but no mask"),
            (q.dtype not in (jnp.float32, jnp.bfloat16), f"it takes float32 and bfloat16, not {q.dtype}"),
        ],
    }
    return next((reason for refused, reason in reasons.get(name, []) if refused), None)


def _demand(name: str, q, k, **arguments) -> None:
    if reason := refusal(name, q, k, **arguments):
        able = [other for other in ATTENTION if other != "auto" and refusal(other, q, k, **arguments) is None]
        raise ValueError(f"attention={name} cannot run: {reason}; these can: {', '.join(able)}")


def choose(q, k, *, mask=None, causal=False, lengths=None, window=None, score=SCALED_DOT) -> str:
    """The name of the implementation that `auto` takes for these arguments (arrays or ShapeDtypeStructs).

    The fused kernel of the platform where it can run; else the plain formula while a head has at most SMALL scores,
    and `blockwise` beyond. SMALL is measured on CPU; the order on GPU and TPU is not. Other scores than scaled_dot have
    the formula alone.
    """
    if score != SCALED_DOT:
        return "reference"
    for name in ("cudnn", "splash"):
        if refusal(name, q, k, mask=mask, causal=causal, lengths=lengths, window=window) is None:
            return name
    return "reference" if q.shape[1] * k.shape[1] <= SMALL else "blockwise"


@_entry
def auto(q_BxLxHxDh, k_BxSxKxDh, v_BxSxKxDh, *, mask=None, causal=False, lengths=None, window=None, **scored):
    """The implementation that `choose` names for the platform, the shapes, the mask and the score."""
    arguments = {"mask": mask, "causal": causal, "lengths": lengths, "window": window}
    name = choose(q_BxLxHxDh, k_BxSxKxDh, **arguments, score=scored.get("score", SCALED_DOT))
    return ATTENTION[name](q_BxLxHxDh, k_BxSxKxDh, v_BxSxKxDh, **arguments, **scored)


ATTENTION: dict[str, Callable[..., jax.Array]] = {
    "reference": reference,
    "xla": xla,
    "blockwise": blockwise_attention,
    "cudnn": cudnn,
    "splash": splash,
    "auto": auto,
}
