"""Attention on queries, keys and values that are already projected, as each library offers it.

Every JAX contender gets (B, T, H, Dh), the layout that all of them document; PyTorch gets its own (B, H, T, Dh).
What training measures is one forward and one backward pass: the output, and the gradients of q, k and v for a given
gradient of the output.
"""

import os
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from transformer_jax.measure.work import Work
from transformer_jax.ops.attention import ATTENTION
from transformer_jax.peers.contender import Contender, compiled, normal, reader
from transformer_jax.peers.libraries import Peer

OUTPUTS = ("out", "dq", "dk", "dv")
LIBRARY = {"ours": "jax", "jax_nn": "jax", "linen": "flax", "nnx": "flax", "keras": "keras"}


def build(work: Work, peer: Peer) -> Contender:
    """The contender on random arrays of the config's sizes."""
    model = work.config.model
    shape = (work.batch_size, work.steps, model.num_heads, model.sizes["head_dim"])
    arrays = [normal(work.config.train.seed, index, shape) for index in range(4)]  # q, k, v, gradient of the output
    if peer == "torch":
        from transformer_jax.peers import torch_ops

        return torch_ops.attention(arrays, model.causal, work.phase == "train")
    ours = partial(ATTENTION[model.attention], causal=model.causal)
    attend = ours if peer == "ours" else ATTEND[peer](model.causal)

    def forward(q, k, v, d_out):
        return attend(q, k, v)

    def forward_and_backward(q, k, v, d_out):
        out, pullback = jax.vjp(attend, q, k, v)
        return out, *pullback(d_out)

    fn = forward_and_backward if work.phase == "train" else forward
    return compiled(fn, arrays, reader(OUTPUTS), LIBRARY[peer])


def jax_nn(causal: bool) -> Callable:
    """`jax.nn.dot_product_attention`, which on a CPU is its XLA implementation."""
    return partial(jax.nn.dot_product_attention, is_causal=causal)


def linen(causal: bool) -> Callable:
    """`flax.linen.dot_product_attention`, what its layers call; being causal is a mask that the caller makes."""
    import flax.linen as nn

    def attend(q, k, v):
        mask = nn.make_causal_mask(jnp.empty(q.shape[:2])) if causal else None
        return nn.dot_product_attention(q, k, v, mask=mask)

    return attend


def nnx(causal: bool) -> Callable:
    """`flax.nnx.dot_product_attention`; without dropout it hands over to `jax.nn`."""
    from flax import nnx as flax_nnx

    return partial(flax_nnx.dot_product_attention, is_causal=causal)


def keras(causal: bool) -> Callable:
    """`keras.ops.dot_product_attention` on the JAX backend: what `MultiHeadAttention` calls after its projections.

    The layer itself cannot be had without them, and would then be compared in four matmuls that are the same for
    all. RuntimeError: Keras was imported before, with another backend.
    """
    os.environ["KERAS_BACKEND"] = "jax"
    from keras import config as keras_config
    from keras import ops

    if keras_config.backend() != "jax":
        raise RuntimeError(f"Keras already runs on {keras_config.backend()}: start it with KERAS_BACKEND=jax")
    return partial(ops.dot_product_attention, is_causal=causal)


ATTEND: dict[str, Callable[[bool], Callable]] = {"jax_nn": jax_nn, "linen": linen, "nnx": nnx, "keras": keras}
