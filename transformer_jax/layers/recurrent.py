"""Recurrences as sequence mixers, one way or both: the input projection, the scan over time, a start as an expert's."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from transformer_jax.layers.block import Context
from transformer_jax.layers.dense import Dense
from transformer_jax.ops import padding
from transformer_jax.ops.recurrence import RECURRENCE, initial_carry, project_and_recur

# B batch, L time steps, D d_model, R width of the state, G = gates x R


class Projection(nn.Module):
    """The parameters of a dense layer; the recurrence multiplies by them when it needs the product."""

    features: int
    bias_init: nn.initializers.Initializer

    @nn.compact
    def __call__(self, d_in: int):
        """kernel (d_in, features) and bias (features,), float32."""
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (d_in, self.features), jnp.float32)
        return kernel, self.param("bias", self.bias_init, (self.features,), jnp.float32)


def input_bias(recurrence: str, key, shape, dtype):
    """Initial bias of a recurrence's gates: zeros, and ones for a gate that keeps the state where it is open."""
    del key
    record, bias = RECURRENCE[recurrence], jnp.zeros(shape, dtype)
    gate, width = record.forget_gate, shape[0] // record.num_gates
    return bias if gate is None else bias.at[gate * width : (gate + 1) * width].set(1)


def own_weights(module: nn.Module, recurrence: str, width: int, dtype) -> tuple[jax.Array, ...]:
    """The recurrence's own weights as parameters of the module: matrices orthogonal gate by gate, vectors zero."""

    def orthogonal_gates(key, shape, dtype):
        one_gate = partial(nn.initializers.orthogonal(), shape=(shape[0], shape[0]), dtype=dtype)
        return jnp.concatenate([one_gate(k) for k in jax.random.split(key, shape[1] // shape[0])], axis=1)

    def make(name, shape):
        init = orthogonal_gates if len(shape) == 2 else nn.initializers.zeros
        return module.param(name, init, shape, jnp.float32).astype(dtype)

    return tuple(make(*weight) for weight in RECURRENCE[recurrence].weights(width).items())


class Recurrent(nn.Module):
    """A recurrence of ops/recurrence.py over time, behind the call signature of attention.

    Recurrent matrices start orthogonal gate by gate (Saxe et al. 2014) and the LSTM's forget bias at 1
    (Jozefowicz et al. 2015): a baseline that cannot remember at the start would prove nothing.
    """

    recurrence: str
    width: int
    form: str = "auto"
    project_out: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x_BxLxD, context: Context | None = None, state=None):
        """Mixes time steps from left to right; the order of time is the order of the array.

        Args:
          context: its mask must be None: a recurrence sees every earlier step. Nothing else of it is read: padding
            comes last, and no step reads a later one.
          state: the carry to continue from (a tuple of BxR arrays), or None for zeros.

        Returns:
          y_BxLxD and the last carry (None if none was given).

        Raises:
          ValueError: a mask was given.
        """
        if context is not None and context.mask is not None:
            raise ValueError(f"{self.recurrence} reads every earlier step and cannot honour an attention mask")
        G = RECURRENCE[self.recurrence].num_gates * self.width
        bias_init = partial(input_bias, self.recurrence)
        projection = Projection(G, bias_init, name="input")(x_BxLxD.shape[-1])
        x_BxLxD, *projection = (array.astype(self.dtype) for array in (x_BxLxD, *projection))
        carry = self.initial_state(x_BxLxD.shape[0]) if state is None else state
        weights = own_weights(self, self.recurrence, self.width, self.dtype)
        h_BxLxR, carry = project_and_recur(self.recurrence, x_BxLxD, tuple(projection), weights, carry, self.form)
        if self.project_out:
            h_BxLxR = Dense(x_BxLxD.shape[-1], dtype=self.dtype, name="out")(h_BxLxR)
        return h_BxLxR, None if state is None else carry

    def initial_state(self, batch_size, max_len=None):
        """A carry of zeros; its size does not depend on max_len."""
        return initial_carry(self.recurrence, batch_size, self.width, self.dtype)


class Bidirectional(nn.Module):
    """Two mixers of one kind over the same steps, one from left to right, one from each row's last real step back.

    Schuster & Paliwal 1997. Padding, at the end of a row, changes nothing, whatever it holds.
    """

    make: Callable[..., nn.Module]
    """The constructor of a mixer; `name=` is left to this module."""
    features: int | None = None
    """Width of a dense layer on both outputs; None: they stay side by side."""

    @nn.compact
    def __call__(self, x_BxLxD, context: Context | None = None, state=None):
        """x_BxLxD -> (y_BxLx2R or y_BxLxfeatures, None), zeros at padding; lengths come with the context.

        Raises:
          ValueError: a state or a mask was given: the whole sequence is read, from both ends.
        """
        if state is not None or (context is not None and context.mask is not None):
            raise ValueError("a bidirectional recurrence reads a whole sequence: no state, and no mask but lengths")
        lengths_B = None if context is None else context.lengths_B
        x_BxLxD = padding.zeroed(x_BxLxD, lengths_B)
        there, _ = self.make(name="forward")(x_BxLxD)
        back, _ = self.make(name="backward")(padding.turned(x_BxLxD, lengths_B))
        y_BxLxF = jnp.concatenate([there, padding.turned(back, lengths_B)], axis=-1)
        if self.features is not None:
            y_BxLxF = Dense(self.features, dtype=y_BxLxF.dtype, name="out")(y_BxLxF)
        return padding.zeroed(y_BxLxF, lengths_B), None
