"""The recurrent encoder and decoder: both papers' formulas, padding, causality, decoding, what is refused."""

import itertools
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from transformer_jax.config import ConfigError, ModelConfig, Shape
from transformer_jax.models import attentive_rnn

B, S, T, D, R, V, W = 3, 7, 4, 6, 5, 11, 13  # W is the source's vocabulary
SMALL = dict(mixer="gru", d_model=D, recurrent_dim=R, num_layers=1, max_len=16)
SHAPE = Shape(seq_len=T, outputs=V, vocab_size=V, source_len=S, source_vocab_size=W)
SOURCE_LENGTHS, LENGTHS = np.array([7, 3, 1]), np.array([4, 2, 3])
VARIANTS = {
    "bahdanau": dict(num_layers=2, encoder_layers=1),
    "luong general": dict(score="general", num_layers=2),
    "luong dot, lstm": dict(score="dot", mixer="lstm"),
    "bahdanau, lstm": dict(mixer="lstm"),
    "bahdanau, rnn": dict(mixer="rnn"),
    "bahdanau, min_gru": dict(mixer="min_gru"),
    "tied": dict(tie_embeddings=True),
}


@cache
def built(shape=SHAPE, **variant):
    """A model, and random parameters, biases too: zeros would hide a missing one."""
    model, random = attentive_rnn.build(ModelConfig(**SMALL | variant), shape), np.random.default_rng(3)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    return model, jax.tree.map(lambda p: 0.4 * random.normal(size=p.shape).astype("f"), shapes), jax.jit(model.apply)


@pytest.fixture(scope="module")
def batch():
    random = np.random.default_rng(1)
    source, tokens = random.integers(1, W, (B, S)), random.integers(1, V, (B, T))
    return {"source": source.astype(np.int32), "source_lengths": SOURCE_LENGTHS}, tokens.astype(np.int32)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gru_step(p, x, h):
    """One step of a GRU (Cho et al. 2014; the reset gate acts after the product, as in cuDNN), x projected."""
    x_r, x_z, x_n = np.split(x, 3)
    a_r, a_z, a_n = np.split(h @ p["kernel"], 3)
    r, z = sigmoid(x_r + a_r), sigmoid(x_z + a_z)
    n = np.tanh(x_n + r * (a_n + p["bias"]))
    return (1 - z) * n + z * h


def gru(p, xs, h):
    states = []
    for x in xs:
        h = gru_step(p, x @ p["input"]["kernel"] + p["input"]["bias"], h)
        states.append(h)
    return np.array(states)


def softmax(x):
    return np.exp(x) / np.exp(x).sum()


def encode(p, layers, source):
    """One sentence without padding: the last layer's states and the two ends of it."""
    x = p["source_embedding"]["token"]["embedding"][source] * np.sqrt(D)
    for n in range(layers):
        there = gru(p[f"encoder_{n}"]["forward"], x, np.zeros(R))
        back = gru(p[f"encoder_{n}"]["backward"], x[::-1], np.zeros(R))[::-1]
        x = np.concatenate([there, back], 1)
    return x, np.concatenate([there[-1], back[0]])


def dense(p, x):
    return x @ p["kernel"] + p["bias"]


def bahdanau(p, source, tokens):
    """One encoder layer, two decoder layers: alpha = softmax(v . tanh(Wq s + Wk h)), the step reads y and c."""
    h, ends = encode(p, 1, source)
    s, attention = np.tanh(dense(p["bridge_0_0"], ends)), p["attention"]
    y = p["embedding"]["token"]["embedding"][tokens] * np.sqrt(D)
    states, contexts, alphas = [], [], []
    for y_t in y:
        energy = np.tanh(s @ attention["score_query"][0] + h @ attention["score_key"][0]) @ attention["score_vector"][0]
        alphas.append(softmax(energy[:, 0]))
        contexts.append(alphas[-1] @ h)
        s = gru_step(attention, dense(attention["input"], y_t) + contexts[-1] @ attention["context"]["kernel"], s)
        states.append(s)
    top = gru(p["decoder_0"], states, np.tanh(dense(p["bridge_1_0"], ends)))
    out = np.tanh(dense(p["readout"], np.concatenate([contexts, top, y], 1)))
    return dense(p["head"], out), np.array(alphas)


