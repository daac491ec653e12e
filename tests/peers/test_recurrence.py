"""Flax's and PyTorch's layers, given our parameters, compute what ours computes, gradients included."""

import numpy as np
import pytest

from transformer_jax.config import Config, with_overrides
from transformer_jax.measure.work import Work, next_token
from transformer_jax.peers import contender, recurrence
from transformer_jax.peers.build import build

B, T, D, R = 2, 5, 3, 4


def work(mixer, phase="train"):
    sizes = {"task.batch_size": B, "task.seq_len": T, "model.d_model": D, "model.recurrent_dim": R}
    config = with_overrides(Config(), sizes | {"model.mixer": mixer})
    return Work(config, next_token(config), "op", phase)


@pytest.mark.parametrize("peer", ["linen", "torch"])
@pytest.mark.parametrize("mixer", recurrence.GATES)
def test_output_and_every_gradient(mixer, peer):
    if peer == "torch":
        pytest.importorskip("torch", reason="torch is in the extra .[peers]")
    ours, theirs = (build(work(mixer), name).outputs() for name in ("ours", peer))
    names = {"h", "dx", "d_kernel", "d_bias", "d_recurrent"} | ({"d_candidate_bias"} if mixer == "gru" else set())
    assert set(ours) == names and ours["dx"].shape == (B, T, D) and ours["h"].shape == (B, T, R)
    assert contender.largest_difference(theirs, ours) < 1e-5


@pytest.mark.parametrize("peer", ["linen", "torch"])
def test_a_forward_pass_gives_the_states_alone(peer):
    if peer == "torch":
        pytest.importorskip("torch", reason="torch is in the extra .[peers]")
    ours, theirs = (build(work("gru", "forward"), name).outputs() for name in ("ours", peer))
    assert list(theirs) == ["h"] and contender.largest_difference(theirs, ours) < 1e-5


@pytest.mark.parametrize("mixer", recurrence.GATES)
def test_flaxs_tree_holds_our_parameters_and_nothing_else(mixer):
    _, params, _ = recurrence._arrays(work(mixer))
    back = recurrence.from_linen(mixer, recurrence.to_linen(mixer, params))
    assert back.keys() == params.keys()
    assert all(np.array_equal(back[name], params[name]) for name in params)
