"""Which library offers which problem; jax is not needed to know it."""

from typing import Literal

Peer = Literal["ours", "jax_nn", "linen", "nnx", "keras", "torch", "torch_compile"]

ATTENTION: tuple[Peer, ...] = ("ours", "jax_nn", "linen", "nnx", "keras", "torch")
RECURRENCE: tuple[Peer, ...] = ("ours", "linen", "torch")
STEP: tuple[Peer, ...] = ("ours", "torch", "torch_compile")

STORES_SCORES: tuple[Peer, ...] = ("jax_nn", "linen", "nnx", "keras")
"""Those that hold all T x T scores of every head on a CPU."""


def score_bytes(peer: Peer, attention: str, phase: str, heads: int, length: int) -> int:
    """What an implementation that stores the scores needs for them, in float32 and of one sequence: two copies in a
    forward pass, four in training; 0: it stores none."""
    stores = peer in STORES_SCORES or attention == "reference"
    return stores * (4 if phase == "train" else 2) * 4 * heads * length**2
