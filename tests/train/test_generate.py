"""Generated tokens are those of a loop that reads the whole text anew for every token."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from transformer_jax import models
from transformer_jax.config import ModelConfig, Shape
from transformer_jax.train.generate import generate

SIZES = dict(d_model=8, num_heads=2, num_layers=2, mlp_dim=12, max_len=12)
SHAPE = Shape(12, 11, vocab_size=11)
PROMPT = jnp.array([[3, 1, 4, 1], [5, 9, 2, 6]])


@cache
def built(mixer):
    """The same model and parameters in all tests: generate compiles for a model that it has not seen."""
    model = models.build(ModelConfig(**SIZES, mixer=mixer), SHAPE)
    return model, jax.jit(model.init)(jax.random.key(0)), jax.jit(model.apply)


def far_from_uniform(mixer):
    model, params, apply = built(mixer)
    return model, jax.tree.map(lambda p: 3 * np.asarray(p), params), apply


def greedy_by_hand(apply, params, tokens, count, max_len=12):
    """The model reads the whole text anew for each token; what stands behind it is hidden from it, by causality."""
    tokens = np.asarray(tokens)
    while count:
        read = tokens if tokens.shape[1] < max_len else tokens[:, -max_len // 2 :]
        for _ in range(min(count, max_len - read.shape[1])):
            length = read.shape[1]
            logits = apply(params, np.pad(read, ((0, 0), (0, max_len - length))))  # one length to compile for
            token = np.asarray(logits)[:, length - 1].argmax(-1)[:, None]
            tokens, read = (np.concatenate([t, token], 1) for t in (tokens, read))
            count -= 1
    return tokens


@pytest.mark.parametrize("mixer", ["attention", "lstm", "min_gru"])
def test_greedy_is_the_full_forward(mixer):
    model, params, apply = far_from_uniform(mixer)
    expected = greedy_by_hand(apply, params, PROMPT, 7)[:, 4:]
    found = generate(model, params, PROMPT, 7, key=jax.random.key(0), max_len=12, temperature=0)
    assert np.array_equal(found, expected)
    one = generate(model, params, PROMPT, 7, key=jax.random.key(0), max_len=12, top_k=1)
    assert np.array_equal(one, expected)  # the likeliest one alone


def test_more_tokens_than_the_model_can_address():
    model, params, apply = far_from_uniform("attention")
    found = generate(model, params, PROMPT, 20, key=jax.random.key(0), max_len=12, temperature=0)
    assert np.array_equal(found, greedy_by_hand(apply, params, PROMPT, 20)[:, 4:])


@pytest.mark.parametrize("max_len", [1, 2, 12])
def test_a_longer_text_is_not_compiled_for_chunk_by_chunk(max_len):
    """But for how its many parts are put together, at the end."""
    model, compiled = of_logits((-3.0, 2.0, 7.0, 6.5)), []

    def listen(event, seconds, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(event)

    def write(num_tokens):
        compiled.clear()
        found = generate(model, None, PROMPT, num_tokens, key=jax.random.key(0), max_len=max_len, temperature=0)
        assert found.shape == (2, num_tokens) and np.all(found == 2)
        return len(compiled)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        assert write(16 * 12) and write(50 * 12) <= 6
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def test_drawn_tokens_follow_the_softmax():
    model = models.build(ModelConfig(**SIZES, num_kv_heads=1), SHAPE)
    params = jax.jit(model.init)(jax.random.key(0))
    prompt = jnp.tile(PROMPT[:1], (4000, 1))
    draw = generate(model, params, prompt, 1, key=jax.random.key(2), max_len=12, temperature=0.5, top_k=3)
    logits = np.asarray(jax.jit(model.apply)(params, PROMPT[:1])[0, -1], np.float64) / 0.5
    kept = np.argsort(logits)[-3:]
    expected = np.zeros(11)
    expected[kept] = np.exp(logits[kept]) / np.exp(logits[kept]).sum()
    share = np.bincount(np.asarray(draw[:, 0]), minlength=11) / 4000
    np.testing.assert_allclose(share, expected, atol=4 * np.sqrt(0.25 / 4000))
    assert not share[expected == 0].any()


def test_the_key_decides():
    model, params, _ = built("attention")
    texts = [generate(model, params, PROMPT, 6, key=jax.random.key(k), max_len=12) for k in (0, 0, 1)]
    assert np.array_equal(texts[0], texts[1]) and not np.array_equal(texts[0], texts[2])


def of_logits(logits_V):
    """A model with the same logits at every step."""

    def extend(params, tokens_BxL, state, first=False):
        return jnp.broadcast_to(jnp.array(logits_V), (*tokens_BxL.shape, len(logits_V))), state

    return models.Model(None, None, lambda batch, length: (), extend)


@pytest.mark.parametrize("temperature", [0, 1e-46, 1e-40, 1e-30, 1e-3])
def test_the_least_temperature_takes_the_likeliest(temperature):
    model = of_logits((-3.0, 2.0, 7.0, 6.5))
    found = generate(model, None, PROMPT, 5, key=jax.random.key(0), max_len=12, temperature=temperature)
    assert np.all(found == 2)


def test_of_equal_logits_no_more_than_k_are_drawn():
    model = of_logits((1.0, 4.0, 2.0, 4.0, 4.0))
    prompt = jnp.tile(PROMPT[:1], (200, 1))
    for k in (1, 2, 3):
        found = generate(model, None, prompt, 2, key=jax.random.key(0), max_len=12, top_k=k)
        assert set(np.unique(found)) == {1, 3, 4} - set((3, 4)[k - 1 :])


@pytest.mark.parametrize("options", [{"temperature": 0}, {"temperature": 5.0}, {"top_k": 2}])
def test_what_stands_for_no_text_is_never_written(options):
    model = of_logits((9.0, 4.0, 8.0, 4.5))
    prompt = jnp.tile(PROMPT[:1], (200, 1))
    found = generate(model, None, prompt, 2, key=jax.random.key(0), max_len=12, unwritten=(0, 2), **options)
    assert set(np.unique(found)) == ({3} if options == {"temperature": 0} else {1, 3})


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"top_k": 0},
        {"num_tokens": 0},
    ],
)
def test_impossible_options(wrong):
    model = models.build(ModelConfig(**SIZES), SHAPE)
    with pytest.raises(ValueError):
        generate(model, None, PROMPT, **({"num_tokens": 2} | wrong), key=jax.random.key(0), max_len=12)
