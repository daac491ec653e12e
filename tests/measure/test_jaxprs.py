"""Reading a jaxpr: what is left out, what is entered, and how many trips a loop makes; more in test_flops.py."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from transformer_jax.measure import jaxprs

X = jax.ShapeDtypeStruct((3,), jnp.float32)


def test_equations_without_a_use_are_left_out_and_constants_are_known():
    table = jnp.arange(3.0)

    def fn(x):
        _ = jnp.tan(x)
        return jnp.sin(x) * table

    jaxpr, known = jaxprs.traced(fn, X)
    assert [eqn.primitive.name for eqn in jaxpr.eqns] == ["sin", "mul"]
    assert all(value.shape == (3,) for value in known.values())


def test_a_call_is_entered_with_what_is_known_of_its_arguments():
    inner = jax.jit(lambda n, x: lax.fori_loop(0, n, lambda _, c: c * 2, x))
    jaxpr, known = jaxprs.traced(lambda x: inner(7, x), X)
    (eqn,) = [eqn for eqn in jaxpr.eqns if eqn.primitive.name in jaxprs.CALLS]
    body, of_body = jaxprs.called(eqn, known)
    (loop,) = [eqn for eqn in body.eqns if eqn.primitive.name == "while"]
    assert jaxprs.trip_count(loop, of_body) == 7
    with pytest.raises(jaxprs.UnknownTripCount, match="test_jaxprs.py"):
        jaxprs.trip_count(loop, {})
