"""Layers against formulas in NumPy float64; causality by Jacobian; decoding against the whole pass."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.parameters import of_module
from transformer_jax.layers.attention import Attention, KVCache
from transformer_jax.layers.block import Block, Context
from transformer_jax.layers.embedding import Embedding
from transformer_jax.layers.mlp import MLP
from transformer_jax.layers.recurrent import Recurrent

B, L, D, H, Dh, F = 2, 5, 6, 3, 4, 7  # all different: a swapped axis cannot pass
MIXERS = {
    "attention": partial(Attention, d_model=D, num_heads=H, num_kv_heads=H, head_dim=Dh),
    "grouped rotary": partial(Attention, d_model=D, num_heads=4, num_kv_heads=2, head_dim=Dh, rotary=True),
    **{name: partial(Recurrent, recurrence=name, width=D) for name in ("rnn", "gru", "lstm", "min_gru")},
    "wide lstm": partial(Recurrent, recurrence="lstm", width=9, project_out=True),
}
ONLY_ATTENTION = MIXERS["attention"]


def block(mixer, **fields):
    """The block of every model: a mixer, then an MLP."""
    mlp = partial(MLP, F, fields.pop("activation", "gelu"))
    return Block((("mixer", mixer), ("mlp", mlp)), **fields)


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(B, L, D)).astype(np.float32)


def positions(length=L):
    return np.arange(length, dtype=np.int32)


def at(positions_L=None, **context):
    return Context(positions() if positions_L is None else positions_L, **context)


def f64(tree):
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)


def softmax(scores):
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def oracle_attention(p, x, source=None, causal=True):
    """Head by head, row by row: softmax(q k / sqrt(Dh)) v, concatenated, projected."""
    source = x if source is None else source
    out = np.zeros_like(x)
    for b in range(x.shape[0]):
        for h in range(p["query"]["kernel"].shape[1]):
            q = x[b] @ p["query"]["kernel"][:, h] + p["query"]["bias"][h]
            k = source[b] @ p["key"]["kernel"][:, h] + p["key"]["bias"][h]
            v = source[b] @ p["value"]["kernel"][:, h] + p["value"]["bias"][h]
            for i in range(len(q)):
                seen = slice(0, i + 1) if causal else slice(None)
                weights = softmax(q[i] @ k[seen].T / np.sqrt(k.shape[1]))
                out[b, i] += weights @ v[seen] @ p["out"]["kernel"][h]
        out[b] += p["out"]["bias"]
    return out


def oracle_norm(p, x):
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(var + 1e-6) * p["scale"] + p["bias"]


def oracle_mlp(p, x):
    return (
        np.maximum(x @ p["Dense_0"]["kernel"] + p["Dense_0"]["bias"], 0) @ p["Dense_1"]["kernel"] + p["Dense_1"]["bias"]
    )


def test_attention_is_the_formula(x):
    module = ONLY_ATTENTION()
    params = of_module(module, x, at())
    got, state = jax.jit(module.apply)({"params": params}, x, at())
    assert state is None
    np.testing.assert_allclose(got, oracle_attention(f64(params), f64(x)), atol=1e-5)


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("norm", ["pre", "post", "none"])
def test_block_is_the_formula(x, norm, residual):
    """Post-norm is the encoder block of Vaswani et al. 2017 (ReLU, epsilon 1e-6); the others are options."""
    module = block(ONLY_ATTENTION, norm=norm, residual=residual, activation="relu", dropout_rate=0.4)
    params = of_module(module, x, at())
    got, _ = jax.jit(module.apply)({"params": params}, x, at())
    p, y = f64(params), f64(x)
    for name, f in (("mixer", oracle_attention), ("mlp", oracle_mlp)):
        if norm == "none":
            y = residual * y + f(p[name], y)
        elif norm == "pre":
            y = residual * y + f(p[name], oracle_norm(p[f"norm_{name}"], y))
        else:
            y = oracle_norm(p[f"norm_{name}"], residual * y + f(p[name], y))
    np.testing.assert_allclose(got, y, atol=2e-5)


def test_dropout_acts_in_training_alone(x):
    module = block(ONLY_ATTENTION, dropout_rate=0.5)
    params = of_module(module, x, at())

    @partial(jax.jit, static_argnums=0)
    def compiled(train, params, key):
        return module.clone(train=train).apply({"params": params}, x, at(), rngs={"dropout": key})[0]

    def run(train, seed):
        return np.asarray(compiled(train, params, jax.random.key(seed)))

    assert np.array_equal(run(False, 1), run(False, 2))
    assert np.array_equal(run(True, 1), run(True, 1))
    assert not np.allclose(run(True, 1), run(True, 2))


def test_the_mlp_treats_each_step_alone(x):
    """d y_t / d x_s = 0 for s != t, by Jacobian."""
    module = MLP(F)
    params = of_module(module, x)
    jacobian = np.asarray(jax.jit(jax.jacobian(lambda x: module.apply({"params": params}, x)[0]))(x))  # B L D B L D
    between = np.abs(jacobian).sum((2, 5)).transpose(0, 2, 1, 3).reshape(B * B, L, L)
    own = between.reshape(B, B, L, L)
    for b in range(B):
        for c in range(B):
            off = own[b, c] if b != c else own[b, c] - np.diag(np.diag(own[b, c]))
            assert np.all(off == 0)
        assert np.all(np.diag(own[b, b]) > 0)


@pytest.mark.parametrize("mixer", MIXERS)
def test_a_block_never_looks_ahead(x, mixer):
    """Causality by Jacobian; a well-known Keras tutorial's decoder passes no mask at all."""
    module = block(MIXERS[mixer])
    params = of_module(module, x[:1], at())
    jacobian = jax.jit(jax.jacobian(lambda x: module.apply({"params": params}, x, at())[0]))(x[:1])
    reads = np.abs(np.asarray(jacobian)[0, :, :, 0]).sum((1, 3))  # output step, input step
    assert np.all(reads[np.triu_indices(L, 1)] == 0)
    assert np.all(reads[np.tril_indices(L)] > 0)


