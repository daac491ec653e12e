"""Products with weights: against NumPy's sums, forwards and backwards, and what XLA is given."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer_jax.ops import products

sizes = st.lists(st.integers(0, 4), min_size=1, max_size=3)
LAST = ((2,), (0,)), ((), ())


def random(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


@given(rows=st.lists(st.integers(0, 4), max_size=3), shared=sizes, columns=sizes)
def test_is_the_sum_over_the_contracted_axes(rows, shared, columns):
    x, kernel = random(*rows, *shared), random(*shared, *columns)
    n = len(shared)
    of_x = tuple(range(len(rows), len(rows) + n))
    found = products.flat(x, kernel, ((of_x, tuple(range(n))), ((), ())))
    np.testing.assert_allclose(found, np.tensordot(x, kernel, n), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("columns", [(7,), (5,), (3,), (2, 4)])
def test_the_gradients_are_sums_over_rows_and_over_columns(columns):
    x, kernel, d = random(2, 3, 5), random(5, *columns), random(2, 3, *columns)
    gradients = jax.grad(lambda x, kernel: (products.flat(x, kernel, LAST) * d).sum(), (0, 1))
    d_x, d_kernel = jax.jit(gradients)(x, kernel)
    np.testing.assert_allclose(d_x, np.tensordot(d, kernel, [range(2, d.ndim), range(1, kernel.ndim)]), rtol=1e-5)
    np.testing.assert_allclose(d_kernel, np.tensordot(x, d, [(0, 1), (0, 1)]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("columns", [7, 3])
def test_lanes_and_second_gradients(columns):
    x, kernels, d = random(4, 2, 3, 5), random(4, 5, columns), random(2, 3, columns)

    def penalty(product, kernel, x):
        return (jax.grad(lambda kernel: (jnp.tanh(product(x, kernel)) * d).sum())(kernel) ** 2).sum()

    slopes = [
        jax.jit(jax.vmap(jax.grad(lambda kernel, x, product=product: penalty(product, kernel, x))))(kernels, x)
        for product in (lambda x, kernel: products.flat(x, kernel, LAST), jnp.matmul)
    ]
    np.testing.assert_allclose(*slopes, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("columns", [7, 3])
def test_the_gradient_of_a_kernel_contracts_one_axis(columns):
    def loss(kernel, x):
        return products.flat(x, kernel, LAST).sum()

    x, kernel = random(2, 3, 5), random(5, columns)
    dots = [e for e in jax.make_jaxpr(jax.grad(loss))(kernel, x).eqns if e.primitive.name == "dot_general"]
    assert dots and all(len(axes) == 1 for e in dots for axes in e.params["dimension_numbers"][0])


@pytest.mark.parametrize("columns", [7, 3])
def test_dtypes(columns):
    x, kernel = (jnp.asarray(random(*shape), jnp.bfloat16) for shape in ((2, 3, 5), (5, columns)))
    assert products.flat(x, kernel, LAST).dtype == jnp.bfloat16
    found, pull = jax.vjp(lambda *a: products.flat(*a, LAST, preferred_element_type=jnp.float32), x, kernel)
    assert found.dtype == jnp.float32 and {d.dtype for d in pull(found)} == {x.dtype}


@pytest.mark.parametrize("numbers", [(((1,), (0,)), ((), ())), (((2,), (1,)), ((), ())), (((2,), (0,)), ((0,), (1,)))])
def test_refuses_other_axes(numbers):
    with pytest.raises(ValueError, match="contracted"):
        products.flat(random(2, 5, 5), random(5, 5), numbers)
