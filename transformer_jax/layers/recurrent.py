"""A recurrence as a sequence mixer: the input projection, the scan over time, set up as an expert would."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from transformer_jax.layers.block import Context
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
        projection = Projection(G, self._bias_init, name="input")(x_BxLxD.shape[-1])
        x_BxLxD, *projection = (array.astype(self.dtype) for array in (x_BxLxD, *projection))
        carry = self.initial_state(x_BxLxD.shape[0]) if state is None else state
        h_BxLxR, carry = project_and_recur(
            self.recurrence, x_BxLxD, tuple(projection), self._weights(), carry, self.form
        )
        if self.project_out:
            h_BxLxR = nn.Dense(x_BxLxD.shape[-1], dtype=self.dtype, name="out")(h_BxLxR)
        return h_BxLxR, None if state is None else carry

    def _weights(self):
        def orthogonal_gates(key, shape, dtype):
            one_gate = partial(nn.initializers.orthogonal(), shape=(shape[0], shape[0]), dtype=dtype)
            return jnp.concatenate([one_gate(k) for k in jax.random.split(key, shape[1] // shape[0])], axis=1)

        def make(name, shape):
            init = orthogonal_gates if len(shape) == 2 else nn.initializers.zeros
            return self.param(name, init, shape, jnp.float32).astype(self.dtype)

        return tuple(make(*weight) for weight in RECURRENCE[self.recurrence].weights(self.width).items())

    def _bias_init(self, key, shape, dtype):
        del key
        gate, bias = RECURRENCE[self.recurrence].forget_gate, jnp.zeros(shape, dtype)
        return bias if gate is None else bias.at[gate * self.width : (gate + 1) * self.width].set(1)

    def initial_state(self, batch_size, max_len=None):
        """A carry of zeros; its size does not depend on max_len."""
        return initial_carry(self.recurrence, batch_size, self.width, self.dtype)
