"""Recurrences over an already projected sequence: tanh-RNN, GRU, LSTM and minGRU behind one signature.

    recur(x_BxTxG, weights, carry) -> (h_BxTxR, carry)

x is the input after its projection (and bias), G = num_gates * R, T >= 1. The same call with T = 1 is a decoding
step. `RECURRENCE[name]` holds what the project knows of a recurrence. `project_and_recur` starts from the raw input;
on a CPU, without a gradient, it never holds all of x.

Arithmetic is float32 (float64 for float64 inputs), the operands of matmuls have the weights' dtype, h comes back
in x's dtype and the carry keeps its own. ValueError: shapes that do not fit each other.
B batch, T time steps, R width, G gates times width, D width of the raw input.

What was tried on two CPU cores, and what it gave: docs/notes/recurrence.md.
"""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from transformer_jax.ops.cudnn import lstm_cudnn
from transformer_jax.ops.devices import platform, vary_alike
from transformer_jax.ops.linear_recurrence import FORMS, linear_recurrence


class Recurrence(NamedTuple):
    """One recurrence: layers, FLOPs, parameters and programs follow from this record."""

    recur: Callable
    """recur(x_BxTxG, weights, carry) -> (h_BxTxR, carry); it takes form= as well if it has several forms."""
    num_gates: int
    """G / R: how many projections of the input it reads."""
    weights: Callable[[int], dict[str, tuple[int, ...]]] = lambda R: {}
    """Names and shapes of its own weights, for a width R, in the order in which `recur` takes them. A matrix
    multiplies the state once a step; where there is none, the gates read the input alone. A vector is a bias."""
    num_carry: int = 1
    """Arrays of BxR that it carries from step to step; h is the first."""
    forget_gate: int | None = None
    """The gate that keeps the state where it is open: its bias starts at 1."""
    recomputed_gates: int = 0
    """Gates whose product with the state costs the backward pass a third matmul of one gate, not only two."""
    forms: tuple[str, ...] = ("sequential",)
    """How `recur` can run over time."""
    projecting: Mapping[str, Callable] = MappingProxyType({})
    """More forms, which project by themselves: form -> fn(inputs_BxTxD, projection, weights, carry)."""


def initial_carry(name: str, batch_size: int, width: int, dtype=jnp.float32) -> tuple[jax.Array, ...]:
    """Zeros, as many arrays of BxR as the recurrence carries. KeyError if the name is unknown."""
    return tuple(jnp.zeros((batch_size, width), dtype) for _ in range(RECURRENCE[name].num_carry))


def _check(name, x, weights, carry) -> None:
    B, R = carry[0].shape
    G = RECURRENCE[name].num_gates * R
    shapes = tuple(RECURRENCE[name].weights(R).values())
    if x.ndim != 3 or x.shape[::2] != (B, G) or x.shape[1] < 1:
        raise ValueError(f"{name} with a carry of {(B, R)} reads x ({B}, T >= 1, {G}), not {x.shape}")
    if tuple(w.shape for w in weights) != shapes:
        raise ValueError(f"{name} of width {R} has weights {shapes}, not {tuple(w.shape for w in weights)}")


def _compute_dtype(array):
    return jnp.promote_types(array.dtype, jnp.float32)


def _matmul(h, w):
    return jnp.matmul(h.astype(w.dtype), w, preferred_element_type=_compute_dtype(w))


def _cast(tree, like):
    return jax.tree.map(lambda array, target: array.astype(target.dtype), tree, like)


def _read(array_BxTxW, t, column=0, width=None):
    B, _, W = array_BxTxW.shape
    sizes = (B, 1, width or W)
    row = jax.lax.dynamic_slice(array_BxTxW, (0, t, column), sizes, allow_negative_indices=False)[:, 0]
    return row.astype(_compute_dtype(row))


def _write(array_BxTxW, t, row, column=0):
    row = row.astype(array_BxTxW.dtype)[:, None]
    return jax.lax.dynamic_update_slice(array_BxTxW, row, (0, t, column), allow_negative_indices=False)


def _gates(array_BxTxW, t, R):
    """Row t gate by gate. One slice cut in several after arithmetic would become a function that XLA:CPU calls
    for every element; a slice for each gate stays inside a loop that it vectorises."""
    return tuple(_read(array_BxTxW, t, column, R) for column in range(0, array_BxTxW.shape[-1], R))


def _each_step(T, body, state):
    """body(t, state) -> state, for t from 0 to T - 1.

    A `fori_loop` does the same, but under a scan over layers its counter, which depends on nothing, becomes a loop
    of T trips of its own.
    """
    return jax.lax.scan(lambda state, t: (body(t, state), None), state, jnp.arange(T))[0]


