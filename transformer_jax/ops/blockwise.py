"""Exact attention in memory linear in the sequence: online softmax by blocks, recomputed for gradients.

B batch, L queries, S keys, K heads of keys and values, G query heads to each of them, Dh width of a head; N = L * G
rows of queries that one key head meets; R rows and C keys of a block.

The method is that of Rabe & Staats 2021 (arXiv 2112.05682) and FlashAttention-2 (arXiv 2307.08691): the forward pass
keeps a running maximum and sum for each query, the backward pass rebuilds the weights from their log-sum-exp.

On a CPU one head and one block run at a time, elsewhere as many heads as make SCORES_AT_ONCE as one batch. What was
tried, and what it gave: docs/notes/blockwise.md.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from transformer_jax.ops.devices import platform, vary_alike

ROWS = 512  # queries times G in a block
KEYS = 512  # keys in a block
WIDE = 2  # small blocks along each side of a wide one
SCORES_AT_ONCE = 2**23  # off the CPU, of as many heads as that takes: 32 MiB an array, 512 tiles of 128 x 128
LOW = -1e30  # a hidden score: LOW - LOW / 2 is still low enough for exp to give 0, and no NaN


class _Call(NamedTuple):
    """What is static about one call."""

    num_queries: int
    num_keys: int
    heads: int  # K
    group: int  # G
    causal: bool
    window: int | None
    queries: int  # in a small block
    keys: int  # in a small block


class Loop(NamedTuple):
    """Blocks of one size."""

    queries: int
    keys: int
    hidden: bool  # whether positions or a mask may hide a part of one
    pairs: np.ndarray  # (n, 2): query block, key block


def _plan(q_shape, k_shape, causal, window) -> _Call:
    (_, L, H, _), (_, S, K, _) = q_shape, k_shape
    return _Call(L, S, K, H // K, causal, window, min(max(ROWS * K // H, 1), L), min(KEYS, S))


def loops(call: _Call, masked: bool) -> list[Loop]:
    """The blocks that hold a visible score; `masked`: a mask or lengths may hide a part of any.

    Where WIDE x WIDE small blocks are seen whole they are taken as one. Blocks that hold no visible score are in none.
    """
    L, S = call.num_queries, call.num_keys
    i, j = np.arange(-(-L // call.queries))[:, None], np.arange(-(-S // call.keys))[None]
    first, last = i * call.queries + S - L, np.minimum((i + 1) * call.queries, L) - 1 + S - L
    start, end = j * call.keys, np.minimum((j + 1) * call.keys, S) - 1
    whole = ((i + 1) * call.queries <= L) & ((j + 1) * call.keys <= S)
    some = np.ones_like(whole)
    if call.causal:
        some, whole = some & (start <= last), whole & (end <= first)
    if call.window is not None:
        some, whole = some & (end > first - call.window), whole & (start > last - call.window)
        some, whole = some & (start < last + call.window), whole & (end < first + call.window)
    whole &= some
    rows, columns = (n // WIDE * WIDE for n in whole.shape)
    wide = whole[:rows, :columns].reshape(rows // WIDE, WIDE, columns // WIDE, WIDE).all((1, 3))
    some[:rows, :columns] &= ~wide.repeat(WIDE, 0).repeat(WIDE, 1)
    parts = some if masked else some & ~whole
    found = [
        Loop(call.queries, call.keys, True, np.argwhere(parts)),
        Loop(call.queries, call.keys, False, np.argwhere(some & ~parts)),
        Loop(WIDE * call.queries, WIDE * call.keys, masked, np.argwhere(wide)),
    ]
    return [loop for loop in found if len(loop.pairs)]


def visited_scores(num_queries: int, num_keys: int, *, causal: bool, window: int | None = None, group: int = 1) -> int:
    """How many scores one query head computes forward; the backward pass computes the same ones again.

    `group` is G, the number of query heads to a key head: a block then holds G times fewer queries.
    """
    call = _plan((1, num_queries, group, 1), (1, num_keys, 1, 1), causal, window)
    return sum(len(loop.pairs) * loop.queries * loop.keys for loop in loops(call, masked=False))


def attend(q_BxLxHxDh, k_BxSxKxDh, v_BxSxKxDh, *, mask=None, causal=False, lengths=None, window=None):
    """Attention as `ops/attention.py` defines it; the arguments are taken as checked.

    Temporary memory is O(B * (L * H + S * K) * Dh) forward and backward, whatever the product L * S.
    """
    if mask is not None:
        mask = mask.reshape((1,) * (4 - mask.ndim) + mask.shape)
    call = _plan(q_BxLxHxDh.shape, k_BxSxKxDh.shape, causal, window)
    return _attend(call, *vary_alike((q_BxLxHxDh, k_BxSxKxDh, v_BxSxKxDh, mask, lengths)))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(call, q, k, v, mask, lengths):
    return _forward(call, q, k, v, mask, lengths)[0]


def _forward(call, q, k, v, mask, lengths):
    dtype = jnp.promote_types(q.dtype, jnp.float32)

    def start(head):
        q_NxDh, k_SxDh, v_SxDh = (_of_head(x, call, head, dtype) for x in (q, k, v))
        carry = jnp.full_like(q_NxDh[:, 0], LOW / 2), jnp.zeros_like(q_NxDh[:, 0]), jnp.zeros_like(q_NxDh)
        return (q_NxDh * q.shape[-1] ** -0.5, k_SxDh.T, v_SxDh), carry

    def step(block, arrays, carry):
        q_NxDh, k_DhxS, v_SxDh = arrays
        top, total, out = map(block.rows, carry)
        scores = block.rows(q_NxDh) @ block.keys(k_DhxS, axis=1)
        if block.loop.hidden:
            scores = jnp.where(block.seen(mask, lengths), scores, LOW)
        new_top = jnp.maximum(top, scores.max(-1))
        weights, keep = jnp.exp(scores - new_top[:, None]), jnp.exp(top - new_top)
        after = new_top, total * keep + weights.sum(-1), out * keep[:, None] + weights @ block.keys(v_SxDh)
        return tuple(_put(x, part, block.row) for x, part in zip(carry, after, strict=True))

    def finish(carry):
        top, total, out = carry
        some = total > 0
        total = jnp.where(some, total, 1)
        return (out / total[:, None]).astype(q.dtype), jnp.where(some, top + jnp.log(total), 0)

    log_BKxN = jnp.zeros_like(q, dtype, shape=(q.shape[0] * call.heads, call.num_queries * call.group))
    over = q, log_BKxN  # an array at hand: one of zeros would be filled first, and early
    out, log_BKxN = _walk(call, over, start, step, finish, mask is not None or lengths is not None)
    return out, (q, k, v, mask, lengths, out, log_BKxN)


def _backward(call, residuals, d_out):
    q, k, v, mask, lengths, out, log_BKxN = residuals
    dtype, scale = log_BKxN.dtype, q.shape[-1] ** -0.5

    def start(head):
        q_NxDh, d_NxDh, out_NxDh, k_SxDh, v_SxDh = (_of_head(x, call, head, dtype) for x in (q, d_out, out, k, v))
        q_NxDh, delta_N = q_NxDh * scale, (d_NxDh * out_NxDh).sum(-1)
        arrays = (q_NxDh, d_NxDh, log_BKxN[head], delta_N), (k_SxDh, v_SxDh), (q_NxDh.T, d_NxDh.T, k_SxDh.T)
        return arrays, tuple(map(jnp.zeros_like, (q_NxDh.T, k_SxDh, v_SxDh)))

    def step(block, arrays, carry):
        q_RxDh, d_RxDh, log_R, delta_R = map(block.rows, arrays[0])
        k_CxDh, v_CxDh = map(block.keys, arrays[1])
        q_DhxN, d_DhxN, k_DhxS = arrays[2]
        dq_DhxN, dk_SxDh, dv_SxDh = carry
        # Keys down, queries across: all five products are then of the plain form (m, k) @ (k, n).
        weights_CxR = jnp.exp(k_CxDh @ block.rows(q_DhxN, axis=1) - log_R)
        if block.loop.hidden:
            weights_CxR = jnp.where(block.seen(mask, lengths).T, weights_CxR, 0)
        slope_CxR = weights_CxR * (v_CxDh @ block.rows(d_DhxN, axis=1) - delta_R)
        dq_DhxR = block.rows(dq_DhxN, axis=1) + block.keys(k_DhxS, axis=1) @ slope_CxR
        dk_CxDh = block.keys(dk_SxDh) + slope_CxR @ q_RxDh
        dv_CxDh = block.keys(dv_SxDh) + weights_CxR @ d_RxDh
        return (
            _put(dq_DhxN, dq_DhxR, block.row, axis=1),
            _put(dk_SxDh, dk_CxDh, block.key),
            _put(dv_SxDh, dv_CxDh, block.key),
        )

    def finish(carry):
        dq_DhxN, dk_SxDh, dv_SxDh = carry
        return (dq_DhxN.T * scale).astype(q.dtype), dk_SxDh.astype(k.dtype), dv_SxDh.astype(v.dtype)

    # Arrays at hand, as in `_forward`: d_out where it fits, as copies of k and v would be made early and kept.
    over = tuple(d_out if (d_out.shape, d_out.dtype) == (x.shape, x.dtype) else x for x in (q, k, v))
    return *_walk(call, over, start, step, finish, mask is not None or lengths is not None), None, None


_attend.defvjp(_forward, _backward)


class _Block(NamedTuple):
    """One block of one key head's scores.

    The last block of an axis starts early enough to fit; only what lies from `own_*` on is its own.
    """

    call: _Call
    loop: Loop
    head: jax.Array  # among the B * K
    own_query: jax.Array
    own_key: jax.Array

    @property
    def query(self):
        return jnp.minimum(self.own_query, self.call.num_queries - self.loop.queries)

    @property
    def row(self):
        return self.query * self.call.group

    @property
    def key(self):
        return jnp.minimum(self.own_key, self.call.num_keys - self.loop.keys)

    def rows(self, x, axis=0):
        return jax.lax.dynamic_slice_in_dim(x, self.row, self.loop.queries * self.call.group, axis)

    def keys(self, x, axis=0):
        return jax.lax.dynamic_slice_in_dim(x, self.key, self.loop.keys, axis)

    def seen(self, mask, lengths):
        """(R, C): which scores count, each in one block only."""
        call, (batch, head) = self.call, divmod(self.head, self.call.heads)
        queries, keys = self.loop.queries, self.loop.keys
        query, key = self.query + jnp.arange(queries)[:, None], self.key + jnp.arange(keys)
        position = query + call.num_keys - call.num_queries
        seen = (query >= self.own_query) & (key >= self.own_key)
        if call.causal:
            seen &= key <= position
        if call.window is not None:
            seen &= jnp.abs(position - key) < call.window
        if lengths is not None:
            seen &= key < lengths[batch]
        seen = seen[:, None]
        if mask is not None:
            start, sizes = (batch, head * call.group, self.query, self.key), (1, call.group, queries, keys)
            start = [index if size > 1 else 0 for index, size in zip(start, mask.shape, strict=True)]
            sizes = [min(pair) for pair in zip(sizes, mask.shape, strict=True)]
            seen = seen & jax.lax.dynamic_slice(mask, start, sizes)[0].swapaxes(0, 1)
        return jnp.broadcast_to(seen, (queries, call.group, keys)).reshape(-1, keys)


def _walk(call, over, start, step, finish, masked):
    """Writes what `finish` makes of every key head's carry, after its blocks, over that head's part of `over`.

    All of `over` is written over, whatever it holds.
    """

    def work(head):
        arrays, carry = start(head)

        def body(loop, carry, pair):
            block = _Block(call, loop, head, pair[0] * loop.queries, pair[1] * loop.keys)
            return step(block, arrays, carry), None

        for loop in loops(call, masked):
            carry, _ = jax.lax.scan(functools.partial(body, loop), carry, loop.pairs)
        return finish(carry)

    def in_place(head, over):
        return tuple(_put_head(x, part, call, head) for x, part in zip(over, work(head), strict=True))

    heads = over[0].shape[0] * call.heads
    if platform() == "cpu":
        return jax.lax.fori_loop(0, heads, in_place, over)
    largest = max((loop.queries * call.group * loop.keys for loop in loops(call, masked)), default=1)
    parts = jax.lax.map(work, jnp.arange(heads), batch_size=min(heads, max(1, SCORES_AT_ONCE // largest)))
    return tuple(_joined(x, part, call) for x, part in zip(over, parts, strict=True))


def _put(x, part, start, axis=0):
    return jax.lax.dynamic_update_slice_in_dim(x, part, start, axis)


def _of_head(x, call, head, dtype):
    """(T * n, Dh) of x (B, T, K * n, Dh): what belongs to one key head."""
    start, sizes = _where(x, call, head)
    return jax.lax.dynamic_slice(x, start, sizes).reshape(-1, x.shape[-1]).astype(dtype)


def _put_head(x, part, call, head):
    """x with one key head's part replaced; x (B, T, K * n, Dh), or (B * K, N) with a row for each."""
    start, sizes = ((head, 0), (1, x.shape[1])) if x.ndim == 2 else _where(x, call, head)
    return jax.lax.dynamic_update_slice(x, part.reshape(sizes), start)


def _joined(x, part_HxNxDh, call):
    """What `_put_head` makes of x with the parts of all B * K key heads."""
    if x.ndim == 2:
        return part_HxNxDh
    B, T, heads, Dh = x.shape
    return part_HxNxDh.reshape(B, call.heads, T, -1, Dh).swapaxes(1, 2).reshape(x.shape)


def _where(x, call, head):
    """Start and sizes of one key head's part in x (B, T, K * n, Dh)."""
    _, T, heads, width = x.shape
    count = heads // call.heads
    batch, head = divmod(head, call.heads)
    return (batch, 0, head * count, 0), (1, T, count, width)
