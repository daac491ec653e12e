"""Exact attention in memory linear in the sequence: online softmax by blocks, recomputed for gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

BLOCK = 256


def block_pairs(L: int, S: int, block: int, *, causal: bool, window: int | None) -> np.ndarray:
    """(P, 2): the (query block, key block) pairs that hold a visible score, ordered by query block."""
    pairs = []
    for i in range(-(-L // block)):
        first, last = i * block + S - L, min((i + 1) * block, L) - 1 + S - L
        low = 0 if window is None else max(first - window + 1, 0)
        high = last if causal else (S - 1 if window is None else last + window - 1)
        high = min(high, S - 1)
        pairs += [(i, j) for j in range(low // block, high // block + 1)] if high >= low else []
    return np.array(pairs, np.int32).reshape(-1, 2)


def attend(q_BxLxHxDh, k_BxSxKxDh, v_BxSxKxDh, *, mask=None, causal=False, lengths=None, window=None):
    """Attention as in `ops/attention.py`, by blocks."""
    B, L, H, Dh = q_BxLxHxDh.shape
    S, K = k_BxSxKxDh.shape[1:3]
    pad = lambda x, n: jnp.pad(x, [(0, 0), (0, n), (0, 0), (0, 0)])  # noqa: E731
    q = pad(q_BxLxHxDh, -L % BLOCK).transpose(0, 2, 1, 3).reshape(B, K, H // K, -1, Dh)
    k, v = (pad(x, -S % BLOCK).transpose(0, 2, 1, 3) for x in (k_BxSxKxDh, v_BxSxKxDh))
    if mask is not None:
        mask = mask.reshape((1,) * (4 - mask.ndim) + mask.shape)
        mask = jnp.broadcast_to(mask, (*mask.shape[:2], L, S))
        mask = jnp.pad(mask, [(0, 0), (0, 0), (0, -L % BLOCK), (0, -S % BLOCK)])
        mask = (
            mask[:, None] if mask.shape[1] == 1 else mask.reshape(mask.shape[0], K, H // K, *mask.shape[2:])
        )
    out = _core(L, S, causal, window, q, k, v, mask, lengths)
    return out.reshape(B, H, -1, Dh)[:, :, :L].transpose(0, 2, 1, 3)


def _block(sizes, causal, window, i, j, mask, lengths):
    L, S = sizes
    at = i * BLOCK + jnp.arange(BLOCK)[:, None] + S - L
    key = j * BLOCK + jnp.arange(BLOCK)
    seen = key < S
    if causal:
        seen = seen & (key <= at)
    if window is not None:
        seen = seen & (jnp.abs(at - key) < window)
    seen = jnp.broadcast_to(seen, (BLOCK, BLOCK))
    if lengths is not None:
        seen = seen & (key < lengths[:, None, None, None, None])
    if mask is not None:
        part = jax.lax.dynamic_slice_in_dim(mask, i * BLOCK, BLOCK, 3)
        seen = seen & jax.lax.dynamic_slice_in_dim(part, j * BLOCK, BLOCK, 4)
    return seen


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2, 3))
def _core(L, S, causal, window, q, k, v, mask, lengths):
    return _forward(L, S, causal, window, q, k, v, mask, lengths)[0]


def _forward(L, S, causal, window, q, k, v, mask, lengths):
    dtype = jnp.promote_types(q.dtype, jnp.float32)
    scale = q.shape[-1] ** -0.5
    low = jnp.finfo(dtype).min
    cut = lambda x, i: jax.lax.dynamic_slice_in_dim(x, i * BLOCK, BLOCK, -2)  # noqa: E731

    def step(carry, pair):
        i, j = pair
        state = [jax.lax.dynamic_slice_in_dim(x, i * BLOCK, BLOCK, 3) for x in carry]
        top, total, out = state
        scores = jnp.einsum("bkgld,bksd->bkgls", cut(q, i), cut(k, j), preferred_element_type=dtype) * scale
        seen = _block((L, S), causal, window, i, j, mask, lengths)
        new_top = jnp.maximum(top, jnp.max(jnp.where(seen, scores, low), axis=-1))
        p = jnp.where(seen, jnp.exp(scores - new_top[..., None]), 0)
        keep = jnp.exp(top - new_top)
        total = total * keep + p.sum(-1)
        out = out * keep[..., None] + jnp.einsum(
            "bkgls,bksd->bkgld", p.astype(v.dtype), cut(v, j), preferred_element_type=dtype
        )
        state = new_top, total, out
        new = [
            jax.lax.dynamic_update_slice_in_dim(x, y, i * BLOCK, 3) for x, y in zip(carry, state, strict=True)
        ]
        return tuple(new), None

    start = jnp.full(q.shape[:-1], low, dtype), jnp.zeros(q.shape[:-1], dtype), jnp.zeros(q.shape, dtype)
    pairs = block_pairs(L, S, BLOCK, causal=causal, window=window)
    (top, total, out), _ = jax.lax.scan(step, start, (pairs[:, 0], pairs[:, 1]))
    some = total > 0
    out = (out / jnp.where(some, total, 1)[..., None]).astype(q.dtype)
    lse = jnp.where(some, top + jnp.log(jnp.where(some, total, 1)), 0)
    return out, (q, k, v, mask, lengths, out, lse)


def _backward(L, S, causal, window, residuals, d_out):
    q, k, v, mask, lengths, out, lse = residuals
    dtype = lse.dtype
    scale = q.shape[-1] ** -0.5
    delta = (d_out.astype(dtype) * out.astype(dtype)).sum(-1)
    cut = lambda x, i: jax.lax.dynamic_slice_in_dim(x, i * BLOCK, BLOCK, -2)  # noqa: E731
    row = lambda x, i: jax.lax.dynamic_slice_in_dim(x, i * BLOCK, BLOCK, 3)  # noqa: E731
    add = lambda x, y, i: jax.lax.dynamic_update_slice_in_dim(x, cut(x, i) + y, i * BLOCK, -2)  # noqa: E731

    def step(carry, pair):
        i, j = pair
        dq, dk, dv = carry
        qi, kj, vj, do = cut(q, i), cut(k, j), cut(v, j), cut(d_out, i)
        dot = functools.partial(jnp.einsum, preferred_element_type=dtype)
        scores = dot("bkgld,bksd->bkgls", qi, kj) * scale
        seen = _block((L, S), causal, window, i, j, mask, lengths)
        p = jnp.where(seen, jnp.exp(scores - row(lse, i)[..., None]), 0)
        dp = dot("bkgld,bksd->bkgls", do, vj)
        ds = (p * (dp - row(delta, i)[..., None]) * scale).astype(q.dtype)
        dv = add(dv, dot("bkgls,bkgld->bksd", p.astype(q.dtype), do), j)
        dk = add(dk, dot("bkgls,bkgld->bksd", ds, qi), j)
        dq = add(dq, dot("bkgls,bksd->bkgld", ds, kj), i)
        return (dq, dk, dv), None

    pairs = block_pairs(L, S, BLOCK, causal=causal, window=window)
    start = tuple(jnp.zeros(x.shape, dtype) for x in (q, k, v))
    grads, _ = jax.lax.scan(step, start, (pairs[:, 0], pairs[:, 1]))
    return *(g.astype(x.dtype) for g, x in zip(grads, (q, k, v), strict=True)), None, None


_core.defvjp(_forward, _backward)
