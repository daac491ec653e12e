"""Entropy and gradient of a softmax over random scores, against NumPy's Jacobian, and what the scale does to both."""

import jax
import numpy as np
import pytest

from transformer_jax.measure.saturation import rows, saturation

T, D, N = 5, 7, 3


@pytest.mark.parametrize("score", ["scaled_dot", "dot"])
def test_they_are_the_formula(score):
    key = jax.random.key(4)
    found = saturation(score, D, T, N, key)
    q, k, r = (np.asarray(jax.random.normal(one, shape), np.float64) for one, shape in
               zip(jax.random.split(key, 3), [(N, T, 1, D), (N, T, 1, D), (N, 1, T, T)], strict=True))  # fmt: skip
    for n in range(N):
        entropies, norms = [], []
        for i in range(T):
            s = np.array([q[n, i, 0] @ k[n, j, 0] for j in range(T)]) / (np.sqrt(D) if score == "scaled_dot" else 1)
            w = np.exp(s - s.max()) / np.exp(s - s.max()).sum()
            entropies.append(-(w * np.log(w)).sum() / np.log(T))
            norms.append(np.linalg.norm((np.diag(w) - np.outer(w, w)) @ r[n, 0, i]))
        assert float(found["entropy"][n]) == pytest.approx(np.mean(entropies), rel=1e-4)
        assert float(found["gradient_norm"][n]) == pytest.approx(np.mean(norms), rel=1e-4)


def test_the_scale_keeps_both_what_they_are_at_any_width():
    widths = (64, 1024)
    scaled, plain = ({row["width"]: row for row in rows(score, widths, 32, 1, 0)} for score in ("scaled_dot", "dot"))
    for name in ("entropy", "gradient_norm"):
        assert scaled[1024][name] == pytest.approx(scaled[64][name], rel=0.15)
        assert plain[1024][name] < 0.6 * plain[64][name]
    assert 0 <= plain[1024]["entropy"] < 0.5 < scaled[1024]["entropy"] <= 1