def luong(p, source, tokens):
    """Two layers each: alpha = softmax(h . W h_s) after the decoder's states, then tanh(W [c; h])."""
    h_s, ends = encode(p, 2, source)
    h = p["embedding"]["token"]["embedding"][tokens] * np.sqrt(D)
    for n in range(2):
        h = gru(p[f"decoder_{n}"], h, np.tanh(dense(p[f"bridge_{n}_0"], ends)))
    alphas = np.array([softmax(h_s @ p["attention"]["score_kernel"][0] @ h_t) for h_t in h])
    out = np.tanh(dense(p["readout"], np.concatenate([alphas @ h_s, h], 1)))
    return dense(p["head"], out), alphas


@pytest.mark.parametrize(("variant", "formula"), [("bahdanau", bahdanau), ("luong general", luong)])
def test_the_papers_formula(variant, formula, batch):
    model, params, apply = built(**VARIANTS[variant])
    given, tokens = batch
    logits, weights = apply(params, tokens, **given), jax.jit(model.alignment)(params, tokens, **given)
    assert logits.dtype == jnp.float32 and weights.shape == (1, 1, B, T, S)
    exact = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    for b, length in enumerate(SOURCE_LENGTHS):
        expected, alphas = formula(exact, given["source"][b, :length], tokens[b])
        np.testing.assert_allclose(logits[b], expected, atol=2e-5)
        np.testing.assert_allclose(weights[0, 0, b, :, :length], alphas, atol=1e-5)
        assert not np.any(weights[0, 0, b, :, length:])


@pytest.mark.parametrize("variant", VARIANTS)
def test_decoding_is_the_forward_pass(variant, batch):
    model, params, apply = built(**VARIANTS[variant])
    given, tokens = batch
    whole = apply(params, tokens, **given)
    read, extend, pieces = jax.jit(model.read, static_argnums=3), jax.jit(model.extend), []
    state = read(params, *given.values(), T)
    for start, end in itertools.pairwise((0, 1, 3, T)):
        logits, state = extend(params, tokens[:, start:end], state)
        pieces.append(logits)
    np.testing.assert_allclose(np.concatenate(pieces, 1), whole, atol=1e-5)
    assert int(state.index) == T


@pytest.mark.parametrize("variant", ["bahdanau", "luong general", "luong dot, lstm"])
def test_padding_changes_nothing(variant, batch):
    """Ids that no embedding has give NaN where they are read."""
    model, params, _ = built(**VARIANTS[variant])
    given, tokens = batch
    real_BxT = np.arange(T) < LENGTHS[:, None]

    @jax.jit
    def loss_and_grads(source, tokens):
        def loss(params):
            logits = model.apply(params, tokens, source=source, source_lengths=SOURCE_LENGTHS, lengths=LENGTHS)
            return jnp.sum(jnp.sin(logits), where=real_BxT[..., None]), logits

        return jax.value_and_grad(loss, has_aux=True)(params)

    (loss, logits), grads = loss_and_grads(given["source"], tokens)
    garbage = np.where(np.arange(S) < SOURCE_LENGTHS[:, None], given["source"], 99), np.where(real_BxT, tokens, 77)
    (other, other_logits), other_grads = loss_and_grads(*garbage)
    np.testing.assert_array_equal(np.asarray(logits)[real_BxT], np.asarray(other_logits)[real_BxT])
    assert loss == other and np.isfinite(loss)
    jax.tree.map(np.testing.assert_array_equal, grads, other_grads)
    # a longer array of padding: other shapes, so that sums may be ordered differently
    longer = np.pad(given["source"], ((0, 0), (0, 3)), constant_values=99)
    (_, longer_logits), longer_grads = loss_and_grads(longer, tokens)
    np.testing.assert_allclose(np.asarray(longer_logits)[real_BxT], np.asarray(logits)[real_BxT], atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-4), grads, longer_grads)


@pytest.mark.parametrize("variant", ["bahdanau", "luong general"])
def test_a_step_depends_on_no_later_token_and_on_the_whole_source(variant, batch):
    """By gradient, with respect to tables that hold a row of their own for every place."""
    shape = SHAPE._replace(vocab_size=B * T, source_vocab_size=B * S)
    model, params, _ = built(shape, **VARIANTS[variant])
    tokens, source = np.arange(B * T).reshape(B, T), np.arange(B * S).reshape(B, S)

    @jax.jit
    def slope(params):
        at_1 = lambda p: model.apply(p, tokens, source=source, source_lengths=SOURCE_LENGTHS)[:, 1].sum()  # noqa: E731
        grads = jax.grad(at_1)(params)
        return grads["embedding"]["token"]["embedding"], grads["source_embedding"]["token"]["embedding"]

    moved = [np.asarray(grad).any(-1) for grad in slope(params)]
    np.testing.assert_array_equal(moved[0].reshape(B, T), np.arange(T) <= np.ones((B, 1)))
    np.testing.assert_array_equal(moved[1].reshape(B, S), np.arange(S) < SOURCE_LENGTHS[:, None])


