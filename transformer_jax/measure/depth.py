"""The critical path of a function by its jaxpr: how many operations must follow each other, however many run at once.

It is the depth, or span, of the work-depth model (Blelloch 1996, Communications of the ACM 39(3)): work over it is the
most that any number of processors can gain (Brent 1974). What one primitive adds stands in `primitives.depth`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend import core

from transformer_jax.measure import jaxprs, primitives
from transformer_jax.measure.programs import Program


def of_program(program: Program) -> int:
    """The depth of one call of a program that is measured; nothing is compiled or run."""
    return depth(program.fn, *jax.eval_shape(program.make_args))


def depth(fn: Callable, *args: Any) -> int:
    """Operations on the longest chain that ends in an output of `fn(*args)`; args as in `flops.count`.

    The runs of a loop's body follow each other, even where the body does not use what the run before it left; so a
    loop is as deep as its trips times its body, or as its trips where the body only moves data. Of the branches of a
    `cond` the deepest counts. Equations whose results nobody uses are left out.

    Raises UnknownPrimitive and UnknownTripCount as `flops.count`.
    """
    jaxpr, known = jaxprs.traced(fn, *args)
    return max(_walk(jaxpr, [0] * len(jaxpr.invars), known), default=0)


def _walk(jaxpr: core.Jaxpr, depths: Sequence[int], known: dict) -> list[int]:
    """The depth of each output, given each input's and the known values."""
    found = dict(zip(jaxpr.invars, depths, strict=True))

    def of(atoms: Sequence[Any]) -> list[int]:
        return [0 if isinstance(atom, core.Literal) else found.get(atom, 0) for atom in atoms]

    for eqn in jaxpr.eqns:
        reads = of(eqn.invars)
        if eqn.primitive.name in jaxprs.CALLS:
            inner, of_inner = jaxprs.called(eqn, known)
            writes = _walk(inner, reads, of_inner)
        else:
            writes = [max(reads, default=0) + _equation(eqn, known)] * len(eqn.outvars)
        found.update(zip(eqn.outvars, writes, strict=True))
    return of(jaxpr.outvars)


def _equation(eqn: core.JaxprEqn, known: dict) -> int:
    name, params = eqn.primitive.name, eqn.params
    if name == "scan":
        return params["length"] * max(1, _body(params["jaxpr"]))
    if name == "while":
        body, condition = _body(params["body_jaxpr"]), _body(params["cond_jaxpr"])
        return jaxprs.trip_count(eqn, known) * max(1, body, condition)
    if name == "cond":
        return max(map(_body, params["branches"]))
    if name == "shard_map":
        return _body(params["jaxpr"])
    return primitives.depth(eqn)


def _body(closed: Any) -> int:
    jaxpr = jaxprs.opened(closed)
    return max(_walk(jaxpr, [0] * len(jaxpr.invars), jaxprs.constants(closed)), default=0)
