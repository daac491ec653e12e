"""Every library's attention gives what the formula in NumPy float64 gives, forward and backward, in our layout."""

import importlib.util
from functools import cache

import numpy as np
import pytest

from transformer_jax.config import Config, with_overrides
from transformer_jax.measure.work import Work, next_token
from transformer_jax.peers import contender
from transformer_jax.peers.build import build
from transformer_jax.peers.libraries import ATTENTION

B, T, H, D = 2, 7, 3, 15  # heads of width 5
NEEDS = {"torch": "torch", "keras": "keras"}


def outputs(peer, causal, phase="train"):
    if peer in NEEDS and importlib.util.find_spec(NEEDS[peer]) is None:  # importing Keras would choose its backend
        pytest.skip(f"{NEEDS[peer]} is in the extra .[peers]")
    problem = {"task.batch_size": B, "task.seq_len": T, "model.num_heads": H, "model.d_model": D}
    config = with_overrides(Config(), problem | {"model.causal": causal})
    return build(Work(config, next_token(config), "op", phase), peer).outputs()


@cache
def oracle(causal):
    """Output and gradients, from softmax's Jacobian written out."""
    q, k, v, d_out = (np.asarray(contender.normal(0, i, (B, T, H, D // H)), np.float64) for i in range(4))
    scores = np.einsum("blhd,bshd->bhls", q, k) / np.sqrt(D // H)
    if causal:
        scores = np.where(np.tril(np.ones((T, T), bool)), scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    d_weights = np.einsum("blhd,bshd->bhls", d_out, v)
    d_scores = weights * (d_weights - (weights * d_weights).sum(-1, keepdims=True)) / np.sqrt(D // H)
    return {
        "out": np.einsum("bhls,bshd->blhd", weights, v),
        "dq": np.einsum("bhls,bshd->blhd", d_scores, k),
        "dk": np.einsum("bhls,blhd->bshd", d_scores, q),
        "dv": np.einsum("bhls,blhd->bshd", weights, d_out),
    }


@pytest.mark.parametrize("causal", [True, False], ids=["causal", "not causal"])
@pytest.mark.parametrize("peer", ATTENTION)
def test_output_and_gradients(peer, causal):
    assert contender.largest_difference(outputs(peer, causal), oracle(causal)) < 1e-5


@pytest.mark.parametrize("peer", ["ours", "torch"])
def test_a_forward_pass_gives_the_output_alone(peer):
    found = outputs(peer, True, "forward")
    assert list(found) == ["out"]
    assert contender.largest_difference(found, {"out": oracle(True)["out"]}) < 1e-5
