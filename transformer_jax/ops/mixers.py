"""What parameters, FLOPs, memory and programs follow from: each mixer's own answers, under its name in the config.

`mixer(name, **sizes)` gives an object that answers the same questions whatever the mixer is. T steps are computed,
each of which may look at S steps (in decoding T = 1). A multiply-add is two FLOPs; all counts are of one sequence.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Protocol

import jax
import jax.numpy as jnp

from transformer_jax.ops import cudnn
from transformer_jax.ops.attention import ATTENTION, SCALED_DOT, choose, refusal
from transformer_jax.ops.blockwise import visited_scores
from transformer_jax.ops.recurrence import RECURRENCE, initial_carry, named
from transformer_jax.ops.scores import SCORES

Draw = Callable[..., list[jax.Array]]  # draw(*shapes) -> random arrays


class Mixer(Protocol):
    """What is asked of a mixer of given sizes."""

    width: int
    """Entries of what the mixer makes of one step, before the output projection."""
    num_params: int
    """Of the mixer's own, without its projections."""
    step_by_step: bool
    """It runs as a loop over time."""

    def weights(self, d_model: int) -> int:
        """Entries of the matrices that it applies to each step alone."""

    def biases(self, d_model: int) -> int:
        """Entries of their biases."""

    def implementation(self, form: str, batch_size: int, steps: int, context: int, dtype, causal: bool) -> str | None:
        """Which implementation runs on this platform where `form` is asked for; None: there is nothing to choose."""

    def refusal(self, form: str, batch_size: int, steps: int, context: int, dtype, causal: bool) -> str | None:
        """Why `form` cannot run on this platform; None: it can."""

    def flops(self, implementation: str | None, steps: int, context: int, causal: bool) -> tuple[int, int]:
        """Matrix FLOPs, forward and backward, of what touches more than one time step."""

    def stored_scores(self, implementation: str | None, steps: int, context: int) -> int:
        """Numbers that grow with steps * context and are held at once."""

    def remembered(self, context: int) -> int:
        """Numbers that decoding keeps after so many steps."""

    def arguments(self, draw: Draw, batch_size: int, steps: int) -> tuple[tuple, jax.Array]:
        """Random inputs of the op alone, already projected, and an array like its output."""

    def op(self, form: str, causal: bool) -> Callable[..., jax.Array]:
        """The op alone: op(*inputs) -> output."""


