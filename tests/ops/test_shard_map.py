"""Attention and recurrences inside `jax.shard_map`: batches cut over two devices change no number.

Devices are counted when JAX starts, so that this file runs itself once as a program with two, which prints errors.
"""

import functools
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from transformer_jax.ops import norms, products
from transformer_jax.ops.attention import ATTENTION
from transformer_jax.ops.recurrence import RECURRENCE, initial_carry, project_and_recur

SHARDED = ["reference", "xla", "blockwise", "auto"]  # cuDNN and splash need their devices


def attention_case(name):
    random = np.random.default_rng(0)
    q, k, v = (jnp.asarray(random.normal(size=(2, T, heads, 5)), jnp.float32) for T, heads in ((7, 4), (9, 2), (9, 2)))
    lengths = jnp.array([6, 9])
    return lambda q, k, v, n: ATTENTION[name](q, k, v, causal=True, lengths=n), (q, k, v), (lengths,), ()


def recurrence_case(name, steps):
    """Data parallel: every device has all weights, and makes its own carry of zeros."""
    random = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(random.normal(size=shape) * 0.4, jnp.float32)  # noqa: E731
    B, D, R = 4, 3, 5
    G = RECURRENCE[name].num_gates * R
    projection, weights = (draw(D, G), draw(G)), tuple(draw(*shape) for shape in RECURRENCE[name].weights(R).values())

    def run(inputs, projection, weights):
        return project_and_recur(name, inputs, projection, weights, initial_carry(name, inputs.shape[0], R))[0]

    return run, (draw(B, steps, D),), (), (projection, weights)


def norm_case():
    random = np.random.default_rng(0)
    x, scale, bias = (jnp.asarray(random.normal(size=shape), jnp.float32) for shape in ((4, 3, 6), (6,), (6,)))
    return norms.layer_norm, (x,), (), (scale, bias)


def product_case(columns):
    """With more and with fewer columns than x has, whose gradients take two forms."""
    random = np.random.default_rng(0)
    x, kernel = (jnp.asarray(random.normal(size=shape), jnp.float32) for shape in ((4, 3, 6), (6, columns)))
    return lambda x, kernel: products.flat(x, kernel, (((2,), (0,)), ((), ()))), (x,), (), (kernel,)


def error(fn, cut, also_cut, whole):
    """The largest difference, forward and gradients, to the same function on one device, per largest entry."""
    mesh = Mesh(jax.devices(), ("data",))
    data, all_of_it = PartitionSpec("data"), PartitionSpec()
    arguments = cut + also_cut + whole
    specs = (data,) * len(cut + also_cut) + (all_of_it,) * len(whole)
    sharded = jax.shard_map(fn, mesh=mesh, in_specs=specs, out_specs=data)
    learned = [i for i in range(len(arguments)) if not len(cut) <= i < len(cut + also_cut)]

    def train(fn, *arguments):
        return fn(*arguments), jax.grad(lambda *x: (fn(*x) ** 2).sum(), learned)(*arguments)

    got, want = (jax.tree.leaves(jax.jit(functools.partial(train, f))(*arguments)) for f in (sharded, fn))
    return max(float(jnp.abs(a - b).max() / jnp.maximum(1, jnp.abs(b).max())) for a, b in zip(got, want, strict=True))


CASES = {name: functools.partial(attention_case, name) for name in SHARDED} | {
    f"{name}, {steps} steps": functools.partial(recurrence_case, name, steps)
    for name in RECURRENCE
    for steps in (7, 70)  # projected whole, and by blocks
}
CASES |= {"layer norm": norm_case} | {f"product, {m} columns": functools.partial(product_case, m) for m in (5, 7)}


def test_two_devices_compute_what_one_does():
    """All cases in one process of its own: the number of devices is fixed when JAX starts."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert found.keys() == CASES.keys()
    assert not {case: error for case, error in found.items() if not isinstance(error, float) or not error < 2e-6}


if __name__ == "__main__":
    found = {}
    for case, make in CASES.items():
        try:
            found[case] = error(*make())
        except Exception as failure:  # one case that fails to trace shall not hide the others
            found[case] = f"{type(failure).__name__}: {failure}"
    print(json.dumps(found))
