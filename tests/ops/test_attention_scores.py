"""Attention with every score: the formula, masks, who declines it; what the scale of the dot product is for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from transformer_jax.ops.attention import ATTENTION, SCORED, attention_weights, choose
from transformer_jax.ops.scores import SCORES

B, L, S, H, K, Dh = 2, 3, 5, 4, 2, 6
LENGTHS = np.array([4, 5])
OTHERS = [name for name in SCORES if name != "scaled_dot"]
FORMULAS = {
    "scaled_dot": lambda q, k, h, g: q @ k / np.sqrt(Dh),
    "dot": lambda q, k, h, g: q @ k,
    "cosine": lambda q, k, h, g: q @ k / np.sqrt((q @ q) * (k @ k)),
    "general": lambda q, k, h, g, w: q @ (k @ w[g]),
    "additive": lambda q, k, h, g, wq, wk, v: np.tanh(q @ wq[h] + k @ wk[g]) @ v[h].ravel(),
}


def draw(score, dtype=np.float32):
    rng = np.random.default_rng(3)
    shapes = (B, L, H, Dh), (B, S, K, Dh), (B, S, K, Dh), *SCORES[score].weights(H, K, Dh, Dh).values()
    return [rng.normal(size=shape).astype(dtype) for shape in shapes]


def oracle(score, q, k, v, *weights):
    """Query by query in float64: causal, with LENGTHS real keys."""
    q, k, v, *weights = (np.asarray(x, np.float64) for x in (q, k, v, *weights))
    out = np.zeros_like(q)
    for b, i, h in np.ndindex(B, L, H):
        g, keys = h // (H // K), range(min(LENGTHS[b], i + S - L + 1))
        p = np.exp([FORMULAS[score](q[b, i, h], k[b, s, g], h, g, *weights) for s in keys])
        out[b, i, h] = p / p.sum() @ v[b, : len(p), g]
    return out


def attend(score, q, k, v, *weights, name="auto"):
    return ATTENTION[name](q, k, v, causal=True, lengths=jnp.asarray(LENGTHS), score=score, score_weights=weights)


@pytest.mark.parametrize("name", SCORED)
@pytest.mark.parametrize("score", SCORES)
def test_equals_the_formula(score, name):
    arrays = draw(score)
    got = jax.jit(attend, static_argnums=0, static_argnames="name")(score, *arrays, name=name)
    np.testing.assert_allclose(got, oracle(score, *arrays), atol=2e-5)


@pytest.mark.parametrize("score", SCORES)
def test_gradients_are_those_of_differences(score):
    with jax.enable_x64(True):
        arrays = draw(score, np.float64)
        check_grads(jax.jit(lambda *arrays: attend(score, *arrays)), arrays, order=1, modes=["rev"], rtol=1e-6)


@pytest.mark.parametrize("score", SCORES)
def test_what_nobody_sees_changes_nothing_whatever_it_holds(score):
    """Keys beyond the lengths and those that come later; also in the gradients of the score's own weights."""
    q, k, v, *weights = draw(score)
    hidden = np.arange(S) >= np.minimum(LENGTHS, S)[:, None]
    spoilt = [np.where(hidden[..., None, None], np.nan, x) for x in (k, v)]
    run = jax.jit(
        jax.value_and_grad(lambda *arrays: jnp.sum(attend(score, *arrays) ** 2), argnums=range(3 + len(weights)))
    )
    for one, other in zip(*(jax.tree.leaves(run(q, *kv, *weights)) for kv in ((k, v), spoilt)), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("score", OTHERS)
@pytest.mark.parametrize("name", [name for name in ATTENTION if name not in SCORED])
def test_kernels_decline_it_by_name(name, score):
    q, k, v, *weights = draw(score)
    reason = f"attention={name}.* cannot run: it computes the score scaled_dot alone, not {score}; these can: reference"
    with pytest.raises(ValueError, match=reason):
        ATTENTION[name](q, k, v, score=score, score_weights=weights)


def test_auto_takes_what_can_compute_it_however_long_the_sequence():
    q = jax.ShapeDtypeStruct((1, 4096, 1, 8), jnp.float32)
    assert choose(q, q) != "reference"
    assert {choose(q, q, score=score) for score in OTHERS} == {"reference"}


def test_an_unknown_score_and_weights_of_another_score_are_named():
    q, k, v = draw("dot")
    with pytest.raises(ValueError, match="no score 'cosin'; there are scaled_dot, dot, cosine, general, additive"):
        attend("cosin", q, k, v)
    with pytest.raises(ValueError, match="weights are"):
        attend("general", q, k, v)


def test_only_the_cosine_is_blind_to_the_length_of_keys():
    for score in ("scaled_dot", "dot", "cosine"):
        q, k, _ = draw(score)
        one, other = (attention_weights(q, length * k, score=score) for length in (1.0, 7.0))
        assert np.allclose(one, other, atol=1e-6) == (score == "cosine")


DIMS = (16, 64, 256, 1024)


def entropies_and_gradients(score, keys=64, queries=200):
    """By width: the mean entropy of the weights, as a share of log(keys), and the mean norm of their derivative by the
    scores. q and k have entries of variance one, so that q . k has variance d (Vaswani et al. 2017, footnote 4)."""
    entropy, norm = [], []
    for d in DIMS:
        rng = np.random.default_rng(d)
        q, k = (rng.normal(size=(1, n, 1, d)).astype(np.float32) for n in (queries, keys))
        p = np.asarray(attention_weights(q, k, score=score)[0, 0], np.float64)
        entropy.append(np.mean(-np.sum(p * np.log(np.maximum(p, 1e-300)), -1)) / np.log(keys))
        # d softmax / d scores = diag(p) - p pᵀ
        norm.append(np.mean([np.linalg.norm(np.diag(row) - np.outer(row, row)) for row in p]))
    return np.array(entropy), np.array(norm)


def test_without_the_scale_the_softmax_collapses_as_heads_grow_wider():
    """Scaled, width changes neither entropy nor gradient; unscaled, one key takes all and no gradient comes through."""
    entropy, norm = entropies_and_gradients("scaled_dot")
    assert entropy.min() > 0.85 and np.ptp(entropy) < 0.03
    assert norm.max() / norm.min() < 1.2
    entropy, norm = entropies_and_gradients("dot")
    assert (np.diff(entropy) < 0).all() and entropy[0] < 0.4 and entropy[-1] < 0.05
    assert (np.diff(norm) < 0).all() and norm[-1] < norm[0] / 4
