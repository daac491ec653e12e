"""From a problem and the name of a library to the contender that solves it."""

import jax

from transformer_jax.measure.work import Work
from transformer_jax.ops.recurrence import RECURRENCE
from transformer_jax.peers import attention, libraries, recurrence, step
from transformer_jax.peers.contender import Contender
from transformer_jax.peers.libraries import Peer


def build(work: Work, peer: Peer) -> Contender:
    """The contender of one library, on the problem that the work describes.

    The op of attention: softmax(QKᵀ)V on projected arrays, causal as the model is. The op of a recurrence: the whole
    layer, its input projection included. The model: a training step.

    Raises:
      ValueError: there is no such contender for this problem, or it cannot be compared on this machine.
    """
    model = work.config.model
    if model.dtype != "float32":
        raise ValueError(f"peers are compared in float32, not in model.dtype={model.dtype}")
    if work.level == "block":
        raise ValueError("peers are not compared at measure.level=block")
    if work.level == "model":
        make, peers, phases = step.build, libraries.STEP, ("train",)
    else:
        make, peers = recurrence.build, libraries.RECURRENCE
        if model.mixer not in RECURRENCE:
            make, peers = attention.build, libraries.ATTENTION
        phases = ("forward", "train")
    if peer not in peers:
        raise ValueError(f"measure.peer={peer} has no such thing; those that do: {', '.join(peers)}")
    if work.phase not in phases:
        raise ValueError(f"measure.phase={work.phase}: here it is one of {', '.join(phases)}")
    if peer.startswith("torch") and jax.default_backend() != "cpu":
        raise ValueError(f"PyTorch is compared on the CPU, and JAX runs on {jax.default_backend()}")
    return make(work, peer)
