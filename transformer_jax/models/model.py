"""What every network is to the rest: pure functions, the one fence between Flax and what is not."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

# N layers, B batch, L steps, H heads, D d_model


class Inspection(NamedTuple):
    """What a stack of N blocks makes of a sequence on the way."""

    vectors_NxBxLxD: jax.Array
    """N + 1 of them: what the first block reads, and what each block gives."""
    weights_NxHxBxLxL: jax.Array | None
    """How much each step looks at each, by layer and head; None: the mixer has no such weights."""


class Model(NamedTuple):
    """A network as pure functions.

    init(key) -> params
    apply(params, inputs, *, mask=None, lengths=None, asked=None, train=False, key=None) -> float32 logits_BxLxV, or
      logits_BxV where the shape is pooled; asked: steps_BxN at which alone there are logits, then logits_BxNxV
    initial_state(batch_size, max_len) -> state of a sequence of which nothing was read yet
    extend(params, tokens_BxL, state, first=False) -> (logits_BxLxV, state): reads L more tokens (decoding: L = 1); jit
      it with the state donated, or carry the state in a loop, else every call copies the whole key-value cache;
      `first` (not traced) says that nothing was read before: attention then costs L * L, not L * max_len

    inputs are tokens_BxL, or vectors_BxLxF where the shape has an input_dim. lengths (B,) counts the real steps of each
    row; what follows them is padding and changes nothing. initial_state and extend are None where one step after
    another cannot be read: the answer is pooled, inputs are vectors, or attention looks ahead.

    Where the shape has a source:
    apply(params, inputs, *, source, source_lengths=None, lengths=None, ...): source tokens_BxS, inputs the target
      shifted right
    read(params, source_BxS, source_lengths_B, max_len) -> state of a target of up to max_len tokens of which nothing
      was written yet; the source is read here, once. It takes the place of initial_state, which is None.
    select(state, rows_N) -> the state whose row i is row rows_N[i] of the one given. A row may only be replaced by one
      of the same source: what was read of sources is not moved. (Beam search: hypotheses of one sentence.)
    alignment(params, inputs, source, source_lengths=None, lengths=None) -> weights_NxHxBxLxS: how much each step of
      the target looked at each step of the source, by layer and head; each row over S sums to 1, padding has 0

    To look inside:
    inspect(params, inputs, lengths=None) -> Inspection: the vectors before and after every block, and how much each
      step looks at each, by layer and head; of a network with a source its encoder, of the source; where a learned
      first step is pooled, of that step as well

    Where every matrix meets one vector of an example, whose gradient is then an outer product:
    over_examples(params, inputs, cotangent_BxV, of) -> the sum over examples b of of(gradient of
      cotangent_b · logits_b) by a matmul, without any example's gradient; of: jnp.square or jnp.abs
    """

    init: Callable[..., Any]
    apply: Callable[..., jax.Array]
    initial_state: Callable[..., Any] | None
    extend: Callable[..., tuple[jax.Array, Any]] | None
    read: Callable[..., Any] | None = None
    select: Callable[..., Any] | None = None
    alignment: Callable[..., jax.Array] | None = None
    inspect: Callable[..., Inspection] | None = None
    over_examples: Callable[..., Any] | None = None
    frozen: tuple[str, ...] = ()
    """Leaves of the parameters, "embedding/token/embedding", that training leaves as they are."""
