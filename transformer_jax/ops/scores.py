"""How a query and a key are compared: `SCORES[name](q, k, *weights)` before any mask and softmax.

B batch, L queries, S keys (source), H heads of the queries, K heads of keys (K divides H: query head h reads key head
h // (H / K)), Dq and Dk widths of a query's and a key's head, A width of the additive score's inner layer (it is Dq).

| name         | score of q and k            | source                                          |
|--------------|-----------------------------|-------------------------------------------------|
| `scaled_dot` | q . k / sqrt(Dk)            | Vaswani et al. 2017, arXiv 1706.03762           |
| `dot`        | q . k                       | Luong et al. 2015, arXiv 1508.04025, equation 8 |
| `cosine`     | q . k / (norm(q) norm(k))   | Graves et al. 2014, arXiv 1410.5401, equation 6 |
| `general`    | q . W k                     | Luong et al. 2015, equation 8                   |
| `additive`   | v . tanh(Wq q + Wk k)       | Bahdanau et al. 2015, arXiv 1409.0473, A.1.2    |

Scores are (B, H, L, S), float32 (float64 for float64 inputs).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp


@dataclass(frozen=True)
class Score:
    """One score, in two parts: what depends on the keys alone is computed once for all queries to come."""

    key: Callable
    """key(k_BxSxKxDk, *weights) -> the keys as `compare` reads them, (B, S, K, Dq)."""
    compare: Callable
    """compare(q_BxLxHxDq, what `key` gave, *weights) -> scores_BxHxLxS."""
    weights: Callable[[int, int, int, int], dict[str, tuple[int, ...]]] = lambda H, K, Dq, Dk: {}
    """Names and shapes of its weights for (H, K, Dq, Dk), in the order in which both functions take them. Their last
    axis but one is what they sum over; without weights a query and a key must have one width."""

    def __call__(self, q_BxLxHxDq, k_BxSxKxDk, *weights) -> jax.Array:
        """scores_BxHxLxS. Raises ValueError where the shapes do not fit each other."""
        _check(self, q_BxLxHxDq, k_BxSxKxDk, weights)
        return self.compare(q_BxLxHxDq, self.key(k_BxSxKxDk, *weights), *weights)


def _check(score, q, k, weights) -> None:
    if q.ndim != 4 or k.ndim != 4 or q.shape[0] != k.shape[0]:
        raise ValueError(f"q is (B, L, H, Dq) and k (B, S, K, Dk); given {q.shape}, {k.shape}")
    (H, Dq), (K, Dk) = q.shape[2:], k.shape[2:]
    if H % K:
        raise ValueError(f"{K} heads of keys do not divide {H} heads of queries")
    shapes = tuple(score.weights(H, K, Dq, Dk).values())
    if tuple(w.shape for w in weights) != shapes:
        raise ValueError(f"the score's weights are {shapes}, not {tuple(w.shape for w in weights)}")
    if not shapes and Dq != Dk:
        raise ValueError(f"a query of width {Dq} and a key of width {Dk}: this score has no weights between them")


def _dtype(array):
    return jnp.promote_types(array.dtype, jnp.float32)


def _dot(q_BxLxHxD, k_BxSxKxD, *weights):
    B, L, H, D = q_BxLxHxD.shape
    S, K = k_BxSxKxD.shape[1:3]
    q_BxLxKxGxD = q_BxLxHxD.reshape(B, L, K, H // K, D)
    return jnp.einsum("blkgd,bskd->bkgls", q_BxLxKxGxD, k_BxSxKxD, preferred_element_type=_dtype(q_BxLxHxD)).reshape(
        B, H, L, S
    )


def _scaled_dot(q_BxLxHxD, k_BxSxKxD):
    return _dot(q_BxLxHxD, k_BxSxKxD) * k_BxSxKxD.shape[-1] ** -0.5


def _unit(x):
    """Vectors of length one; zeros stay zeros, with a gradient that is finite."""
    x = x.astype(_dtype(x))
    return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(x * x, -1, keepdims=True), 1e-24))


def _same(k_BxSxKxD):
    return k_BxSxKxD


def _general_key(k_BxSxKxDk, w_KxDkxDq):
    return jnp.einsum("bskd,kde->bske", k_BxSxKxDk, w_KxDkxDq)


def _additive_key(k_BxSxKxDk, wq_HxDqxA, wk_KxDkxA, v_HxAx1):
    return jnp.einsum("bskd,kda->bska", k_BxSxKxDk, wk_KxDkxA)


def _additive(q_BxLxHxDq, k_BxSxKxA, wq_HxDqxA, wk_KxDkxA, v_HxAx1):
    return additive(jnp.einsum("blhd,hda->blha", q_BxLxHxDq, wq_HxDqxA), k_BxSxKxA, v_HxAx1[..., 0])


def additive(q_BxLxHxA, k_BxSxKxA, v_HxA) -> jax.Array:
    """v . tanh(q + k), scores_BxHxLxS, of queries and keys that are already projected.

    Query by query, and tanh once more in the backward pass: of B x H x L x S x A values only one query's exist at once.
    """
    B, L, H, A = q_BxLxHxA.shape
    S, K = k_BxSxKxA.shape[1:3]
    q, k, v = (x.astype(_dtype(x)) for x in (q_BxLxHxA, k_BxSxKxA, v_HxA))
    k_BxKx1xSxA, v_KxGxA = k.transpose(0, 2, 1, 3)[:, :, None], v.reshape(K, H // K, A)

    @partial(jax.checkpoint, prevent_cse=False)
    def one(q_BxHxA):
        values = jnp.tanh(q_BxHxA.reshape(B, K, H // K, 1, A) + k_BxKx1xSxA)
        # a product, because XLA:CPU sums over the last axis four times slower
        return jnp.einsum("bkgsa,kga->bkgs", values, v_KxGxA).reshape(B, H, S)

    if L == 1:
        return one(q[:, 0])[:, :, None]
    return jax.lax.map(one, q.swapaxes(0, 1)).transpose(1, 2, 0, 3)


def normalised(scores_BxHxLxS, seen=None) -> jax.Array:
    """Softmax over the keys that are `seen` (boolean, broadcastable; None: all); a row that sees none is zeros."""
    if seen is not None:
        scores_BxHxLxS = jnp.where(seen, scores_BxHxLxS, jnp.finfo(scores_BxHxLxS.dtype).min)
    # In two dimensions: XLA's sums over the last of four axes are several times slower on CPU.
    flat = scores_BxHxLxS.reshape(-1, scores_BxHxLxS.shape[-1])
    weights = jax.nn.softmax(flat, axis=-1).reshape(scores_BxHxLxS.shape)
    return weights if seen is None else jnp.where(seen, weights, 0)


SCORES: dict[str, Score] = {
    "scaled_dot": Score(_same, _scaled_dot),
    "dot": Score(_same, _dot),
    "cosine": Score(_unit, lambda q, k: _dot(_unit(q), k)),
    "general": Score(_general_key, _dot, lambda H, K, Dq, Dk: {"kernel": (K, Dk, Dq)}),
    "additive": Score(
        _additive_key,
        _additive,
        lambda H, K, Dq, Dk: {"query": (H, Dq, Dq), "key": (K, Dk, Dq), "vector": (H, Dq, 1)},
    ),
}