def _sweep_back(unstep, d_carry, over, reads):
    """Runs `unstep(d_carry, rows) -> d_carry, deltas` from the last row to the first; deltas overwrite `over`.

    The rows of the next step ride in the loop's carry and are read after the deltas are written: read from
    the arrays as they were before, XLA would copy these whole at every step.
    """

    def body(i, state):
        d_carry, rows, over = state
        t = T - 1 - i
        d_carry, deltas = unstep(d_carry, rows)
        over = tuple(_write(array, t, delta) for array, delta in zip(over, deltas, strict=True))
        return d_carry, tuple(_read(array, t - 1) for array in (*over, *reads)), over

    T = reads[0].shape[1]
    rows = tuple(_read(array, T - 1) for array in (*over, *reads))
    d_carry, _, over = _each_step(T, body, (d_carry, rows, over))
    return d_carry, over


def _recurrence(name, step, unstep, weight_gradients, num_kept=0, num_deltas=1, one_gate=False):
    """A differentiable recurrence from one step, its transpose, and the sums over time for the weights.

    step(weights, carry, x_BxTxG, t, keep) -> carry, x, kept. If keep, row t of x becomes the gates, and kept are
    num_kept further rows for the backward pass. unstep(w_GxR, d_carry, [gates, *kept,] h_before, h) -> d_carry,
    deltas: one for the gates (it is dx) and one for each kept row that weight_gradients(h_before_BxTxR, *deltas) needs.
    one_gate: h overwrites x and is all that the backward pass reads.
    """

    def forward(x, weights, carry, keep):
        _check(name, x, weights, carry)
        T, R = x.shape[1], carry[0].shape[-1]
        num_arrays = 0 if one_gate else 1 + keep * num_kept
        arrays = (jnp.zeros_like(x[..., :R]),) * num_arrays  # like x, to vary as x does under shard_map

        def body(t, state):
            old, x, arrays = state
            after, x, kept = step(weights, old, x, t, keep)
            after = _cast(after, old)
            x = _write(x, t, after[0]) if one_gate else x
            arrays = tuple(_write(a, t, row) for a, row in zip(arrays, (after[0], *kept), strict=False))
            return after, x, arrays

        carry, x, arrays = _each_step(T, body, (carry, x, arrays))
        return (x, carry, ()) if one_gate else (arrays[0], carry, (x, *arrays[1:]))

    @jax.custom_vjp
    def recur(x, weights, carry):
        h, carry, _ = forward(x, weights, carry, keep=False)
        return h, carry

    def recur_fwd(x, weights, carry):
        h, last, kept = forward(x, weights, carry, keep=True)
        return (h, last), (kept, h, weights, carry)

    def recur_bwd(residuals, cotangents):
        (kept, h, weights, carry), (d_h, d_last) = residuals, cotangents
        h_before = jnp.concatenate([carry[0][:, None].astype(h.dtype), h[:, :-1]], axis=1)
        w_GxR = weights[0].T  # outside the loop: a step that multiplies with a transposed view is a third slower

        def backward_step(d_carry, rows):
            *kept, d_h, h_before, h = rows
            return unstep(w_GxR, (d_carry[0] + d_h, *d_carry[1:]), *kept, h_before, h)

        arrays = (*kept, d_h, h_before, h)
        d_last = tuple(array.astype(_compute_dtype(h)) for array in d_last)
        d_carry, deltas = _sweep_back(backward_step, d_last, arrays[:num_deltas], arrays[num_deltas:])
        return deltas[0], _cast(weight_gradients(h_before, *deltas), weights), _cast(d_carry, carry)

    recur.defvjp(recur_fwd, recur_bwd)
    return lambda x, weights, carry: recur(*vary_alike((x, weights, carry)))


def _outer(h_BxTxR, delta_BxTxG):
    """Sum over batch and time of the outer products: the gradient of a matrix that h is multiplied with.

    One flat axis: for a contraction over two, XLA:CPU would first transpose both arrays in memory.
    """
    h, delta = (array.reshape(-1, array.shape[-1]) for array in (h_BxTxR, delta_BxTxG))
    return jnp.matmul(h.T, delta, preferred_element_type=_compute_dtype(h))


def _rnn_step(weights, carry, x_BxTxR, t, keep):
    return (jnp.tanh(_read(x_BxTxR, t) + _matmul(carry[0], weights[0])),), x_BxTxR, ()


