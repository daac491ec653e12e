"""How a jaxpr is read: what nobody uses is left out, calls are entered, and the trips of a loop are found."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.extend import core
from jax.interpreters import partial_eval

from transformer_jax.measure import primitives

CALLS = frozenset("jit closed_call remat2 custom_jvp_call custom_vjp_call".split())
"""Primitives that do what another jaxpr says, once."""


class UnknownTripCount(ValueError):
    """A while loop whose number of trips depends on run-time values."""


def traced(fn: Callable, *args: Any) -> tuple[core.Jaxpr, dict]:
    """The jaxpr of `fn(*args)` without equations whose results nobody uses, and its known values by variable.

    args: pytrees of arrays or `jax.ShapeDtypeStruct`. Nothing is run.
    """
    closed = jax.make_jaxpr(fn)(*args)
    known = dict(zip(closed.jaxpr.constvars, closed.consts, strict=True))
    jaxpr, _ = partial_eval.dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars), instantiate=True)
    return jaxpr, known


def called(eqn: core.JaxprEqn, known: Mapping) -> tuple[core.Jaxpr, dict]:
    """The jaxpr of an equation whose primitive is one of CALLS, and what is known of its variables."""
    params = eqn.params
    inner = params["jaxpr"] if "jaxpr" in params else params["call_jaxpr"]
    jaxpr, values = opened(inner), [value(atom, known) for atom in eqn.invars]
    return jaxpr, constants(inner) | dict(zip(jaxpr.invars, values, strict=True))


def opened(closed: Any) -> core.Jaxpr:
    """The jaxpr itself: remat holds an open one, and jax 0.12 has one type for both."""
    return getattr(closed, "jaxpr", closed)


def constants(closed: Any) -> dict:
    """The values of its constants, by variable."""
    return dict(zip(opened(closed).constvars, getattr(closed, "consts", ()), strict=True))


def value(atom: Any, known: Mapping) -> Any:
    """That of a literal or a known variable; else None."""
    return atom.val if isinstance(atom, core.Literal) else known.get(atom)


def trip_count(eqn: core.JaxprEqn, known: Mapping) -> int:
    """Trips of `while counter < limit: counter += step`, as fori_loop makes it, with all three known.

    Raises UnknownTripCount, which names the place in the source.
    """
    cond, body = opened(eqn.params["cond_jaxpr"]), opened(eqn.params["body_jaxpr"])
    num_cond, num_body = eqn.params["cond_nconsts"], eqn.params["body_nconsts"]
    values = [value(atom, known) for atom in eqn.invars]
    carry, before, after = cond.invars[num_cond:], body.invars[num_body:], body.outvars
    entry = dict(zip(cond.invars, values[:num_cond] + values[num_cond + num_body :], strict=True))
    changing = {var for var, one, other in zip(carry, before, after, strict=True) if one is not other}

    if [test.primitive.name for test in cond.eqns] == ["lt"]:
        counter, limit = cond.eqns[0].invars
        if not isinstance(counter, core.Literal) and counter in changing:
            index = carry.index(counter)
            start, step = entry[counter], _step(body, before[index], after[index])
            stop = value(limit, {var: entry[var] for var in entry.keys() - changing})
            if None not in (start, step, stop) and step > 0:
                return max(0, math.ceil((stop - start) / step))
    raise UnknownTripCount(
        f"the number of trips of the while loop at {primitives.where(eqn)} cannot be told before it runs; "
        "use lax.scan, or fori_loop with bounds that are Python integers"
    )


def _step(body: core.Jaxpr, before: core.Var, after: Any) -> Any:
    """The literal that the body adds to a variable, or None."""
    for eqn in body.eqns:
        if eqn.primitive.name == "add" and eqn.outvars[0] is after and eqn.invars[0] is before:
            return value(eqn.invars[1], {})
    return None
