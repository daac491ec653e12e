"""Attention behind one signature: `ATTENTION[name](q, k, v, *, mask, causal, lengths, window)`.

B batch, L queries, S keys (source), H heads of the queries, K heads of keys and values (K divides H), Dh width
of a head.

Every implementation takes unscaled q (B, L, H, Dh) and k, v (B, S, K, Dh) and returns (B, L, H, Dh) in q's dtype:
softmax(q k^T / sqrt(Dh)) v, with scores, softmax and sums in float32 (Vaswani et al. 2017, arXiv 1706.03762).

- mask: boolean, True = may attend, broadcastable to (B, H, L, S).
- causal: query i, at position i + S - L, sees keys up to its own position.
- lengths: (B,) integers; row b has that many real keys.
- window: a query sees keys less than `window` positions away.

A query that sees no key gives zeros and zero gradients. A key, value or query that takes no part in any visible
pair has no effect, whatever it holds (NaN included). An implementation that cannot honour an argument, a shape, a
dtype or the platform raises ValueError with the reason; nothing falls back silently.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from transformer_jax.ops import blockwise, masks


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


def attention_weights(
    q_BxLxHxDh, k_BxSxKxDh, *, mask=None, causal=False, lengths=None, window=None
) -> jax.Array:
    """The weights (B, H, L, S), float32 (float64 for float64 inputs); a row sums to one, or to zero."""
    _check(q_BxLxHxDh, k_BxSxKxDh, k_BxSxKxDh, mask, lengths, window)
    B, L, H, Dh = q_BxLxHxDh.shape
    S, K = k_BxSxKxDh.shape[1:3]
    dtype = jnp.promote_types(q_BxLxHxDh.dtype, jnp.float32)
    q = q_BxLxHxDh.reshape(B, L, K, H // K, Dh)
    scores = jnp.einsum("blkgd,bskd->bkgls", q, k_BxSxKxDh, preferred_element_type=dtype)
    scores = scores.reshape(B, H, L, S) * Dh**-0.5
    seen = masks.whole_mask(L, S, mask=mask, causal=causal, lengths=lengths, window=window)
    if seen is None:
        return jax.nn.softmax(scores, axis=-1)
    top = jax.lax.stop_gradient(
        jnp.max(scores, axis=-1, keepdims=True, where=seen, initial=jnp.finfo(dtype).min)
    )
    weights = jnp.where(seen, jnp.exp(jnp.where(seen, scores - top, 0)), 0)
    total = weights.sum(-1, keepdims=True)
    return weights / jnp.where(total == 0, 1, total)


def reference(q_BxLxHxDh, k_BxSxKxDh, v_BxSxKxDh, *, mask=None, causal=False, lengths=None, window=None):
    """The formula, in plain einsum: stores all B*H*L*S weights."""
    q, k, v = q_BxLxHxDh, k_BxSxKxDh, v_BxSxKxDh
    _check(q, k, v, mask, lengths, window)
    q, k, v, _ = _drop_unseen(q, k, v, mask, causal, lengths, window)
    weights = attention_weights(q, k, mask=mask, causal=causal, lengths=lengths, window=window)
    B, H, L, S = weights.shape
    K = k.shape[2]
    weights = weights.astype(q.dtype).reshape(B, K, H // K, L, S)
    out = jnp.einsum(
        "bkgls,bskd->blkgd", weights, v, preferred_element_type=jnp.promote_types(q.dtype, jnp.float32)
    )
    return out.reshape(q.shape).astype(q.dtype)


def xla(q_BxLxHxDh, k_BxSxKxDh, v_BxSxKxDh, *, mask=None, causal=False, lengths=None, window=None):
    """`jax.nn.dot_product_attention` as XLA compiles it: stores the weights, works everywhere."""
    q, k, v = q_BxLxHxDh, k_BxSxKxDh, v_BxSxKxDh
    _check(q, k, v, mask, lengths, window)
    q, k, v, queries = _drop_unseen(q, k, v, mask, causal, lengths, window)
    L, S = q.shape[1], k.shape[1]
    aligned = causal and L == S  # elsewhere jax.nn counts positions from the first key
    seen = masks.whole_mask(L, S, mask=mask, causal=causal and not aligned, lengths=lengths, window=window)
    out = jax.nn.dot_product_attention(q, k, v, mask=seen, is_causal=aligned, implementation="xla")
    return out if queries is None else jnp.where(queries, out, 0)


def blockwise_attention(
    q_BxLxHxDh, k_BxSxKxDh, v_BxSxKxDh, *, mask=None, causal=False, lengths=None, window=None
):
    """Exact attention in memory linear in L and S; see `ops/blockwise.py`."""
    q, k, v = q_BxLxHxDh, k_BxSxKxDh, v_BxSxKxDh
    _check(q, k, v, mask, lengths, window)
    q, k, v, _ = _drop_unseen(q, k, v, mask, causal, lengths, window)
    return blockwise.attend(q, k, v, mask=mask, causal=causal, lengths=lengths, window=window)


def choose(q, k, *, mask=None, causal=False, lengths=None, window=None) -> str:
    """The name of the implementation that `auto` takes for these arguments (arrays or ShapeDtypeStructs)."""
    return "reference" if q.shape[1] * k.shape[1] <= 512 * 512 else "blockwise"


def auto(q_BxLxHxDh, k_BxSxKxDh, v_BxSxKxDh, *, mask=None, causal=False, lengths=None, window=None):
    """The implementation that `choose` names for the platform, the shapes and the mask."""
    arguments = {"mask": mask, "causal": causal, "lengths": lengths, "window": window}
    return ATTENTION[choose(q_BxLxHxDh, k_BxSxKxDh, **arguments)](
        q_BxLxHxDh, k_BxSxKxDh, v_BxSxKxDh, **arguments
    )


ATTENTION: dict[str, Callable[..., jax.Array]] = {
    "reference": reference,
    "xla": xla,
    "blockwise": blockwise_attention,
    "auto": auto,
}
