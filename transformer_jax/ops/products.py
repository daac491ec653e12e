"""Products with weights, in the forms that are fast forwards and backwards."""

import math
from functools import partial

import jax
from jax import lax

from transformer_jax.ops.devices import platform, vary_alike


def flat(x, kernel, dimension_numbers, precision=None, preferred_element_type=None):
    """`jax.lax.dot_general` of x (..., contracted) and a kernel (contracted, ...), without axes of a batch.

    Computed as one (N, K) @ (K, M): were sequences and steps two axes, the gradient of the kernel would contract over
    both, and XLA:CPU then transposes in memory first and takes a form at half the speed (docs/notes/training_step.md).
    Reverse mode only (no jvp).

    Raises:
      ValueError: other axes are contracted.
    """
    (of_x, of_kernel), (batch, _) = dimension_numbers
    contracted = len(of_x)
    axes = range(x.ndim - contracted, x.ndim)
    if batch or tuple(of_x) != tuple(axes) or tuple(of_kernel) != tuple(range(contracted)):
        raise ValueError(f"a product of x (..., contracted) and a kernel (contracted, ...), not {dimension_numbers}")
    rows, shared, columns = x.shape[: x.ndim - contracted], kernel.shape[:contracted], kernel.shape[contracted:]
    N, K, M = map(math.prod, (rows, shared, columns))
    arrays = vary_alike((x.reshape(N, K), kernel.reshape(K, M)))
    return _product(precision, preferred_element_type, *arrays).reshape(*rows, *columns)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _product(precision, preferred, x_NxK, kernel_KxM):
    return _dot(precision, preferred, x_NxK, kernel_KxM, 1, 0)


def _forward(precision, preferred, x_NxK, kernel_KxM):
    return _product(precision, preferred, x_NxK, kernel_KxM), (x_NxK, kernel_KxM)


def _backward(precision, preferred, kept, d_NxM):
    """The kernel's gradient contracts the first axes of x and d. XLA:CPU takes up to 1.5 times as long for it as for a
    plain product, unless the larger of the two is the second factor: a d that is no wider is transposed in memory."""
    (x_NxK, kernel_KxM), dot = kept, partial(_dot, precision, None)
    d_x_NxK = dot(d_NxM, kernel_KxM, 1, 1).astype(x_NxK.dtype)
    if platform() == "cpu" and x_NxK.shape[1] >= d_NxM.shape[1]:
        d_kernel_KxM = lax.optimization_barrier(dot(lax.optimization_barrier(d_NxM.T), x_NxK, 1, 0)).T
    else:
        d_kernel_KxM = dot(x_NxK, d_NxM, 0, 0)
    return d_x_NxK, d_kernel_KxM.astype(kernel_KxM.dtype)


_product.defvjp(_forward, _backward)


def _dot(precision, preferred, one, other, of_one: int, of_other: int):
    axes = ((of_one,), (of_other,)), ((), ())
    return lax.dot_general(one, other, axes, precision=precision, preferred_element_type=preferred)
