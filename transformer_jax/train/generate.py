"""Text from a language model: greedy, by temperature, from the k likeliest tokens."""

import math
from functools import partial

import jax
import jax.numpy as jnp

from transformer_jax.train.decode import without


def generate(
    model,
    params,
    prompt_BxL: jax.Array,
    num_tokens: int,
    *,
    key: jax.Array,
    max_len: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    unwritten: tuple[int, ...] = (),
) -> jax.Array:
    """tokens_BxN that continue the prompts, N = num_tokens; the key of a token is folded from its number.

    The state of every layer (key-value cache or carry) is kept, so that a token costs one step. When max_len
    steps are read, the later half of them is read anew and the rest forgotten.

    Args:
      model: has `initial_state` and `extend`.
      max_len: the most steps that the model reads at once.
      temperature: divides the logits; 0 takes the likeliest token.
      top_k: draw from so many of the likeliest tokens alone; None: from all.
      unwritten: ids that stand for no text, which are not among those tokens.

    Raises:
      ValueError: as `check`.
    """
    check(prompt_BxL, num_tokens, temperature, top_k)
    read, parts, done = jnp.asarray(prompt_BxL, jnp.int32), [], 0
    while done < num_tokens:
        if read.shape[1] >= max_len:
            read = read[:, -max(1, max_len // 2) :]
        steps = max(1, min(num_tokens - done, max_len - read.shape[1]))
        parts.append(_continue(model, params, read, key, done, steps, temperature, top_k, unwritten))
        read = jnp.concatenate([read, parts[-1]], axis=1)  # of few lengths, each of which is compiled for
        done += steps
    return jnp.concatenate(parts, axis=1)


def check(prompt_BxL: jax.Array, num_tokens: int, temperature: float = 1.0, top_k: int | None = None) -> None:
    """Raises ValueError for an empty prompt, num_tokens or top_k below 1, a temperature below 0 or not finite."""
    if prompt_BxL.shape[1] < 1 or num_tokens < 1:
        raise ValueError("generation needs a prompt of at least one token and at least one token to add")
    if not (temperature >= 0 and math.isfinite(temperature)):
        raise ValueError(f"temperature={temperature}: must be at least 0 and finite")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k={top_k}: must be at least 1")


@partial(jax.jit, static_argnames=("model", "steps", "temperature", "top_k", "unwritten"))
def _continue(model, params, tokens_BxL, key, first, steps, temperature, top_k, unwritten):
    """`steps` more tokens in one loop on the device; the first of them is number `first`."""

    def step(carry, index):
        logits_BxV, state = carry
        logits_BxV = without(logits_BxV, unwritten)
        token_B = _choose(logits_BxV, jax.random.fold_in(key, index), temperature, top_k)
        logits_Bx1xV, state = model.extend(params, token_B[:, None], state)
        return (logits_Bx1xV[:, 0], state), token_B

    state = model.initial_state(tokens_BxL.shape[0], tokens_BxL.shape[1] + steps)
    logits_BxLxV, state = model.extend(params, tokens_BxL, state, first=True)
    _, tokens_NxB = jax.lax.scan(step, (logits_BxLxV[:, -1], state), first + jnp.arange(steps))
    return tokens_NxB.T


def _choose(logits_BxV, key, temperature, top_k):
    if temperature == 0:
        return logits_BxV.argmax(-1).astype(jnp.int32)
    if top_k is not None and top_k < logits_BxV.shape[-1]:
        _, kept_BxK = jax.lax.top_k(logits_BxV, top_k)  # among equal logits the first
        kept_BxV = jax.nn.one_hot(kept_BxK, logits_BxV.shape[-1], dtype=bool).any(1)
        logits_BxV = jnp.where(kept_BxV, logits_BxV, -jnp.inf)
    # The largest is 0 and stays it, however small the temperature; below the smallest normal number XLA takes 0.
    logits_BxV -= logits_BxV.max(-1, keepdims=True)
    temperature = max(temperature, float(jnp.finfo(logits_BxV.dtype).tiny))
    return jax.random.categorical(key, logits_BxV / temperature).astype(jnp.int32)
