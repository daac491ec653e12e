"""A contender: one implementation of one problem, ready to be timed once its outputs were found equal to ours."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import metadata
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from transformer_jax.config import Config
from transformer_jax.measure import memory, timing

Arrays = Mapping[str, np.ndarray]

TOLERANCE = 1e-4
"""Largest difference that float32 summed in another order may make, as a share of the array's largest entry."""

SMALLEST_SHARE = 0.01
"""An array whose entries all are below this share of the largest one of all arrays is measured against that: the
gradient of a key's bias is zero but for rounding."""


class Contender(NamedTuple):
    """step() computes once and returns JAX arrays to wait for, or has waited. outputs(): what it computes, in our
    layout, by name. columns: what a row says of it besides its time."""

    step: Callable[[], Any]
    outputs: Callable[[], Arrays]
    columns: dict[str, Any]


class Mismatch(ValueError):
    """A peer that computes something else: its time would mean nothing."""


def build(config: Config) -> Contender:
    """The contender that `config.measure.peer` names, on the problem that the rest of the config describes.

    measure.level=op with mixer=attention: softmax(QKᵀ)V, not causal where model.num_classes is set. With a
    recurrence: the whole layer, its input projection included. measure.level=model: a training step.

    Raises:
      ValueError: there is no such contender for this problem, or it cannot be compared on this machine.
    """
    if config.model.dtype != "float32":
        raise ValueError(f"peers are compared in float32, not in model.dtype={config.model.dtype}")
    if config.measure.level == "model":
        from transformer_jax.peers import step as problem
    elif config.measure.level == "op" and config.model.mixer == "attention":
        from transformer_jax.peers import attention as problem
    elif config.measure.level == "op":
        from transformer_jax.peers import recurrence as problem
    else:
        raise ValueError(f"peers are not compared at measure.level={config.measure.level}")
    peer = config.measure.peer
    if peer not in problem.PEERS:
        raise ValueError(f"measure.peer={peer} has no such thing; those that do: {', '.join(problem.PEERS)}")
    if config.measure.phase not in problem.PHASES:
        raise ValueError(f"measure.phase={config.measure.phase}: here it is one of {', '.join(problem.PHASES)}")
    if peer.startswith("torch") and jax.default_backend() != "cpu":
        raise ValueError(f"PyTorch is compared on the CPU, and JAX runs on {jax.default_backend()}")
    return problem.build(config)


def compiled(fn: Callable, args: Sequence, read: Callable[[Any], Arrays], library: str) -> Contender:
    """A contender from a JAX function; `read` names its result. Every array is an argument, so nothing is folded."""
    program = timing.compile_program(fn, args)
    columns = {
        "compile_seconds": program.compile_seconds,
        "temp_bytes": memory.program_memory(program.program).temp_bytes,
        "library": version(library),
    }
    return Contender(lambda: program(*args), lambda: read(program(*args)), columns)


def named(names: Sequence[str]) -> Callable[[Any], Arrays]:
    """Reads a tuple of arrays under these names, or one array under the first."""

    def read(result) -> Arrays:
        arrays = result if isinstance(result, (tuple, list)) else (result,)
        return {name: np.asarray(array) for name, array in zip(names, arrays, strict=False)}

    return read


def version(library: str) -> str:
    """ "torch 2.13.0": what a row says of the library that it measured."""
    return f"{library} {metadata.version(library)}"


@cache
def normal(seed: int, index: int, shape: tuple[int, ...], scale: float = 1.0) -> jax.Array:
    """A random array, the same one for every contender: number `index` of a problem's inputs, float32."""
    rng = np.random.default_rng((seed, index))
    return jnp.asarray(rng.standard_normal(shape, np.float32) * np.float32(scale))


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
