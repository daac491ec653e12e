"""What a function costs by its jaxpr: FLOPs, bytes and sequential depth, with trip counts multiplied in.

XLA's own count takes the body of a loop once, however often it runs: a tanh-RNN would cost the same at T=16
and at T=256. Here each body is multiplied by its trips; what one primitive costs (`primitives.py`) follows
XLA, so that both counts of one unrolled program agree.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jax.extend import core

from transformer_jax.measure import jaxprs, primitives
from transformer_jax.measure.jaxprs import UnknownTripCount
from transformer_jax.measure.primitives import Cost, HiddenInKernel, UnknownPrimitive

__all__ = ["Count", "HiddenInKernel", "UnknownPrimitive", "UnknownTripCount", "count"]
VECTOR = "dot_general with a vector"


@dataclass(frozen=True)
class Count:
    """The cost of one call of a function.

    flops: all FLOPs, those of matrix products (`matmul_flops`) included, transcendentals excluded. The product of one
        vector with a matrix counts here alone: it is a weighted sum, as in a layer norm's gradient.
    bytes: operand plus result bytes of every primitive, as if nothing were fused: an upper bound on traffic.
        A primitive that selects (slice, gather, scatter, ...) touches only what it selects.
    sequential_depth: trips of scan and while loops on the longest path through the data flow: nested loops
        multiply, a chain of loops adds, independent loops count once (the longest). A loop's trips are
        taken to be sequential even where its body ignores the carry. Straight-line code adds nothing.
    by_primitive: name of the primitive to its summed Cost.
    """

    matmul_flops: int
    flops: int
    transcendentals: int
    bytes: int
    sequential_depth: int
    by_primitive: Mapping[str, Cost] = field(repr=False)


def count(fn: Callable, *args: Any) -> Count:
    """Counts one call of `fn(*args)`; `args`: pytrees of arrays or `jax.ShapeDtypeStruct`. Nothing is run.

    Equations whose results nobody uses are left out, as XLA leaves them out. Of the branches of a `cond`
    the one with the most FLOPs counts, as in XLA. Under `shard_map` the work of all devices is summed.

    Raises UnknownPrimitive for a primitive without a rule, HiddenInKernel (which is one) for a fused kernel, and
    UnknownTripCount for a data-dependent while loop; all name the place in the source.
    """
    jaxpr, known = jaxprs.traced(fn, *args)
    costs, depths = _walk(jaxpr, [0] * len(jaxpr.invars), known)
    total = Cost()
    for cost in costs.values():
        total = total.plus(cost)
    return Count(
        matmul_flops=costs.get("dot_general", Cost()).flops,
        flops=total.flops,
        transcendentals=total.transcendentals,
        bytes=total.bytes,
        sequential_depth=max(depths, default=0),
        by_primitive=dict(sorted(costs.items())),
    )


Costs = dict[str, Cost]


def _walk(jaxpr: core.Jaxpr, depths: Sequence[int], known: dict) -> tuple[Costs, list[int]]:
    """Costs of the equations and the depth of each output, given each input's depth and the known values."""
    costs: Costs = {}
    depth = dict(zip(jaxpr.invars, depths, strict=True))

    def depth_of(atoms: Sequence[Any]) -> list[int]:
        return [0 if isinstance(atom, core.Literal) else depth.get(atom, 0) for atom in atoms]

    for eqn in jaxpr.eqns:
        part, writes = _equation(eqn, depth_of(eqn.invars), known)
        depth.update(zip(eqn.outvars, writes, strict=True))
        for name, cost in part.items():
            costs[name] = costs.get(name, Cost()).plus(cost)
    return costs, depth_of(jaxpr.outvars)


def _equation(eqn: core.JaxprEqn, reads: list[int], known: dict) -> tuple[Costs, list[int]]:
    name, params, start = eqn.primitive.name, eqn.params, max(reads, default=0)
    if name in jaxprs.CALLS:
        jaxpr, inner = jaxprs.called(eqn, known)
        return _walk(jaxpr, reads, inner)
    if name == "scan":
        costs, depth = _body(params["jaxpr"], times=params["length"])
        depth = params["length"] * max(1, depth)
    elif name == "while":
        trips = jaxprs.trip_count(eqn, known)
        costs, depth = _body(params["body_jaxpr"], times=trips)
        depth = trips * max(1, depth)
        for key, cost in _body(params["cond_jaxpr"], times=trips + 1)[0].items():
            costs[key] = costs.get(key, Cost()).plus(cost)
    elif name == "cond":
        branches = [_body(branch) for branch in params["branches"]]
        costs, _ = max(branches, key=lambda branch: sum(cost.flops for cost in branch[0].values()))
        depth = max(depth for _, depth in branches)
    elif name == "shard_map":
        devices = math.prod(params["mesh"].shape[axis] for axis in params["newly_manual_axes"])
        costs, depth = _body(params["jaxpr"], times=devices)
    else:
        costs, depth = {VECTOR if _with_vector(eqn) else name: primitives.cost(eqn)}, 0
    return costs, [start + depth] * len(eqn.outvars)


def _with_vector(eqn: core.JaxprEqn) -> bool:
    if eqn.primitive.name != "dot_general":
        return False
    contracted, (batch, _) = eqn.params["dimension_numbers"]
    operands = zip(eqn.invars, contracted, strict=True)
    return not batch and any(operand.aval.ndim == len(axes) for operand, axes in operands)


def _body(closed: Any, times: int = 1) -> tuple[Costs, int]:
    """Costs of a loop's or branch's body, repeated, and the depth of one execution."""
    jaxpr = jaxprs.opened(closed)
    costs, depths = _walk(jaxpr, [0] * len(jaxpr.invars), jaxprs.constants(closed))
    return {name: cost.times(times) for name, cost in costs.items()}, max(depths, default=0)
