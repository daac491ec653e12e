"""An answer to a source: the likeliest next token each time, or the best of several by beam search."""

from functools import partial

import jax
import jax.numpy as jnp

from transformer_jax.tasks.task import Decoding

# B sentences, S source tokens, N tokens of the longest answer, K hypotheses of a sentence, C candidates, V vocabulary


@partial(jax.jit, static_argnames=("model", "decoding"))
def greedy(model, params, source_BxS: jax.Array, source_lengths_B: jax.Array, decoding: Decoding) -> jax.Array:
    """tokens_BxN, N = decoding.max_len: the likeliest token after those before it, until a row's `end`.

    After its end a row holds nothing but `end`; token N is the end in any case. One program over the batch, which stops
    when all rows have ended; a row does not depend on the others.

    Args:
      model: has `read` and `extend`.
      source_lengths_B: the real tokens of each source.
    """
    rows, steps = len(source_BxS), decoding.max_len

    def step(carry):
        at, tokens_BxN, last_B, state = carry
        logits_Bx1xV, state = model.extend(params, last_B[:, None], state)
        over_B = ((at > 0) & (last_B == decoding.end)) | (at == steps - 1)
        logits_BxV = without(logits_Bx1xV[:, 0], decoding.unwritten)
        likeliest_B = _top(logits_BxV, 1)[1][:, 0]  # on a CPU a third of argmax's time
        token_B = jnp.where(over_B, decoding.end, likeliest_B).astype(jnp.int32)
        return at + 1, tokens_BxN.at[:, at].set(token_B), token_B, state

    def goes_on(carry):
        at, _, last_B, _ = carry
        return (at < steps) & ((at == 0) | (last_B != decoding.end).any())

    state = model.read(params, source_BxS, source_lengths_B, steps)
    tokens_BxN, first_B = _all_end(decoding, rows), jnp.full(rows, decoding.begin, jnp.int32)
    return jax.lax.while_loop(goes_on, step, (0, tokens_BxN, first_B, state))[1]


@partial(jax.jit, static_argnames=("model", "decoding", "size", "length_penalty"))
def beam(
    model,
    params,
    source_BxS: jax.Array,
    source_lengths_B: jax.Array,
    decoding: Decoding,
    size: int,
    length_penalty: float = 0.6,
) -> tuple[jax.Array, jax.Array]:
    """(tokens_BxKxN, scores_BxK), K = size, best first: the best answers that beam search finds.

    A score is log P(answer | source), the end included, divided by ((5 + length) / 6) ** length_penalty (Wu et al.
    2016, arXiv 1609.08144, equation 14, without coverage). In each step the 2 K best continuations of the K live
    hypotheses are looked at: one that ends, and is among the K best, joins the K finished ones with the best scores;
    the best K that do not end live on. A row is done with K finished hypotheses, or when token N ends all that live.
    So size 1 is greedy decoding. A row that has fewer than K answers fills up with scores of -inf.

    Args:
      model: has `read`, `extend` and `select`.
      source_lengths_B: the real tokens of each source.
    """
    rows, steps, end = len(source_BxS), decoding.max_len, decoding.end

    def step(carry):
        at, live, finished, state = carry
        live_tokens_BxKxN, live_BxK, last_BxK = live
        logits_RxV, state = _next(model, params, last_BxK, state)
        scores_BxC, parents_BxC, tokens_BxC = _candidates(logits_RxV, live_BxK, decoding, at == steps - 1)
        histories_BxCxN = _rows(live_tokens_BxKxN, parents_BxC).at[:, :, at].set(tokens_BxC)
        ends_BxC = tokens_BxC == end
        final_BxC = jnp.where(
            ends_BxC & (jnp.arange(scores_BxC.shape[1]) < size), scores_BxC / _penalty(at + 1, length_penalty), -jnp.inf
        )
        finished = _best(finished, (histories_BxCxN, final_BxC), size)
        live_BxK, chosen_BxK = _top(jnp.where(ends_BxC, -jnp.inf, scores_BxC), size)
        live = _rows(histories_BxCxN, chosen_BxK), live_BxK, _rows(tokens_BxC, chosen_BxK)
        moved_BxK = _rows(parents_BxC, chosen_BxK) + size * jnp.arange(rows)[:, None]
        return at + 1, live, finished, model.select(state, moved_BxK.reshape(-1))

    def goes_on(carry):
        at, _, (_, finished_BxK), _ = carry
        return (at < steps) & ~_done(finished_BxK).all()

    state = _read_repeated(model, params, source_BxS, source_lengths_B, steps, size)
    empty_BxKxN = jnp.broadcast_to(_all_end(decoding, rows)[:, None], (rows, size, steps))
    none_BxK = jnp.full((rows, size), -jnp.inf)
    live = empty_BxKxN, none_BxK.at[:, 0].set(0.0), jnp.full((rows, size), decoding.begin, jnp.int32)
    return jax.lax.while_loop(goes_on, step, (0, live, (empty_BxKxN, none_BxK), state))[2]


