"""A contender: one implementation of one problem, ready to be timed once its outputs were found equal to ours."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import metadata
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from transformer_jax.measure import memory, timing

Arrays = Mapping[str, np.ndarray]

TOLERANCE = 1e-4
"""Largest difference that float32 summed in another order may make, as a share of the array's largest entry."""

SMALLEST_SHARE = 0.01
"""An array whose entries all are below this share of the largest one of all arrays is measured against that: the
gradient of a key's bias is zero but for rounding."""


class Contender(NamedTuple):
    """step() computes once, or `steps` times, and returns JAX arrays to wait for, or has waited. outputs(): what it
    computes, in our layout, by name. columns: what a row says of it besides its time."""

    step: Callable[[], Any]
    outputs: Callable[[], Arrays]
    columns: dict[str, Any]
    steps: int = 1


class Mismatch(ValueError):
    """A peer that computes something else: its time would mean nothing."""


def compiled(fn: Callable, args: Sequence, read: Callable[[Any], Arrays], library: str) -> Contender:
    """A contender from a JAX function; `read` names its result. Every array is an argument, so nothing is folded."""
    program = timing.compile_program(fn, args)
    columns = {
        "compile_seconds": program.compile_seconds,
        "temp_bytes": memory.program_memory(program.program).temp_bytes,
        "library": version(library),
    }
    return Contender(lambda: program(*args), lambda: read(program(*args)), columns)


def reader(names: Sequence[str]) -> Callable[[Any], Arrays]:
    """Reads a tuple of arrays under these names, or one array under the first."""

    def read(result) -> Arrays:
        arrays = result if isinstance(result, (tuple, list)) else (result,)
        return {name: np.asarray(array) for name, array in zip(names, arrays, strict=False)}

    return read


def layer_outputs(h, dx, grads: Mapping) -> Arrays:
    """What a training step of a recurrent layer gives, under one set of names for all libraries."""
    return {"h": np.asarray(h), "dx": np.asarray(dx)} | {f"d_{name}": np.asarray(g) for name, g in grads.items()}


def step_outputs(loss, grads: Mapping) -> Arrays:
    """What training steps of a model are compared by."""
    return {"loss": np.asarray(loss)} | {f"gradient of {name}": np.asarray(grad) for name, grad in grads.items()}


def version(library: str) -> str:
    """ "torch 2.13.0": what a row says of the library that it measured."""
    return f"{library} {metadata.version(library)}"


@cache
def normal(seed: int, index: int, shape: tuple[int, ...], scale: float = 1.0) -> jax.Array:
    """A random array, the same one for every contender: number `index` of a problem's inputs, float32."""
    random = np.random.default_rng((seed, index))
    return jnp.asarray(random.standard_normal(shape, np.float32) * np.float32(scale))


def largest_difference(found: Arrays, expected: Arrays) -> float:
    """The largest difference of any two entries, as a share of the largest entry of that array.

    Raises:
      Mismatch: other names, other shapes, a number that is not finite, or a difference beyond TOLERANCE.
    """
    if found.keys() != expected.keys():
        raise Mismatch(f"its outputs are {', '.join(found)}, ours are {', '.join(expected)}")
    largest = {name: float(np.max(np.abs(array), initial=0.0)) for name, array in expected.items()}
    differences = {}
    for name, array in expected.items():
        if found[name].shape != array.shape:
            raise Mismatch(f"its {name} has the shape {found[name].shape}, ours {array.shape}")
        scale = max(largest[name], SMALLEST_SHARE * max(largest.values()))
        differences[name] = float(np.max(np.abs(found[name] - array), initial=0.0)) / (scale or 1.0)
    worst = max(differences, key=lambda name: np.nan_to_num(differences[name], nan=np.inf))
    if not differences[worst] <= TOLERANCE:
        raise Mismatch(f"its {worst} differs from ours by {differences[worst]:.2g} of the largest entry")
    return differences[worst]