@dataclass(frozen=True)
class Attention:
    """Every step looks at every step before it: QKᵀ, softmax, PV."""

    num_heads: int
    num_kv_heads: int
    head_dim: int
    score: str = SCALED_DOT
    step_by_step: ClassVar[bool] = False

    @property
    def width(self) -> int:
        return self.num_heads * self.head_dim

    @property
    def num_params(self) -> int:
        """What the additive score multiplies its sum by; the matrices of a score are among `weights`."""
        return sum(math.prod(shape) for shape in self._score_weights() if shape[-1] == 1)

    def weights(self, d_model: int) -> int:
        own = sum(math.prod(shape) for shape in self._score_weights() if shape[-1] > 1)
        return 2 * d_model * (self.num_heads + self.num_kv_heads) * self.head_dim + own

    def _score_weights(self) -> list[tuple[int, ...]]:
        sizes = self.num_heads, self.num_kv_heads, self.head_dim, self.head_dim
        return list(SCORES[self.score].weights(*sizes).values())

    def biases(self, d_model: int) -> int:
        return (self.num_heads + 2 * self.num_kv_heads) * self.head_dim + d_model

    def implementation(self, form: str, batch_size: int, steps: int, context: int, dtype, causal: bool) -> str:
        """One step over a longer context is decoding, which has a form of its own, whatever is asked for."""
        if steps == 1 < context and self.score == SCALED_DOT:
            return "next_step"
        shapes = self._shapes(batch_size, steps, context, dtype)
        return form if form != "auto" else choose(*shapes, causal=causal, score=self.score)

    def refusal(self, form: str, batch_size: int, steps: int, context: int, dtype, causal: bool) -> str | None:
        name = self.implementation(form, batch_size, steps, context, dtype, causal)
        return refusal(name, *self._shapes(batch_size, steps, context, dtype), causal=causal, score=self.score)

    def _shapes(self, batch_size: int, steps: int, context: int, dtype) -> tuple[jax.ShapeDtypeStruct, ...]:
        q = jax.ShapeDtypeStruct((batch_size, steps, self.num_heads, self.head_dim), jnp.dtype(dtype))
        k = jax.ShapeDtypeStruct((batch_size, context, self.num_kv_heads, self.head_dim), jnp.dtype(dtype))
        return q, k

    def flops(self, implementation: str, steps: int, context: int, causal: bool) -> tuple[int, int]:
        one_pass = 2 * self.width  # one matmul, per score
        # forward are QKᵀ and PV; backward dP, dQ, dK and dV, and blockwise QKᵀ once more
        if implementation == "blockwise":
            scores = visited_scores(steps, context, causal=causal, group=self.num_heads // self.num_kv_heads)
            return 2 * one_pass * scores, 5 * one_pass * scores
        # a score with weights reads cached keys through them again
        keys = self.num_kv_heads * self.head_dim**2 * (context - steps) if self._score_weights() else 0
        return 2 * one_pass * steps * context + 2 * keys, 4 * one_pass * steps * context

    def stored_scores(self, implementation: str, steps: int, context: int) -> int:
        return self.num_heads * steps * context if implementation in ("reference", "xla") else 0

    def remembered(self, context: int) -> int:
        return 2 * self.num_kv_heads * self.head_dim * context

    def arguments(self, draw: Draw, batch_size: int, steps: int) -> tuple[tuple, jax.Array]:
        like_q = batch_size, steps, self.num_heads, self.head_dim
        like_k = batch_size, steps, self.num_kv_heads, self.head_dim
        q, k, v, *weights, like_out = draw(like_q, like_k, like_k, *self._score_weights(), like_q)
        return (q, k, v, *weights), like_out

    def op(self, form: str, causal: bool) -> Callable[..., jax.Array]:
        attend = partial(ATTENTION[form], causal=causal, score=self.score)
        return lambda q, k, v, *weights: attend(q, k, v, score_weights=weights)


@dataclass(frozen=True)
class Recurrent:
    """A recurrence of RECURRENCE: a state of fixed size, read and written at every step, whatever came before."""

    name: str
    width: int
    project_out: bool

    @property
    def num_params(self) -> int:
        return sum(map(math.prod, self._shapes()))

    @property
    def step_by_step(self) -> bool:
        return RECURRENCE[self.name].forms == ("sequential",)

    def weights(self, d_model: int) -> int:
        return d_model * (self._gates() + self.project_out * self.width)

    def biases(self, d_model: int) -> int:
        return self._gates() + self.project_out * d_model

    def implementation(self, form: str, batch_size: int, steps: int, context: int, dtype, causal: bool) -> None:
        return None

    def refusal(self, form: str, batch_size: int, steps: int, context: int, dtype, causal: bool) -> str | None:
        return cudnn.refusal(dtype) if form == "cudnn" else None

    def flops(self, implementation: None, steps: int, context: int, causal: bool) -> tuple[int, int]:
        recurrent = 2 * steps * sum(math.prod(shape) for shape in self._shapes() if len(shape) == 2)
        recomputed = RECURRENCE[self.name].recomputed_gates * 2 * steps * self.width**2
        return recurrent, 2 * recurrent + recomputed

    def stored_scores(self, implementation: None, steps: int, context: int) -> int:
        return 0

    def remembered(self, context: int) -> int:
        return RECURRENCE[self.name].num_carry * self.width

    def arguments(self, draw: Draw, batch_size: int, steps: int) -> tuple[tuple, jax.Array]:
        B, T, R = batch_size, steps, self.width
        x, *weights, like_h = draw((B, T, self._gates()), *self._shapes(), (B, T, R))
        weights = tuple(w / R**0.5 if w.ndim == 2 else w for w in weights)
        return (x, weights, initial_carry(self.name, B, R, x.dtype)), like_h

    def op(self, form: str, causal: bool) -> Callable[..., jax.Array]:
        recur = named(self.name, form)
        return lambda *inputs: recur(*inputs)[0]

    def _gates(self) -> int:
        return RECURRENCE[self.name].num_gates * self.width

    def _shapes(self) -> tuple[tuple[int, ...], ...]:
        return tuple(RECURRENCE[self.name].weights(self.width).values())


@dataclass(frozen=True)
class Bidirectional:
    """Two recurrences over the same steps, one from each end, side by side and then projected: twice of all."""

    one: Recurrent
    """Each of them, without its projection."""

    @property
    def width(self) -> int:
        return 2 * self.one.width

    @property
    def num_params(self) -> int:
        return 2 * self.one.num_params

    @property
    def step_by_step(self) -> bool:
        return self.one.step_by_step

    def weights(self, d_model: int) -> int:
        return 2 * self.one.weights(d_model) + d_model * self.width

    def biases(self, d_model: int) -> int:
        return 2 * self.one.biases(d_model) + d_model

    def implementation(self, *asked) -> None:
        return None

    def refusal(self, *asked) -> str | None:
        return self.one.refusal(*asked)

    def flops(self, implementation: None, steps: int, context: int, causal: bool) -> tuple[int, int]:
        forward, backward = self.one.flops(implementation, steps, context, causal)
        return 2 * forward, 2 * backward

    def stored_scores(self, implementation: None, steps: int, context: int) -> int:
        return 0

    def remembered(self, context: int) -> int:
        """Nothing: what is read from its end as well cannot be continued."""
        return 0

    def arguments(self, draw: Draw, batch_size: int, steps: int) -> tuple[tuple, jax.Array]:
        (there, like), (back, _) = (self.one.arguments(draw, batch_size, steps) for _ in range(2))
        return (there, back), jnp.concatenate([like, like], axis=-1)

    def op(self, form: str, causal: bool) -> Callable[..., jax.Array]:
        recur = self.one.op(form, causal)

        def both(there, back):
            x, *others = back
            turned = jnp.flip(recur(jnp.flip(x, 1), *others), 1)
            return jnp.concatenate([recur(*there), turned], axis=-1)

        return both


MIXERS: dict[str, Callable[..., Any]] = {"attention": Attention}
"""Mixers that are no recurrence."""


def mixer(name: str, **sizes: int) -> Mixer:
    """The record of a mixer (a key of MIXERS or RECURRENCE) of the given sizes; KeyError: there is no such mixer."""
    if name in RECURRENCE and sizes.get("directions") == 2:
        return Bidirectional(Recurrent(name, sizes["width"], project_out=False))
    return Recurrent(name, **sizes) if name in RECURRENCE else MIXERS[name](**sizes)