def without(logits_RxV: jax.Array, unwritten: tuple[int, ...]) -> jax.Array:
    """The logits, -inf for ids that are not to be written."""
    return logits_RxV.at[:, list(unwritten)].set(-jnp.inf) if unwritten else logits_RxV


def _all_end(decoding: Decoding, rows: int) -> jax.Array:
    return jnp.full((rows, decoding.max_len), decoding.end, jnp.int32)


def _next(model, params, last_BxK, state):
    logits_Rx1xV, state = model.extend(params, last_BxK.reshape(-1, 1), state)  # R = B * K rows
    return logits_Rx1xV[:, 0], state


def _candidates(logits_RxV, live_BxK, decoding, must_end):
    """(scores_BxC, parents_BxC, tokens_BxC): the C = 2 K best continuations, best first; K may be ends, so K are not.

    The log-probability of all V tokens is not needed to know the best of a row.
    """
    (rows, size), end = live_BxK.shape, decoding.end
    before_Rx1 = live_BxK.reshape(-1, 1) - jax.nn.logsumexp(logits_RxV, -1, keepdims=True)
    best_RxC, tokens_RxC = _top(without(logits_RxV, decoding.unwritten), 2 * size)
    only_end_RxC = jnp.where(jnp.arange(best_RxC.shape[1]) == 0, logits_RxV[:, end, None], -jnp.inf)
    scores_RxC = before_Rx1 + jnp.where(must_end, only_end_RxC, best_RxC)
    tokens_BxKC = jnp.where(must_end, end, tokens_RxC).reshape(rows, -1)
    scores_BxC, chosen_BxC = _top(scores_RxC.reshape(rows, -1), 2 * size)
    return scores_BxC, chosen_BxC // best_RxC.shape[1], _rows(tokens_BxKC, chosen_BxC)


def _top(values, count):
    """The largest and where they stand, the first of equal ones first; all where there are fewer."""
    return jax.lax.top_k(values, min(count, values.shape[-1]))


def _rows(values, chosen_BxK):
    """values[b, chosen[b, k]]."""
    return jax.vmap(lambda one, rows: one[rows])(values, chosen_BxK)


def _best(finished, added, size):
    """The best of what is finished and what has just ended; a row that is done stays as it is."""
    done_B = _done(finished[1])
    tokens_BxMxN, scores_BxM = (jnp.concatenate(pair, 1) for pair in zip(finished, added, strict=True))
    best_BxK, chosen_BxK = _top(scores_BxM, size)
    tokens_BxKxN = jnp.where(done_B[:, None, None], finished[0], _rows(tokens_BxMxN, chosen_BxK))
    return tokens_BxKxN, jnp.where(done_B[:, None], finished[1], best_BxK)


def _done(finished_BxK):
    return (finished_BxK > -jnp.inf).all(-1)


def _penalty(length, alpha):
    return ((5.0 + length) / 6.0) ** alpha


def _read_repeated(model, params, source_BxS, source_lengths_B, steps, size):
    """The state of B sources, each read once, with `size` equal rows for each: what grows with the rows is repeated."""
    read = partial(model.read, max_len=steps)
    once = read(params, source_BxS, source_lengths_B)
    more = jax.eval_shape(read, params, *(jnp.repeat(x, size, 0) for x in (source_BxS, source_lengths_B)))

    def repeated(leaf, goal):
        axes = [i for i, (a, b) in enumerate(zip(jnp.shape(leaf), goal.shape, strict=True)) if a != b]
        return jnp.repeat(leaf, size, axes[0]) if axes else leaf

    return jax.tree.map(repeated, once, more)