def _rnn_unstep(w_RxR, d_carry, h_before, h):
    dx = d_carry[0] * (1 - h * h)
    return (_matmul(dx, w_RxR),), (dx,)


def _gru_step(weights, carry, x_BxTx3R, t, keep):
    (w_Rx3R, b_R), (h,) = weights, carry
    R = h.shape[-1]
    x_r, x_z, x_n = _gates(x_BxTx3R, t, R)
    a_r, a_z, a_n = jnp.split(_matmul(h, w_Rx3R), 3, axis=-1)
    r, z, m = jax.nn.sigmoid(x_r + a_r), jax.nn.sigmoid(x_z + a_z), a_n + b_R
    n = jnp.tanh(x_n + r * m)
    if keep:
        x_BxTx3R = _write(x_BxTx3R, t, jnp.concatenate([r, z, n], axis=-1))
    return ((1 - z) * n + z * h,), x_BxTx3R, (m,)


def _gru_unstep(w_3RxR, d_carry, rzn, m, h_before, h):
    (d_h,) = d_carry
    r, z, n = jnp.split(rzn, 3, axis=-1)
    dn = d_h * (1 - z) * (1 - n * n)
    dz = d_h * (h_before - n) * (z - z * z)
    dr = dn * m * (r - r * r)
    dm = dn * r
    d_h = d_h * z + _matmul(jnp.concatenate([dr, dz, dm], axis=-1), w_3RxR)
    return (d_h,), (jnp.concatenate([dr, dz, dn], axis=-1), dm)


def _gru_weight_gradients(h_before, dx_BxTx3R, dm_BxTxR):
    R = dm_BxTxR.shape[-1]
    dw = _outer(h_before, dx_BxTx3R).at[:, 2 * R :].set(_outer(h_before, dm_BxTxR))  # slicing dx would copy it
    return dw, dm_BxTxR.sum((0, 1), dtype=_compute_dtype(dm_BxTxR))


def _lstm_step(weights, carry, x_BxTx4R, t, keep):
    h, c = carry
    R = h.shape[-1]
    scale = np.repeat(np.array([0.5, 0.5, 1, 0.5], _compute_dtype(x_BxTx4R)), R)
    a_Bx4R = _read(x_BxTx4R, t) + _matmul(h, weights[0])
    # sigmoid(a) = tanh(a / 2) / 2 + 1 / 2: all four gates by one tanh
    x_BxTx4R = _write(x_BxTx4R, t, scale * jnp.tanh(scale * a_Bx4R) + (1 - scale))
    i, f, g, o = _gates(x_BxTx4R, t, R)
    after = f * c + i * g
    return (o * jnp.tanh(after), after), x_BxTx4R, (c,)


def _lstm_unstep(w_4RxR, d_carry, ifgo, c, h_before, h):
    d_h, d_c = d_carry
    i, f, g, o = jnp.split(ifgo, 4, axis=-1)
    tanh_c = jnp.tanh(f * c + i * g)
    d_c = d_c + d_h * o * (1 - tanh_c * tanh_c)
    di, df, dg = d_c * g * (i - i * i), d_c * c * (f - f * f), d_c * i * (1 - g * g)
    dx = jnp.concatenate([di, df, dg, d_h * tanh_c * (o - o * o)], axis=-1)
    return (_matmul(dx, w_4RxR), d_c * f), (dx,)


def _same_matrix(h_before, dx):
    return (_outer(h_before, dx),)


rnn = _recurrence("rnn", _rnn_step, _rnn_unstep, _same_matrix, one_gate=True)
gru = _recurrence("gru", _gru_step, _gru_unstep, _gru_weight_gradients, num_kept=1, num_deltas=2)
lstm = _recurrence("lstm", _lstm_step, _lstm_unstep, _same_matrix, num_kept=1)


def min_gru(x_BxTx2R, weights, carry, *, form: str = "auto"):
    """x = [z logits, candidate]; h_t = (1 - z_t) h_{t-1} + z_t g(candidate_t); no weights, carry (h_BxR,).

    g(v) = v + 1/2 for v >= 0, else sigmoid(v), so that h stays positive: Feng et al. 2024, arXiv 2410.01201,
    appendix B. form: how the linear recurrence runs, see ops/linear_recurrence.py.
    """
    _check("min_gru", x_BxTx2R, weights, carry)
    z, v = jnp.split(x_BxTx2R.astype(_compute_dtype(x_BxTx2R)), 2, axis=-1)
    z = jax.nn.sigmoid(z)
    candidate = jnp.where(v >= 0, v + 0.5, jax.nn.sigmoid(v))
    h_BxTxR = linear_recurrence(1 - z, z * candidate, carry[0].astype(z.dtype), form)
    return h_BxTxR.astype(x_BxTx2R.dtype), (h_BxTxR[:, -1].astype(carry[0].dtype),)


