"""Recurrences over an already projected sequence: tanh-RNN, GRU, LSTM and minGRU behind one signature.

    recur(x_BxTxG, weights, carry) -> (h_BxTxR, carry)

x is the input after its projection (and bias), which the layer does as one large matmul;
G = NUM_GATES[name] * R. The same call with T = 1 is a decoding step.
Names in shapes: B batch, T time steps, R width, G gates times width.
"""

import jax
import jax.numpy as jnp

NUM_GATES = {"rnn": 1, "gru": 3, "lstm": 4, "min_gru": 2}


def initial_carry(name: str, batch_size: int, width: int, dtype=jnp.float32) -> tuple[jax.Array, ...]:
    """Zeros: (h_BxR,) for rnn, gru and min_gru, (h_BxR, c_BxR) for lstm. KeyError if the name is unknown."""
    num_arrays = {"rnn": 1, "gru": 1, "lstm": 2, "min_gru": 1}[name]
    return tuple(jnp.zeros((batch_size, width), dtype) for _ in range(num_arrays))


def _scan(step, x_BxTxG, carry):
    carry, h_TxBxR = jax.lax.scan(step, carry, x_BxTxG.swapaxes(0, 1))
    return h_TxBxR.swapaxes(0, 1), carry


def rnn(x_BxTxR, weights, carry):
    """h_t = tanh(x_t + h_{t-1} w); weights (w_RxR,), carry (h_BxR,). Elman, Cognitive Science 14, 1990."""
    (w_RxR,) = weights

    def step(carry, x_BxR):
        h_BxR = jnp.tanh(x_BxR + carry[0] @ w_RxR).astype(carry[0].dtype)
        return (h_BxR,), h_BxR.astype(x_BxR.dtype)

    return _scan(step, x_BxTxR, carry)


def gru(x_BxTx3R, weights, carry):
    """n = tanh(x_n + r (h w_n + b)), h = (1 - z) n + z h; gate order r, z, n.

    weights (w_Rx3R, b_R), carry (h_BxR,).
    """
    w_Rx3R, b_R = weights

    def step(carry, x_Bx3R):
        (h_BxR,) = carry
        xr, xz, xn = jnp.split(x_Bx3R, 3, axis=-1)
        ar, az, an = jnp.split(h_BxR @ w_Rx3R, 3, axis=-1)
        r, z = jax.nn.sigmoid(xr + ar), jax.nn.sigmoid(xz + az)
        n = jnp.tanh(xn + r * (an + b_R))
        h_BxR = ((1 - z) * n + z * h_BxR).astype(h_BxR.dtype)
        return (h_BxR,), h_BxR.astype(x_Bx3R.dtype)

    return _scan(step, x_BxTx3R, carry)


def lstm(x_BxTx4R, weights, carry):
    """Gates i, f, g, o: c = f c + i g, h = o tanh(c); weights (w_Rx4R,), carry (h_BxR, c_BxR)."""
    (w_Rx4R,) = weights

    def step(carry, x_Bx4R):
        h_BxR, c_BxR = carry
        i, f, g, o = jnp.split(x_Bx4R + h_BxR @ w_Rx4R, 4, axis=-1)
        i, f, g, o = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)
        c_BxR = (f * c_BxR + i * g).astype(c_BxR.dtype)
        h_BxR = (o * jnp.tanh(c_BxR)).astype(h_BxR.dtype)
        return (h_BxR, c_BxR), h_BxR.astype(x_Bx4R.dtype)

    return _scan(step, x_BxTx4R, carry)


def min_gru(x_BxTx2R, weights, carry):
    """x = [z logits, candidate]; h_t = (1 - z_t) h_{t-1} + z_t g(candidate_t); no weights, carry (h_BxR,).

    g(v) = v + 1/2 for v >= 0, else sigmoid(v), so that h stays positive.
    Feng et al., arXiv 2410.01201, appendix B.
    """
    () = weights
    z_BxTxR, v_BxTxR = jnp.split(x_BxTx2R, 2, axis=-1)
    z_BxTxR = jax.nn.sigmoid(z_BxTxR)
    b_BxTxR = z_BxTxR * jnp.where(v_BxTxR >= 0, v_BxTxR + 0.5, jax.nn.sigmoid(v_BxTxR))

    def step(carry, ab):
        h_BxR = (ab[0] * carry[0] + ab[1]).astype(carry[0].dtype)
        return (h_BxR,), h_BxR.astype(x_BxTx2R.dtype)

    carry, h_TxBxR = jax.lax.scan(step, carry, (1 - z_BxTxR.swapaxes(0, 1), b_BxTxR.swapaxes(0, 1)))
    return h_TxBxR.swapaxes(0, 1), carry


RECURRENCE = {"rnn": rnn, "gru": gru, "lstm": lstm, "min_gru": min_gru}
