"""What follows from the columns of a measured row."""

import jax
import jax.numpy as jnp

from transformer_jax.measure import memory
from transformer_jax.report import costs


def test_what_is_argument_and_output_counts_once():
    def step(x, y):
        return x + y, (x * y).sum(axis=0)

    x = y = jnp.ones((256, 64))
    found = {}
    for donated in ((), (0,)):
        planned = memory.program_memory(jax.jit(step, donate_argnums=donated).lower(x, y).compile())
        found[donated] = planned.__dict__
        whole = 3 * 256 * 64 * 4 + 64 * 4 + planned.temp_bytes  # x, y and their sum; and one row
        assert abs(costs.memory_bytes(found[donated]) - whole + 256 * 64 * 4 * len(donated)) <= 64
    assert found[(0,)]["alias_bytes"] > 0 and found[()]["alias_bytes"] == 0


def test_where_nothing_is_planned_or_a_kernel_hides_it():
    assert costs.memory_bytes({"argument_bytes": 1, "output_bytes": 2, "temp_bytes": None}) is None
    assert costs.memory_bytes({}) is None
    assert costs.flops({"jaxpr_flops": 7, "closed_form_flops": 5}) == 7
    assert costs.flops({"jaxpr_flops": None, "closed_form_flops": 5}) == 5 and costs.flops({}) is None
