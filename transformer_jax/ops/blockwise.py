"""Exact attention in memory linear in the sequence: online softmax by blocks, recomputed for gradients.

B batch, L queries, S keys, K heads of keys and values, G query heads to each of them, Dh width of a head; R rows of a
block (queries times G), C columns (keys).

The method is that of Rabe & Staats 2021 (arXiv 2112.05682) and FlashAttention-2 (arXiv 2307.08691): the forward pass
keeps a running maximum and sum for each query, the backward pass rebuilds the weights from their log-sum-exp.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

BLOCK = 256  # queries and keys of one block
LANES = 4  # heads worked on side by side in one step of the loop
LOW = -1e30  # stands for minus infinity, so that the difference of two is no NaN


class _Call(NamedTuple):
    """What is static about one call."""

    num_queries: int
    num_keys: int
    heads: int  # K
    group: int  # G
    causal: bool
    window: int | None
    rows: int  # queries in a block
    columns: int  # keys in a block
    lanes: int


def block_pairs(call: _Call) -> tuple[np.ndarray, np.ndarray]:
    """((N, 2), (M, 2)): blocks (query block, key block) seen whole, and those where positions hide a part.

    Blocks that hold no visible score are in neither.
    """
    L, S, rows, columns = call.num_queries, call.num_keys, call.rows, call.columns
    i, j = np.arange(-(-L // rows))[:, None], np.arange(-(-S // columns))[None]
    first, last = i * rows + S - L, np.minimum((i + 1) * rows, L) - 1 + S - L
    start, end = j * columns, np.minimum((j + 1) * columns, S) - 1
    whole = ((i + 1) * rows <= L) & ((j + 1) * columns <= S)
    some = np.ones_like(whole)
    if call.causal:
        some, whole = some & (start <= last), whole & (end <= first)
    if call.window is not None:
        some, whole = some & (end > first - call.window), whole & (start > last - call.window)
        some, whole = some & (start < last + call.window), whole & (end < first + call.window)
    return np.argwhere(some & whole), np.argwhere(some & ~whole)


def visited_scores(num_queries: int, num_keys: int, *, causal: bool, window: int | None = None) -> int:
    """How many scores a head computes in the forward pass; the backward pass computes the same ones again."""
    call = _plan((1, num_queries, 1, 1), (1, num_keys, 1, 1), causal, window)
    return sum(map(len, block_pairs(call))) * call.rows * call.columns


def _plan(q_shape, k_shape, causal, window) -> _Call:
    B, L, H, _ = q_shape
    S, K = k_shape[1:3]
    lanes = next(n for n in range(LANES, 0, -1) if B * K % n == 0)
    return _Call(L, S, K, H // K, causal, window, min(BLOCK, L), min(BLOCK, S), lanes)


def attend(q_BxLxHxDh, k_BxSxKxDh, v_BxSxKxDh, *, mask=None, causal=False, lengths=None, window=None):
    """Attention as `ops/attention.py` defines it; the arguments are taken as checked.

    Temporary memory is O(B * (L * H + S * K) * Dh) forward and backward, whatever the product L * S.
    """
    if mask is not None:
        mask = mask.reshape((1,) * (4 - mask.ndim) + mask.shape)
    call = _plan(q_BxLxHxDh.shape, k_BxSxKxDh.shape, causal, window)
    return _attend(call, q_BxLxHxDh, k_BxSxKxDh, v_BxSxKxDh, mask, lengths)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(call, q, k, v, mask, lengths):
    return _forward(call, q, k, v, mask, lengths)[0]


def _forward(call, q, k, v, mask, lengths):
    B, L, _, Dh = q.shape
    dtype = jnp.promote_types(q.dtype, jnp.float32)
    turns = B * call.heads // call.lanes

    def step(lane, at, carry, hidden):
        top, total, out = (_rows(x, lane.turn, at.query, call.rows) for x in carry)
        top, total = top[:, 0], total[:, 0]
        q_RxDh = _block(q, lane, at.query, call.rows, call.group, dtype) * Dh**-0.5
        k_CxDh, v_CxDh = (_block(x, lane, at.key, call.columns, 1, dtype) for x in (k, v))
        scores = q_RxDh @ k_CxDh.T
        if hidden:
            seen = _seen(call, lane, at, mask, lengths)
            scores = jnp.where(seen, scores, LOW)
        new_top = jnp.maximum(top, scores.max(-1))
        weights = jnp.exp(scores - new_top[:, None])
        if hidden:
            weights = jnp.where(seen, weights, 0)
        keep = jnp.exp(top - new_top)
        new = new_top, total * keep + weights.sum(-1), out * keep[:, None] + weights @ v_CxDh
        return tuple(_write(x, y, lane.turn, at.query) for x, y in zip(carry, new, strict=True))

    row = (turns, L, call.group)
    start = jnp.full((*row, 1), LOW, dtype), jnp.zeros((*row, 1), dtype), jnp.zeros((*row, Dh), dtype)
    lanes = _walk(call, turns, step, start, mask is not None or lengths is not None)
    totals = [jnp.where(total > 0, total, 1) for _, total, _ in lanes]
    out = _join(call, [out / total for (_, _, out), total in zip(lanes, totals, strict=True)]).astype(q.dtype)
    logs = tuple(jnp.where(top > LOW, top, 0) + jnp.log(s) for (top, _, _), s in zip(lanes, totals, strict=True))
    return out, (q, k, v, mask, lengths, out, logs)


def _backward(call, residuals, d_out):
    q, k, v, mask, lengths, out, logs = residuals
    B, L, _, Dh = q.shape
    dtype, scale = logs[0].dtype, Dh**-0.5
    turns = B * call.heads // call.lanes
    delta = (d_out.astype(dtype) * out.astype(dtype)).sum(-1).reshape(B, L, call.heads, call.group)
    delta = delta.transpose(0, 2, 1, 3).reshape(turns, call.lanes, L, call.group, 1)

    def step(lane, at, carry, hidden):
        q_RxDh, d_RxDh = (_block(x, lane, at.query, call.rows, call.group, dtype) for x in (q, d_out))
        k_CxDh, v_CxDh = (_block(x, lane, at.key, call.columns, 1, dtype) for x in (k, v))
        q_RxDh = q_RxDh * scale
        log_1xR = _rows(logs[lane.index], lane.turn, at.query, call.rows).T
        delta_1xR = _rows(delta[:, lane.index], lane.turn, at.query, call.rows).T
        # Keys down, queries across: every product then contracts a last axis with a first or a last one.
        weights_CxR = jnp.exp(k_CxDh @ q_RxDh.T - log_1xR)
        if hidden:
            weights_CxR = jnp.where(_seen(call, lane, at, mask, lengths).T, weights_CxR, 0)
        slope_CxR = weights_CxR * (v_CxDh @ d_RxDh.T - delta_1xR)
        dq, dk, dv = carry
        return (
            _add(dq, ((k_CxDh * scale).T @ slope_CxR).T, lane.turn, at.query),
            _add(dk, slope_CxR @ q_RxDh, lane.turn, at.key),
            _add(dv, weights_CxR @ d_RxDh, lane.turn, at.key),
        )

    start = tuple(
        jnp.zeros((turns, length, group, Dh), dtype)
        for length, group in ((L, call.group), (call.num_keys, 1), (call.num_keys, 1))
    )
    lanes = _walk(call, turns, step, start, mask is not None or lengths is not None)
    dq, dk, dv = (_join(call, parts).astype(q.dtype) for parts in zip(*lanes, strict=True))
    return dq, dk, dv, None, None


_attend.defvjp(_forward, _backward)


class _Lane(NamedTuple):
    """The head that one lane works on in this step."""

    index: int
    turn: jax.Array
    batch: jax.Array
    head: jax.Array


class _At(NamedTuple):
    """Where a block lies: the last one starts early enough to fit, and its own part starts at `from_*`."""

    query: jax.Array
    key: jax.Array
    from_query: jax.Array
    from_key: jax.Array


def _walk(call, turns, step, start, masked):
    """Every lane's carry after all blocks of all its heads: first the blocks with hidden scores, then the others."""

    def body(hidden, carries, indices):
        turn, i, j = indices
        query, key = i * call.rows, j * call.columns
        at = _At(
            jnp.minimum(query, call.num_queries - call.rows), jnp.minimum(key, call.num_keys - call.columns), query, key
        )
        heads = [divmod(turn * call.lanes + lane, call.heads) for lane in range(call.lanes)]
        lanes = [_Lane(index, turn, batch, head) for index, (batch, head) in enumerate(heads)]
        return tuple(step(lane, at, carry, hidden) for lane, carry in zip(lanes, carries, strict=True)), None

    whole, partial = block_pairs(call)
    if masked:
        whole, partial = whole[:0], np.concatenate([partial, whole])
    carries = (start,) * call.lanes
    for hidden, pairs in ((True, partial), (False, whole)):
        if len(pairs):
            turn = np.repeat(np.arange(turns), len(pairs))
            i, j = np.tile(pairs, (turns, 1)).T
            carries, _ = jax.lax.scan(functools.partial(body, hidden), carries, (turn, i, j))
    return carries


