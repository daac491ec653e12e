"""A multilayer perceptron that reads a whole image, or another sequence of vectors, at once."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from transformer_jax.config import ModelConfig, Shape
from transformer_jax.layers.dense import Dense
from transformer_jax.layers.mlp import ACTIVATION
from transformer_jax.models.model import Model
from transformer_jax.models.network import check_shape

# B batch, L steps, F width of an input, D d_model, V answers

START = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
"""Uniform within ±fan_in ** -0.5: the start of linear layers in PyTorch, where the published networks come from."""


class Hidden(nn.Module):
    """x_BxI -> x_BxD: num_layers times Dense, activation."""

    config: ModelConfig

    @nn.compact
    def __call__(self, x_BxI):
        config = self.config
        for _ in range(config.num_layers):
            x_BxI = Dense(config.d_model, kernel_init=START, dtype=jnp.dtype(config.dtype))(x_BxI)
            self.sow("intermediates", "before", x_BxI)
            x_BxI = ACTIVATION[config.activation](x_BxI)
        return x_BxI


class Perceptron(nn.Module):
    """inputs_BxLxF -> float32 logits_BxV: all L x F entries, hidden layers (`mlp`), a linear layer (`head`)."""

    config: ModelConfig
    outputs: int

    @nn.compact
    def __call__(self, inputs_BxLxF):
        x_BxD = Hidden(self.config, name="mlp")(inputs_BxLxF.reshape(len(inputs_BxLxF), -1))
        head = Dense(self.outputs, kernel_init=START, dtype=jnp.dtype(self.config.dtype), name="head")
        return head(x_BxD).astype(jnp.float32)


def build(config: ModelConfig, shape: Shape) -> Model:
    """The perceptron of a config: apply(params, inputs_BxLxF) -> float32 logits_BxV.

    Raises:
      ConfigError: the shape is not that of one answer to a sequence of vectors.
    """
    check_shape(config, shape)
    network = Perceptron(config, shape.outputs)

    def init(key):
        return network.init(key, jnp.zeros((1, shape.seq_len, shape.input_dim)))["params"]

    def apply(params, inputs, *, mask=None, lengths=None, train=False, key=None) -> jax.Array:
        if mask is not None or lengths is not None:
            raise ValueError("a perceptron reads whole images: it takes neither a mask nor lengths")
        return network.apply({"params": params}, inputs)

    def over_examples(params, inputs_BxLxF, cotangent_BxV, of: Callable) -> Any:
        """By hand, as |a d| = |a| |d| and (a d)² = a² d² for each entry a of a layer's input and d of its cotangent."""
        _, kept = network.apply({"params": params}, inputs_BxLxF, mutable=["intermediates"])
        before = kept["intermediates"]["mlp"]["before"] if config.num_layers else ()
        act = ACTIVATION[config.activation]
        read = [inputs_BxLxF.reshape(len(inputs_BxLxF), -1), *map(act, before)]
        names = [f"Dense_{i}" for i in range(config.num_layers)]
        layers = [*(params["mlp"][name] for name in names), params["head"]]
        found, d_BxO = [], cotangent_BxV
        for i in reversed(range(len(layers))):
            found.insert(0, {"bias": of(d_BxO).sum(0), "kernel": of(read[i]).T @ of(d_BxO)})
            if i:
                (d_BxO,) = jax.vjp(act, before[i - 1])[1](d_BxO @ layers[i]["kernel"].T)
        hidden = {"mlp": dict(zip(names, found, strict=False))} if config.num_layers else {}
        return hidden | {"head": found[-1]}

    return Model(init, apply, None, None, over_examples=over_examples)
