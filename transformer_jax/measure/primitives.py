"""What one execution of a primitive costs, by the rules of XLA's cost analysis.

The rules were read off XLA's figures for single operations (`HloCostAnalysis`, jax 0.10.2 and 0.12 on CPU):
a matrix product of (m, k) by (k, n) is 2mnk; an elementwise operation is one FLOP per element of its
result, comparisons, selects and conversions included; a reduction is one FLOP per element that it removes;
exp, tanh, rsqrt and their like are no FLOP but one transcendental. What moves data or makes random bits is
no FLOP. Depth has a rule of its own (`depth`).
"""

import math
from typing import Any, NamedTuple

from jax.extend import core, source_info_util


class UnknownPrimitive(NotImplementedError):
    """A primitive without a rule here: to count it as zero would be a silent lie."""


class HiddenInKernel(UnknownPrimitive):
    """A fused kernel, whose operations no jaxpr shows."""


class Cost(NamedTuple):
    """What one or many executions of a primitive cost."""

    calls: int = 0
    flops: int = 0
    transcendentals: int = 0
    bytes: int = 0

    def times(self, n: int) -> "Cost":
        return Cost(*(n * value for value in self))

    def plus(self, other: "Cost") -> "Cost":
        return Cost(*(a + b for a, b in zip(self, other, strict=True)))


# FLOPs and transcendentals for each element of the result; XLA for CPU expands those of the last lines.
_ELEMENTWISE = dict.fromkeys(
    (
        "abs add add_any and ceil clamp convert_element_type div eq floor ge gt is_finite le lt max min "
        "mul ne neg not or population_count rem round select_n shift_left shift_right_arithmetic "
        "shift_right_logical sign square sub xor pmax pmin psum psum_invariant"
    ).split(),
    (1, 0),
)
_ELEMENTWISE |= dict.fromkeys("atan2 cbrt cos erf exp expm1 log log1p pow rsqrt sin sqrt tan tanh".split(), (0, 1))
_ELEMENTWISE |= {"exp2": (1, 1), "logistic": (3, 1), "erfc": (60, 1), "erf_inv": (37, 2), "log2": (1, 1)}
_ELEMENTWISE |= {"one_minus_square": (3, 0)}  # (1 + x)(1 - x): the derivative of tanh from jax 0.12 on

# FLOPs for each element that a reduction removes; argmax compares values, NaNs and indices.
_REDUCTIONS = dict.fromkeys(
    "reduce_and reduce_max reduce_min reduce_or reduce_prod reduce_sum reduce_xor".split(), 1
) | {"argmax": 9, "argmin": 9}

# FLOPs and transcendentals for each element after the first along the axis.
_CUMULATIVE = dict.fromkeys("cummax cummin cumprod cumsum".split(), (1, 0)) | {"cumlogsumexp": (8, 2)}

_MOVES = frozenset(
    (
        "all_gather all_gather_invariant all_to_all axis_index bitcast_convert_type broadcast_in_dim "
        "concatenate copy device_put empty iota layout_constraint name optimization_barrier pad "
        "pbroadcast ppermute pvary random_bits random_clone random_fold_in random_seed random_split "
        "random_unwrap random_wrap reduce_precision reshape reshard rev rng_bit_generator "
        "sharding_constraint split squeeze stack stop_gradient threefry2x32 tile transpose unstack "
        "zeros_like"
    ).split()
)
_SELECTS = frozenset(("slice", "dynamic_slice", "gather"))
_KERNELS = frozenset(  # of cuDNN and of Pallas
    "dot_product_attention_fwd_wrapper dot_product_attention_bwd_wrapper rnn_fwd rnn_bwd pallas_call".split()
)
_SCATTERS = {"scatter": 0} | dict.fromkeys("scatter-add scatter-max scatter-min scatter-mul scatter-sub".split(), 1)