RECURRENCE: dict[str, Recurrence] = {
    "rnn": Recurrence(rnn, num_gates=1, weights=lambda R: {"kernel": (R, R)}),
    "gru": Recurrence(
        gru,
        num_gates=3,
        weights=lambda R: {"kernel": (R, 3 * R), "bias": (R,)},
        recomputed_gates=1,  # the candidate's: the reset gate multiplies it
    ),
    "lstm": Recurrence(
        lstm,
        num_gates=4,
        weights=lambda R: {"kernel": (R, 4 * R)},
        num_carry=2,
        forget_gate=1,  # of i, f, g, o
        projecting={"cudnn": lstm_cudnn},
    ),
    "min_gru": Recurrence(min_gru, num_gates=2, forms=tuple(FORMS)),  # its gates read the input alone: a linear scan
}
_BLOCK = 32  # time steps that `project_and_recur` projects at once: their x stays in cache


def _project(inputs_BxTxD, projection):
    kernel_DxG, bias_G = projection
    B, T, D = inputs_BxTxD.shape
    return (inputs_BxTxD.reshape(B * T, D) @ kernel_DxG + bias_G).reshape(B, T, -1)  # flat: as in `_outer`


def named(name: str, form: str = "auto"):
    """The function of RECURRENCE[name] in one of its forms.

    Raises ValueError where a projected input has no such form; for those that project by themselves see
    `project_and_recur`.
    """
    recurrence = RECURRENCE[name]
    if form not in ("auto", *recurrence.forms):
        raise ValueError(f"{name} of a projected input runs as {' or '.join(recurrence.forms)}, not as {form!r}")
    return partial(recurrence.recur, form=form) if len(recurrence.forms) > 1 else recurrence.recur


def project_and_recur(name, inputs_BxTxD, projection, weights, carry, form="auto"):
    """RECURRENCE[name] of inputs @ kernel + bias; projection (kernel_DxG, bias_G); returns (h_BxTxR, carry).

    form: as in `named`, or one that projects by itself. On a CPU and without a gradient, x exists only a block of
    steps at a time; a recurrence of several forms is left whole, as they cut time by themselves. Under a gradient x
    is projected as a whole, because its memory is then the one that holds the gates for the backward pass.
    """
    recurrence = RECURRENCE[name]
    if form in recurrence.projecting:
        return recurrence.projecting[form](inputs_BxTxD, projection, weights, carry)
    recur = named(name, form)
    if len(recurrence.forms) > 1 or platform() != "cpu" or inputs_BxTxD.shape[1] < 2 * _BLOCK:
        return recur(_project(inputs_BxTxD, projection), weights, carry)
    return _project_by_blocks(recur, *vary_alike((inputs_BxTxD, projection, weights, carry)))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _project_by_blocks(recur, inputs_BxTxD, projection, weights, carry):
    blocks = inputs_BxTxD.shape[1] // _BLOCK

    def block(state, n):
        carry, h_BxTxR = state
        inputs = jax.lax.dynamic_slice_in_dim(inputs_BxTxD, n * _BLOCK, _BLOCK, axis=1)
        h, carry = recur(_project(inputs, projection), weights, carry)
        return (carry, jax.lax.dynamic_update_slice_in_dim(h_BxTxR, h, n * _BLOCK, axis=1)), None

    B, T = inputs_BxTxD.shape[:2]
    dtype = jnp.result_type(inputs_BxTxD, *projection)
    h_BxTxR = jnp.zeros_like(inputs_BxTxD, dtype, shape=(B, T, carry[0].shape[-1]))
    (carry, h_BxTxR), _ = jax.lax.scan(block, (carry, h_BxTxR), jnp.arange(blocks))
    if T % _BLOCK:
        h, carry = recur(_project(inputs_BxTxD[:, blocks * _BLOCK :], projection), weights, carry)
        h_BxTxR = h_BxTxR.at[:, blocks * _BLOCK :].set(h)
    return h_BxTxR, carry


def _project_by_blocks_fwd(recur, inputs, projection, weights, carry):
    def whole(inputs, projection, weights, carry):
        return recur(_project(inputs, projection), weights, carry)

    return jax.vjp(whole, inputs, projection, weights, carry)


_project_by_blocks.defvjp(_project_by_blocks_fwd, lambda _, pullback, cotangents: pullback(cotangents))
