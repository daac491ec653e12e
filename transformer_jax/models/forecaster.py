"""Forecasts of series, each channel by itself with the same parameters: a stack over patches, DLinear, repeat-last."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from transformer_jax.config import ModelConfig, Shape
from transformer_jax.layers.block import Context
from transformer_jax.layers.dense import Dense
from transformer_jax.models.model import Model
from transformer_jax.models.network import check_shape, make_embedding, make_mixer
from transformer_jax.models.stack import make_block, stack
from transformer_jax.ops import series

# B batch, C channels, N = B x C series, L time steps read, H time steps answered, P patches, W steps of a patch

TREND_WINDOW = 25
"""Steps of DLinear's moving average, as published."""


class Stack(nn.Module):
    """x_NxL -> x_NxH by blocks over patches, whatever their mixer, and one linear layer over all that they give.

    With attention it is PatchTST (Nie et al. 2023, arXiv 2211.14730) with the layer norms of this house in the place
    of its batch norms. Each series is normalised by itself, and its forecast put back (`ops.series.normalised`).
    """

    config: ModelConfig
    horizon: int
    train: bool = False

    @nn.compact
    def __call__(self, x_NxL):
        config, dtype = self.config, jnp.dtype(self.config.dtype)
        x_NxL, mean_Nx1, deviation_Nx1 = series.normalised(x_NxL)
        patches_NxPxW = series.patches(x_NxL, config.patch_len, config.patch_stride)
        positions_P = jnp.arange(patches_NxPxW.shape[1], dtype=jnp.int32)
        embedding = make_embedding(config, None, max_len=len(positions_P), name="embedding")
        x_NxPxD = embedding(patches_NxPxW, positions_P)
        x_NxPxD = nn.Dropout(config.dropout_rate, deterministic=not self.train)(x_NxPxD)
        block = make_block(config, make_mixer(config))
        x_NxPxD, _ = stack(config, block, config.num_layers, x_NxPxD, Context(positions_P), train=self.train)
        flat_NxF = x_NxPxD.reshape(len(x_NxPxD), -1)
        answer_NxH = Dense(self.horizon, dtype=dtype, name="head")(flat_NxF).astype(jnp.float32)
        return answer_NxH * deviation_Nx1 + mean_Nx1


class DLinear(nn.Module):
    """x_NxL -> x_NxH: one linear layer of the moving average and one of the rest (Zeng et al. 2023, arXiv 2205.13504).

    Both begin as the mean over the steps that are read, as in the authors' code.
    """

    horizon: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x_NxL):
        def linear(name):
            start = nn.initializers.constant(1 / x_NxL.shape[-1])
            return Dense(self.horizon, kernel_init=start, dtype=self.dtype, name=name)

        trend_NxL = series.trend(x_NxL, TREND_WINDOW)
        return (linear("trend")(trend_NxL) + linear("rest")(x_NxL - trend_NxL)).astype(jnp.float32)


class RepeatLast(nn.Module):
    """x_NxL -> x_NxH: the last step again and again. It has no parameters."""

    horizon: int

    def __call__(self, x_NxL):
        return jnp.broadcast_to(x_NxL[:, -1:], (len(x_NxL), self.horizon)).astype(jnp.float32)


def build(config: ModelConfig, shape: Shape) -> Model:
    """The forecaster that `config.forecaster` names: apply(params, inputs_BxLxC) -> float32 outputs_BxHxC.

    Raises:
      ConfigError: the model cannot read the shape: the series is shorter than a patch, say.
    """
    check_shape(config, shape)

    def network(train: bool = False) -> nn.Module:
        return {
            "stack": lambda: Stack(config, shape.horizon, train),
            "dlinear": lambda: DLinear(shape.horizon, jnp.dtype(config.dtype)),
            "repeat_last": lambda: RepeatLast(shape.horizon),
        }[config.forecaster]()

    def init(key):
        return network().init(key, jnp.zeros((1, shape.seq_len))).get("params", {})

    def apply(params, inputs, *, mask=None, lengths=None, train=False, key=None) -> jax.Array:
        if mask is not None or lengths is not None:
            raise ValueError("a forecaster reads whole windows: it takes neither a mask nor lengths")
        if inputs.shape[1:] != (shape.seq_len, shape.input_dim):
            raise ValueError(f"inputs of shape {inputs.shape}: a window is {shape.seq_len} steps of {shape.input_dim}")
        rows_NxL = inputs.swapaxes(1, 2).reshape(-1, shape.seq_len)
        keys = None if key is None else {"dropout": key}
        answer_NxH = network(train).apply({"params": params}, rows_NxL, rngs=keys)
        return answer_NxH.reshape(len(inputs), shape.input_dim, shape.horizon).swapaxes(1, 2)

    return Model(init, apply, None, None)