def _seen(call, lane, at, mask, lengths):
    """(R, C): which of a block's scores count, each score in one block only."""
    row, key = at.query + jnp.arange(call.rows)[:, None], at.key + jnp.arange(call.columns)
    position = row + call.num_keys - call.num_queries
    seen = (row >= at.from_query) & (key >= at.from_key)
    if call.causal:
        seen &= key <= position
    if call.window is not None:
        seen &= jnp.abs(position - key) < call.window
    if lengths is not None:
        seen &= key < lengths[lane.batch]
    seen = seen[:, None]
    if mask is not None:
        many = [size > 1 for size in mask.shape]
        start = (lane.batch, lane.head * call.group, at.query, at.key)
        start = [index if several else 0 for index, several in zip(start, many, strict=True)]
        sizes = (1, call.group, call.rows, call.columns)
        sizes = [size if several else 1 for size, several in zip(sizes, many, strict=True)]
        seen = seen & jax.lax.dynamic_slice(mask, start, sizes)[0].swapaxes(0, 1)
    return jnp.broadcast_to(seen, (call.rows, call.group, call.columns)).reshape(-1, call.columns)


def _block(x, lane, start, size, group, dtype):
    """(size * group, Dh) of one key head's part of x (B, T, heads * group, Dh)."""
    block = jax.lax.dynamic_slice(x, (lane.batch, start, lane.head * group, 0), (1, size, group, x.shape[-1]))
    return block.reshape(-1, x.shape[-1]).astype(dtype)


def _rows(x, turn, start, size):
    """(size * G, N) of x (turns, T, G, N)."""
    return jax.lax.dynamic_slice(x, (turn, start, 0, 0), (1, size, *x.shape[2:])).reshape(-1, x.shape[-1])


def _write(x, rows, turn, start):
    return jax.lax.dynamic_update_slice(x, rows.reshape(1, -1, *x.shape[2:]), (turn, start, 0, 0))


def _add(x, rows, turn, start):
    return _write(x, _rows(x, turn, start, rows.shape[0] // x.shape[2]) + rows, turn, start)


def _join(call, lanes):
    """(B, T, heads, Dh) of one (turns, T, G, Dh) from each lane."""
    x = jnp.stack(lanes, 1)
    x = x.reshape(-1, call.heads, *x.shape[2:]).transpose(0, 2, 1, 3, 4)
    return x.reshape(*x.shape[:2], -1, x.shape[-1])