def cost(eqn: core.JaxprEqn) -> Cost:
    """The cost of one execution of a primitive that holds no inner jaxpr. Raises UnknownPrimitive, HiddenInKernel."""
    name, out = eqn.primitive.name, eqn.outvars[0].aval if eqn.outvars else None
    traffic = _bytes(*eqn.invars) + _bytes(*eqn.outvars)
    flops, transcendentals = 0, 0
    if name == "dot_general":
        (contracted, _), _ = eqn.params["dimension_numbers"]
        flops = 2 * out.size * math.prod(eqn.invars[0].aval.shape[axis] for axis in contracted)
    elif name in _ELEMENTWISE:
        size = sum(var.aval.size for var in eqn.outvars)  # psum takes several operands
        flops, transcendentals = (rate * size for rate in _ELEMENTWISE[name])
    elif name == "integer_pow":
        flops = _integer_pow_flops(eqn.params["y"]) * out.size
    elif name in _REDUCTIONS:
        flops = _REDUCTIONS[name] * (eqn.invars[0].aval.size - out.size)
    elif name in _CUMULATIVE:
        combined = out.size - out.size // max(1, out.shape[eqn.params["axis"]])
        flops, transcendentals = (rate * combined for rate in _CUMULATIVE[name])
    elif name in ("sort", "top_k"):  # comparisons along the sorted axis, n log2(n); top_k as a full sort
        operand = eqn.invars[0].aval
        axis = operand.shape[eqn.params["dimension"] if name == "sort" else -1]
        flops = operand.size * math.ceil(math.log2(max(1, axis)))
    elif name in _SELECTS:
        traffic = 2 * _bytes(*eqn.outvars) + _bytes(*eqn.invars[1:])
    elif name == "dynamic_update_slice":
        traffic = 2 * _bytes(eqn.invars[1]) + _bytes(*eqn.invars[2:])
    elif name in _SCATTERS:
        _, indices, updates = eqn.invars
        flops = _SCATTERS[name] * updates.aval.size
        traffic = (2 + _SCATTERS[name]) * _bytes(updates) + _bytes(indices)
    elif name not in _MOVES:
        raise _unknown(eqn)
    return Cost(1, flops, transcendentals, traffic)


def depth(eqn: core.JaxprEqn) -> int:
    """The longest chain of operations in one execution of the same primitives, on any number of processors.

    What is done element by element is one step, whatever it is. n numbers are added (or the largest found) by a tree of
    ceil(log2 n) steps, in running sums as well (Blelloch 1990); a matrix product is one multiplication and such a sum
    over what is contracted; updates that are added to an array may all meet in one place; sorting takes
    ceil(log2 n)^2 (Batcher 1968). What moves data is no step. Raises UnknownPrimitive.
    """
    name = eqn.primitive.name
    if name == "dot_general":
        (contracted, _), _ = eqn.params["dimension_numbers"]
        return 1 + _levels(math.prod(eqn.invars[0].aval.shape[axis] for axis in contracted))
    if name in _REDUCTIONS:
        return _levels(eqn.invars[0].aval.size // max(1, eqn.outvars[0].aval.size))
    if name in _CUMULATIVE:
        return _levels(eqn.invars[0].aval.shape[eqn.params["axis"]])
    if name in ("sort", "top_k"):
        return _levels(eqn.invars[0].aval.shape[eqn.params["dimension"] if name == "sort" else -1]) ** 2
    if name in _SCATTERS:
        indices = eqn.invars[1].aval
        return _SCATTERS[name] * _levels(1 + indices.size // max(1, indices.shape[-1]))
    if name in _ELEMENTWISE or name == "integer_pow":
        return 1
    if name not in (*_MOVES, *_SELECTS, "dynamic_update_slice"):
        raise _unknown(eqn)
    return 0


def _levels(count: int) -> int:
    """Of a tree that brings so many numbers together, two at a time: ceil(log2 count)."""
    return max(0, count - 1).bit_length()


def _unknown(eqn: core.JaxprEqn) -> UnknownPrimitive:
    name = eqn.primitive.name
    if name in _KERNELS:
        return HiddenInKernel(f"the kernel {name!r} at {where(eqn)} shows no operations that could be counted")
    return UnknownPrimitive(f"no cost rule for the primitive {name!r} at {where(eqn)}; add one to {__name__}")


def where(eqn: core.JaxprEqn) -> str:
    """File, line and function that the equation came from."""
    return source_info_util.summarize(eqn.source_info)


def _integer_pow_flops(power: int) -> int:
    """Multiplications of square-and-multiply, and one division for a negative power."""
    size = abs(power)
    return (size.bit_length() + size.bit_count() - 2 if size else 0) + (power < 0)


def _bytes(*atoms: Any) -> int:
    avals = [atom.aval for atom in atoms]
    return sum(aval.size * aval.dtype.itemsize for aval in avals if hasattr(aval, "shape"))
