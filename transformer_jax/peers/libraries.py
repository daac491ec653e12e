"""Which library offers which problem; jax is not needed to know it."""

from typing import Literal

Peer = Literal["ours", "jax_nn", "linen", "nnx", "keras", "torch", "torch_compile"]

ATTENTION: tuple[Peer, ...] = ("ours", "jax_nn", "linen", "nnx", "keras", "torch")
RECURRENCE: tuple[Peer, ...] = ("ours", "linen", "torch")
STEP: tuple[Peer, ...] = ("ours", "torch", "torch_compile")

STORES_SCORES: tuple[Peer, ...] = ("jax_nn", "linen", "nnx", "keras")
"""Those that hold all T x T scores of every head on a CPU."""
