"""The linear recurrence h_t = a_t h_{t-1} + b_t in three named forms, with one gradient for all of them.

B batch, T time steps, R width, N chunks, C steps of a chunk.

| form          | depth      | multiplications | chosen by `auto` on |
|---------------|------------|-----------------|---------------------|
| `sequential`  | T          | T               | CPU                 |
| `chunked`     | 2 sqrt(T)  | 3 T             |                     |
| `associative` | 2 log2(T)  | about 3 T       | accelerators        |
"""

import math
from functools import partial

import jax
import jax.numpy as jnp

from transformer_jax.ops import devices


def _sequential(a_BxTxR, b_BxTxR, h_BxR):
    def step(h_BxR, ab):
        h_BxR = ab[0] * h_BxR + ab[1]
        return h_BxR, h_BxR

    h_TxBxR = jax.lax.scan(step, h_BxR, (a_BxTxR.swapaxes(0, 1), b_BxTxR.swapaxes(0, 1)))[1]
    return h_TxBxR.swapaxes(0, 1)


def _compose(first, then):
    return then[0] * first[0], then[0] * first[1] + then[1]


def _chunked(a_BxTxR, b_BxTxR, h_BxR):
    B, T, R = a_BxTxR.shape
    C = math.isqrt(T - 1) + 1
    N = -(-T // C)
    padding = ((0, 0), (0, N * C - T), (0, 0))
    a, b = (
        jnp.pad(x, padding, constant_values=fill).reshape(B, N, C, R).transpose(2, 1, 0, 3)
        for x, fill in ((a_BxTxR, 1), (b_BxTxR, 0))
    )

    def within(composed, ab):  # all chunks side by side, each from its own start
        composed = _compose(composed, ab)
        return composed, composed

    unit = jnp.ones_like(a[0]), jnp.zeros_like(b[0])
    (a_NxBxR, b_NxBxR), (a_CxNxBxR, b_CxNxBxR) = jax.lax.scan(within, unit, (a, b))
    starts_NxBxR = jax.lax.scan(lambda h, ab: (ab[0] * h + ab[1], h), h_BxR, (a_NxBxR, b_NxBxR))[1]
    h_CxNxBxR = a_CxNxBxR * starts_NxBxR + b_CxNxBxR
    return h_CxNxBxR.transpose(2, 1, 0, 3).reshape(B, N * C, R)[:, :T]


def _associative(a_BxTxR, b_BxTxR, h_BxR):
    a_BxTxR, b_BxTxR = jax.lax.associative_scan(_compose, (a_BxTxR, b_BxTxR), axis=1)
    return a_BxTxR * h_BxR[:, None] + b_BxTxR


FORMS = {"sequential": _sequential, "chunked": _chunked, "associative": _associative}


def picked(platform: str | None = None) -> str:
    """The form that "auto" takes on a platform ("cpu", "gpu", ...); None: the one that is traced for."""
    return "sequential" if (platform or devices.platform()) == "cpu" else "associative"


def linear_recurrence(a_BxTxR, b_BxTxR, h_BxR, form: str = "auto") -> jax.Array:
    """h_BxTxR with h_t = a_t h_{t-1} + b_t, starting from h_BxR; T >= 1, one dtype.

    Raises ValueError if the form is neither "auto" nor in FORMS.
    """
    form = picked() if form == "auto" else form
    if form not in FORMS:
        raise ValueError(f"no form {form!r} of the linear recurrence; there are auto, {', '.join(FORMS)}")
    return _recur(form, *devices.vary_alike((a_BxTxR, b_BxTxR, h_BxR)))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _recur(form, a_BxTxR, b_BxTxR, h_BxR):
    return FORMS[form](a_BxTxR, b_BxTxR, h_BxR)


def _recur_fwd(form, a_BxTxR, b_BxTxR, h_BxR):
    h_BxTxR = _recur(form, a_BxTxR, b_BxTxR, h_BxR)
    return h_BxTxR, (a_BxTxR, h_BxTxR, h_BxR)


def _recur_bwd(form, residuals, dh_BxTxR):
    """The gradient is the same recurrence run backward: g_t = dh_t + a_{t+1} g_{t+1}."""
    a_BxTxR, h_BxTxR, h_BxR = residuals
    after_BxTxR = jnp.concatenate([a_BxTxR[:, 1:], jnp.zeros_like(a_BxTxR[:, :1])], axis=1)
    g_BxTxR = _recur(form, after_BxTxR[:, ::-1], dh_BxTxR[:, ::-1], jnp.zeros_like(h_BxR))[:, ::-1]
    before_BxTxR = jnp.concatenate([h_BxR[:, None], h_BxTxR[:, :-1]], axis=1)
    return g_BxTxR * before_BxTxR, g_BxTxR, a_BxTxR[:, 0] * g_BxTxR[:, 0]


_recur.defvjp(_recur_fwd, _recur_bwd)
