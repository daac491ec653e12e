"""The same language model in PyTorch: every parameter is carried over, loss and gradients agree, and so do steps."""

import numpy as np
import pytest

from transformer_jax.config import Config, with_overrides
from transformer_jax.measure import programs
from transformer_jax.measure.closed_form import num_params
from transformer_jax.measure.work import Work, next_token
from transformer_jax.peers import contender
from transformer_jax.peers.build import build
from transformer_jax.peers.step import torch_params

SIZES = {"model.d_model": 6, "model.num_heads": 3, "model.num_layers": 2, "model.mlp_dim": 10, "task.vocab_size": 11}
SIZES |= {"task.seq_len": 5, "task.batch_size": 2, "train.peak_lr": 0.01, "train.weight_decay": 0.5}
SIZES |= {"train.clip_norm": 0.3, "train.beta2": 0.9}


def work(mixer, **more):
    config = with_overrides(Config(), SIZES | {"model.mixer": mixer} | more)
    return Work(config, next_token(config))


@pytest.mark.parametrize("scanned", [True, False])
@pytest.mark.parametrize("mixer", ["attention", "lstm"])
def test_every_parameter_has_one_place(mixer, scanned):
    ours = work(mixer, **{"model.scan_layers": scanned})
    params = torch_params(programs.build(ours).make_args()[0].params, ours.config.model)
    assert sum(array.size for array in params.values()) == num_params(ours.config.model, ours.shape)
    kind = "qkv.weight" if mixer == "attention" else "weight_hh_l0"
    assert params[f"blocks.1.mixer.{kind}"].shape == ((18, 6) if mixer == "attention" else (24, 6))


@pytest.mark.parametrize("mixer", ["attention", "lstm"])
def test_loss_gradients_and_later_losses_are_equal(mixer):
    """The losses after a chunk of steps agree only if clipping, decay and AdamW do."""
    pytest.importorskip("torch", reason="torch is in the extra .[peers]")
    ours, theirs = (build(work(mixer), peer) for peer in ("ours", "torch"))
    assert contender.largest_difference(theirs.outputs(), ours.outputs()) < 1e-5
    first = float(ours.outputs()["loss"])
    total_S, weight_S = ours.step()["loss"]
    losses = [float(theirs.step()) for _ in range(ours.steps)]
    assert ours.steps > 2 and abs(losses[-1] - first) > 1e-3
    np.testing.assert_allclose(losses, np.asarray(total_S) / np.asarray(weight_S), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's own, as it imports its compiler
def test_the_compiled_step_is_compared_as_compiled():
    pytest.importorskip("torch", reason="torch is in the extra .[peers]")
    ours, theirs = (build(work("attention"), peer) for peer in ("ours", "torch_compile"))
    assert contender.largest_difference(theirs.outputs(), ours.outputs()) < 1e-5
    assert theirs.columns["compile_seconds"] > 0


@pytest.mark.parametrize("mixer", ["attention", "lstm"])
def test_the_loss_compared_is_the_loss_of_the_measured_step(mixer):
    """Before any update: the first step's own metric is what the outputs hold."""
    ours = build(work(mixer), "ours")
    outputs, (total, weight) = ours.outputs(), ours.step()["loss"]
    np.testing.assert_allclose(outputs["loss"], total[0] / weight[0], rtol=1e-6)
    assert all(np.any(gradient) for name, gradient in outputs.items() if "bias" not in name)
