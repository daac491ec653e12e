"""Boolean attention masks; True = may attend, and every mask broadcasts to (B, H, L, S).

B batch, H heads, L queries, S keys. With L != S the last query is aligned with the last key: query i stands
at position i + S - L, as in decoding, where the newest L tokens look back at S - L cached ones.
"""

import jax
import jax.numpy as jnp


def positions(num_queries: int, num_keys: int) -> tuple[jax.Array, jax.Array]:
    """Positions of queries (L, 1) and of keys (S,) on the keys' axis; a query may stand before key 0."""
    return jnp.arange(num_queries)[:, None] + (num_keys - num_queries), jnp.arange(num_keys)


def causal_mask(num_queries: int, num_keys: int) -> jax.Array:
    """(L, S): a query sees the keys at its own position and before."""
    at, key = positions(num_queries, num_keys)
    return key <= at


def window_mask(num_queries: int, num_keys: int, width: int) -> jax.Array:
    """(L, S): a query sees keys less than `width` positions away; with `causal_mask`, the last `width`."""
    at, key = positions(num_queries, num_keys)
    return jnp.abs(at - key) < width


def padding_mask(lengths_B: jax.Array, num_keys: int) -> jax.Array:
    """(B, 1, 1, S): row b's first `lengths_B[b]` keys are real."""
    return jnp.arange(num_keys) < lengths_B[:, None, None, None]


def segments(tokens_BxL: jax.Array, end: int) -> jax.Array:
    """int32 (B, L): the number, from 0, of the sentence that each token of packed ones is in; `end` is a sentence's
    last token. For `segment_mask`."""
    ends_BxL = (tokens_BxL == end).astype(jnp.int32)
    return jnp.cumsum(ends_BxL, axis=1) - ends_BxL


def segment_mask(query_BxL: jax.Array, key_BxS: jax.Array) -> jax.Array:
    """(B, 1, L, S): packed sequences see only keys that carry their own segment number."""
    return (query_BxL[:, :, None] == key_BxS[:, None, :])[:, None]


def combine(*parts: jax.Array | None) -> jax.Array | None:
    """Logical and of all masks given, as four dimensions; None when every part is None."""
    given = [part for part in parts if part is not None]
    if not given:
        return None
    result = given[0]
    for part in given[1:]:
        result = result & part
    return result.reshape((1,) * (4 - result.ndim) + result.shape)


def whole_mask(
    num_queries: int,
    num_keys: int,
    *,
    mask: jax.Array | None = None,
    causal: bool = False,
    lengths: jax.Array | None = None,
    window: int | None = None,
) -> jax.Array | None:
    """The whole of an attention call's mask arguments as one array, (B|1, H|1, L|1, S); None = all seen."""
    return combine(
        mask,
        causal_mask(num_queries, num_keys) if causal else None,
        None if lengths is None else padding_mask(lengths, num_keys),
        None if window is None else window_mask(num_queries, num_keys, window),
    )


def seen(
    num_queries: int,
    num_keys: int,
    *,
    mask: jax.Array | None = None,
    causal: bool = False,
    lengths: jax.Array | None = None,
    window: int | None = None,
) -> tuple[jax.Array | None, jax.Array | None]:
    """Which queries see any key, (B|1, H|1, L), and which keys any query sees, (B|1, H|1, S); None = all.

    A query sees one run of keys as far as positions go, so that this costs O(L + S); a `mask` that differs from query
    to query is O(L * S) itself and costs as much again.
    """
    if mask is not None and mask.ndim > 1 and mask.shape[-2] > 1:
        whole = whole_mask(num_queries, num_keys, mask=mask, causal=causal, lengths=lengths, window=window)
        shape = (*whole.shape[:2], num_queries, num_keys)
        whole = jnp.broadcast_to(whole, shape)
        return whole.any(-1), whole.any(-2)
    if mask is None and lengths is None and window is None and (num_queries <= num_keys or not causal):
        return None, None
    at, key = positions(num_queries, num_keys)
    at = at[:, 0]
    width = num_queries + num_keys if window is None else window
    end = num_keys if lengths is None else lengths[:, None, None]
    first, last = jnp.maximum(at - width + 1, 0), jnp.minimum(at if causal else at + width - 1, end - 1)
    keys_seen = (key + width > at[0]) & (key < end)
    if not causal:
        keys_seen &= key - width < at[-1]
    queries_seen = first <= last
    if mask is not None:  # a run holds a seen key if its end has counted more of them than its start
        mask = combine(mask)[:, :, 0]
        keys_seen = mask & keys_seen
        mask = jnp.broadcast_to(mask & (key < end), keys_seen.shape)
        count = jnp.pad(jnp.cumsum(mask, axis=-1), [(0, 0), (0, 0), (1, 0)])
        first, last = (jnp.broadcast_to(x, (*count.shape[:-1], num_queries)) for x in (first, last))
        upto = lambda index: jnp.take_along_axis(count, index, axis=-1)  # noqa: E731
        queries_seen &= upto(jnp.maximum(last + 1, 0)) > upto(jnp.minimum(first, num_keys))
    three = lambda array: array.reshape((1,) * (3 - array.ndim) + array.shape)  # noqa: E731
    return three(queries_seen), three(keys_seen)