@pytest.mark.parametrize("variant", ["bahdanau", "luong dot, lstm"])
def test_select_replaces_hypotheses_of_one_sentence(variant, batch):
    model, params, apply = built(**VARIANTS[variant])
    given, tokens = batch
    twice = {name: np.repeat(array, 2, axis=0) for name, array in given.items()}
    begun = np.random.default_rng(5).integers(1, V, (2 * B, 2)).astype(np.int32)
    rows = np.array([1, 1, 2, 3, 5, 4])
    read, extend = jax.jit(model.read, static_argnums=3), jax.jit(model.extend)
    _, state = extend(params, begun, read(params, *twice.values(), T))
    logits, _ = extend(params, begun[:, :1], jax.jit(model.select)(state, rows))
    whole = apply(params, np.concatenate([begun[rows], begun[:, :1]], 1), **twice)
    np.testing.assert_allclose(logits[:, 0], whole[:, 2], atol=1e-5)


def test_two_sequences_of_one_vocabulary_share_a_table():
    shared = SHAPE._replace(source_vocab_size=V)
    names = [set(built(shape)[1]) for shape in (SHAPE, shared)]
    assert names[0] - names[1] == {"source_embedding"}
    assert "head" not in built(shared, tie_embeddings=True)[1]


def test_dropout_acts_in_training_alone(batch):
    given, tokens = batch
    model, params, apply = built(dropout_rate=0.5)
    train = jax.jit(lambda key: model.apply(params, tokens, train=True, key=key, **given))
    still, one, other = apply(params, tokens, **given), train(jax.random.key(1)), train(jax.random.key(2))
    assert not np.allclose(one, other) and not np.allclose(one, still)
    np.testing.assert_allclose(still, built()[2](params, tokens, **given), atol=1e-6)


def test_bfloat16_computes_low_and_stores_high(batch):
    given, tokens = batch
    model, params, _ = built(dtype="bfloat16")
    logits = jax.jit(model.apply)(params, tokens, **given)
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(logits, built()[2](params, tokens, **given), atol=0.15)


def test_how_training_starts():
    """Recurrent matrices orthogonal gate by gate and the LSTM's forget bias at 1, in encoder and decoder."""
    params = jax.jit(attentive_rnn.build(ModelConfig(**SMALL | {"mixer": "lstm"}), SHAPE).init)(jax.random.key(0))
    for layer in (params["encoder_0"]["forward"], params["encoder_0"]["backward"], params["attention"]):
        np.testing.assert_array_equal(layer["input"]["bias"], np.repeat([0, 1, 0, 0], R))
        for gate in np.split(np.asarray(layer["kernel"]), 4, axis=1):
            np.testing.assert_allclose(gate.T @ gate, np.eye(R), atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "shape", "message"),
    [
        ({}, SHAPE._replace(source_len=17), "sources have up to 17 tokens: longer than model.max_len=16"),
        ({}, SHAPE._replace(seq_len=17), "up to 17 steps: longer than model.max_len=16"),
        ({}, SHAPE._replace(pooled=True), "answered with a token at every step"),
        (
            {"mixer": "min_gru", "recurrence": "chunked"},
            SHAPE,
            "=chunked: a decoder that attends before",
        ),
        ({"tie_embeddings": True}, SHAPE._replace(outputs=9), "vocab_size=11, outputs=9"),
    ],
)
def test_a_shape_that_the_model_cannot_read(changes, shape, message):
    with pytest.raises(ConfigError, match=message):
        attentive_rnn.build(ModelConfig(**SMALL | changes), shape)


def test_a_length_that_the_model_cannot_address(batch):
    model, params, _ = built()
    given, tokens = batch
    with pytest.raises(ValueError, match="a sequence of 17 steps: model.max_len=16"):
        model.apply(params, tokens, source=np.ones((B, 17), np.int32))
    with pytest.raises(ValueError, match="a sequence of 17 steps"):
        model.read(params, *given.values(), 17)
