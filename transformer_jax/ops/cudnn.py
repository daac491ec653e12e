"""cuDNN's LSTM behind the signature of `project_and_recur`, for NVIDIA GPUs.

B batch, T time steps, D width of the input, R width of the state.
"""

import jax
import jax.numpy as jnp
from jax.experimental import rnn

from transformer_jax.ops.devices import platform


def packed(projection, weights):
    """The one flat array that cuDNN reads: W_ih (4RxD), W_hh (4RxR), b_ih, b_hh, in the same gate order i, f, g, o."""
    (kernel_Dx4R, bias_4R), (w_Rx4R,) = projection, weights
    parts = kernel_Dx4R.T, w_Rx4R.T, bias_4R, jnp.zeros_like(bias_4R)
    return jnp.concatenate([part.ravel() for part in parts])


def refusal(*dtypes) -> str | None:
    """Why `lstm_cudnn` cannot run here on arrays of these types; None: it can."""
    if platform() != "gpu" or not hasattr(rnn.gpu_rnn, "compute_rnn_workspace_reserve_space_sizes"):
        return f"lstm_cudnn needs an NVIDIA GPU and JAX's CUDA plugin; this is {platform()}"
    if set(map(jnp.dtype, dtypes)) != {jnp.dtype(jnp.float32)}:
        return f"cuDNN's LSTM in JAX reads float32 only, not {sorted(map(str, dtypes))}"
    return None


def lstm_cudnn(inputs_BxTxD, projection, weights, carry):
    """`project_and_recur("lstm", ...)` by cuDNN: projection (kernel_Dx4R, bias_4R), weights (w_Rx4R,), carry (h, c).

    It starts from the raw input because cuDNN owns the projection: the projected x of RECURRENCE would have to
    go through an identity matrix of (4R)^2. Float32 without TensorFloat-32, so that it computes what the loop computes.

    Raises:
      ValueError: it is not traced for an NVIDIA GPU, or there is none (JAX asks cuDNN for sizes while it traces, so
        that this cannot be lowered elsewhere), or an array is not float32.
    """
    dtypes = {array.dtype for array in jax.tree.leaves((inputs_BxTxD, projection, weights, carry))}
    if reason := refusal(*dtypes):
        raise ValueError(reason)
    B, T, D = inputs_BxTxD.shape
    h_BxTxR, *last = rnn.lstm(
        inputs_BxTxD,
        *(state_BxR[None] for state_BxR in carry),
        packed(projection, weights),
        seq_lengths=jnp.full((B,), T, jnp.int32),
        input_size=D,
        hidden_size=weights[0].shape[0],
        num_layers=1,
        dropout=0.0,
        bidirectional=False,
        precision=jax.lax.Precision.HIGHEST,
    )
    return h_BxTxR, tuple(state_1xBxR[0] for state_1xBxR in last)