@pytest.mark.parametrize("mixer", MIXERS)
def test_reading_in_pieces_is_reading_at_once(x, mixer):
    module = MIXERS[mixer]()
    params = of_module(module, x, at())
    apply = jax.jit(module.apply)
    whole, _ = apply({"params": params}, x, at())
    state = module.initial_state(B, L + 3)
    pieces = []
    for piece in (slice(0, 2), slice(2, 3), slice(3, L)):
        y, added = apply({"params": params}, x[:, piece], at(positions()[piece]), state)
        state = state.extended(added, piece.start) if isinstance(state, KVCache) else added
        pieces.append(y)
    np.testing.assert_allclose(np.concatenate(pieces, 1), whole, atol=1e-5)


def test_recurrences_start_as_an_expert_sets_them_up(x):
    for name, gates in (("rnn", 1), ("gru", 3), ("lstm", 4)):
        params = jax.jit(Recurrent(name, width=8).init)(jax.random.key(0), x)["params"]
        for w in np.split(np.asarray(params["kernel"]), gates, axis=1):
            np.testing.assert_allclose(w @ w.T, np.eye(8), atol=1e-5)
        bias = np.asarray(params["input"]["bias"]).reshape(gates, 8)
        assert np.array_equal(bias.sum(1), [0, 8, 0, 0] if name == "lstm" else [0] * gates)


def test_a_recurrence_refuses_a_mask(x):
    module = Recurrent("gru", width=D)
    with pytest.raises(ValueError, match="gru reads every earlier step and cannot honour an attention mask"):
        module.init(jax.random.key(0), x, at(mask=jnp.ones((L, L), bool)))


@pytest.mark.parametrize("position", ["sinusoidal", "learned", "none", "rotary"])
def test_embedding_adds_order_as_asked(position):
    tokens = jnp.array([[3, 1, 3, 0]])
    module = Embedding(vocab_size=5, d_model=7, max_len=9, position=position)
    params = jax.jit(module.init)(jax.random.key(0), tokens, positions(4))["params"]
    got = f64(jax.jit(module.apply)({"params": params}, tokens, positions(4) + 2))
    table = f64(params["token"]["embedding"])
    order = got - table[np.asarray(tokens)] * np.sqrt(7)
    if position == "learned":
        expected = f64(params["learned"]["embedding"])[2:6]
    elif position == "sinusoidal":
        angle = [[t / 10000 ** (2 * (i // 2) / 7) for i in range(7)] for t in range(2, 6)]
        expected = np.where(np.arange(7) % 2 == 0, np.sin(angle), np.cos(angle))
    else:
        expected = np.zeros((4, 7))
        assert set(params) == {"token"}
    np.testing.assert_allclose(order[0], expected, atol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 0.03])
def test_token_vectors_and_learned_positions_have_the_given_deviation(scale):
    module = Embedding(vocab_size=500, d_model=32, max_len=400, position="none", scale=scale)
    params = jax.jit(module.init)(jax.random.key(0), jnp.zeros((1, 1), int), positions(1))["params"]
    x = jax.jit(module.apply)({"params": params}, jnp.arange(500)[None], positions(1))
    assert abs(float(jnp.std(x)) / scale - 1) < 0.05
    placed = jax.jit(module.clone(position="learned").init)(jax.random.key(0), jnp.zeros((1, 1), int), positions(1))
    assert abs(float(jnp.std(placed["params"]["learned"]["embedding"])) / scale - 1) < 0.05
