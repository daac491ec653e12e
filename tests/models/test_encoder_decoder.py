"""The encoder-decoder of 2017: the formula, its parameters, its masks, and decoding that equals the whole pass."""

import itertools
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.parameters import drawn
from transformer_jax import models
from transformer_jax.config import ConfigError, ModelConfig, Shape
from transformer_jax.layers.block import Source
from transformer_jax.models.encoder_decoder import EncoderDecoder
from transformer_jax.ops.losses import cross_entropy

B, L, S, V, W, D, H, F = 3, 9, 7, 11, 13, 12, 3, 10  # W: the source's vocabulary
SMALL = dict(d_model=D, num_heads=H, num_layers=2, encoder_layers=1, mlp_dim=F, max_len=16)
SHAPE = Shape(seq_len=L, outputs=V, vocab_size=V, source_len=S, source_vocab_size=W)
SHARED = SHAPE._replace(source_vocab_size=V)
LENGTHS, SOURCE_LENGTHS = np.array([6, 9, 4]), np.array([7, 2, 5])
PADDED, SOURCE_PADDED = (np.arange(n) >= real[:, None] for n, real in ((L, LENGTHS), (S, SOURCE_LENGTHS)))
PAPER = dict(norm="post", position="sinusoidal", activation="relu")
VARIANTS = {
    "paper": dict(PAPER),
    "rotary, grouped, unrolled": dict(position="rotary", num_kv_heads=1, scan_layers=False),
    "learned, tied": dict(position="learned", tie_embeddings=True, attention="blockwise"),
}


@cache
def built(shape=SHAPE, **variant):
    model = models.build(ModelConfig(**SMALL | variant), shape)
    return model, drawn(model), jax.jit(model.apply)


@pytest.fixture(scope="module")
def inputs():
    return np.random.default_rng(1).integers(0, V, (B, L)).astype(np.int32)


@pytest.fixture(scope="module")
def source():
    return np.random.default_rng(2).integers(0, V, (B, S)).astype(np.int32)


# The formula, in float64, sentence by sentence


def _norm(p, x):
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(var + 1e-6) * p["scale"] + p["bias"]


def _attend(p, x_LxD, y_SxD, causal):
    out, weights = p["out"]["bias"].copy(), []
    for h in range(H):
        q, k, v = (
            z @ p[n]["kernel"][:, h] + p[n]["bias"][h] for n, z in (("query", x_LxD), ("key", y_SxD), ("value", y_SxD))
        )
        w = np.exp(q @ k.T / np.sqrt(D // H))
        w = np.tril(w) if causal else w
        weights.append(w / w.sum(-1, keepdims=True))
        out = out + weights[-1] @ v @ p["out"]["kernel"][h]
    return out, np.array(weights)


def _mlp(p, x):
    h = np.maximum(x @ p["Dense_0"]["kernel"] + p["Dense_0"]["bias"], 0)
    return h @ p["Dense_1"]["kernel"] + p["Dense_1"]["bias"]


def _embed(table, tokens):
    angle = np.arange(len(tokens))[:, None] / 10000 ** (np.arange(0, D, 2) / D)
    x = table[tokens] * np.sqrt(D)
    x[:, 0::2] += np.sin(angle)
    x[:, 1::2] += np.cos(angle)
    return x


def _blocks(p, x, norm, depth, source=None):
    """Post-norm: norm(x + f(x)); pre-norm: x + f(norm(x)) and a last norm. With a source it is a decoder."""
    crossed = []
    for i in range(depth):
        layer = jax.tree.map(lambda leaf, i=i: np.asarray(leaf[i], np.float64), p["blocks"])

        def add(x, name, f, layer=layer):
            if norm == "post":
                return _norm(layer[f"norm_{name}"], x + f(layer[name], x))
            return x + f(layer[name], _norm(layer[f"norm_{name}"], x))

        def cross(p, x):
            y, weights = _attend(p, x, source, causal=False)
            crossed.append(weights)
            return y

        x = add(x, "mixer", lambda p, x: _attend(p, x, x, causal=source is not None)[0])
        x = x if source is None else add(x, "cross", cross)
        x = add(x, "mlp", _mlp)
    return x if norm == "post" else _norm(p["norm_out"], x), crossed


def oracle(params, inputs, source, norm):
    """Logits (L, V) and weights (N, H, L, S) of one pair without padding."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    read, _ = _blocks(params["encoder"], _embed(params["source_embedding"]["token"]["embedding"], source), norm, 1)
    x, weights = _blocks(params["decoder"], _embed(params["embedding"]["token"]["embedding"], inputs), norm, 2, read)
    return x @ params["head"]["kernel"] + params["head"]["bias"], np.array(weights)


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_it_is_the_formula_and_padding_is_not_there(norm, inputs, source):
    """L9 to L11 and the weights of each layer and head: padded rows in one batch are the formula of each pair alone."""
    model, params, apply = built(**PAPER | {"norm": norm})
    logits = apply(params, inputs, source=source, source_lengths=SOURCE_LENGTHS, lengths=LENGTHS)
    weights = jax.jit(model.alignment)(params, inputs, source, SOURCE_LENGTHS, LENGTHS)
    assert logits.dtype == jnp.float32 and weights.shape == (2, H, B, L, S)
    for b, (length, real) in enumerate(zip(LENGTHS, SOURCE_LENGTHS, strict=True)):
        right, right_weights = oracle(params, inputs[b, :length], source[b, :real], norm)
        np.testing.assert_allclose(logits[b, :length], right, atol=2e-5)
        np.testing.assert_allclose(weights[:, :, b, :length, :real], right_weights, atol=1e-5)
        assert not np.any(weights[:, :, b, :, real:])


# Parameters


def num_params(N, M, d, mlp, source_vocab, vocab, tied, pre, learned):
    """Of M layers that read and N that write, by hand."""
    attention = 4 * (d * d + d)  # query, key, value, out, each with its bias
    feed_forward = d * mlp + mlp + mlp * d + d
    norm = 2 * d
    encoder = M * (attention + feed_forward + 2 * norm) + pre * norm
    decoder = N * (2 * attention + feed_forward + 3 * norm) + pre * norm
    tables = vocab * d if source_vocab == vocab else (source_vocab + vocab) * d
    return encoder + decoder + tables + 2 * learned * d + (0 if tied else vocab * d + vocab)


def count(shape, **config):
    params = jax.eval_shape(models.build(ModelConfig(**config), shape).init, jax.random.key(0))
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def test_the_base_model_of_2017_has_the_parameters_of_its_formula():
    """Table 3 rounds to 65 million; with one vocabulary of 37,000 and biases everywhere it is 63,082,496."""
    shape = Shape(seq_len=100, outputs=37000, vocab_size=37000, source_len=100, source_vocab_size=37000)
    base = dict(d_model=512, num_heads=8, num_layers=6, mlp_dim=2048, max_len=512, tie_embeddings=True)
    right = 6 * (1_050_624 + 2_099_712 + 2_048) + 6 * (2 * 1_050_624 + 2_099_712 + 3_072) + 37_000 * 512
    assert right == num_params(6, 6, 512, 2048, 37000, 37000, tied=True, pre=False, learned=0) == 63_082_496
    assert count(shape, **base, **PAPER) == right


@pytest.mark.parametrize("shape", [SHAPE, SHARED])
@pytest.mark.parametrize("tied", [True, False])
def test_other_models_have_theirs(shape, tied):
    """Two vocabularies are two tables; learned positions are each sequence's own in any case."""
    right = num_params(2, 1, D, F, shape.source_vocab_size, V, tied, pre=True, learned=16)
    assert count(shape, **SMALL, tie_embeddings=tied, position="learned") == right


def test_where_the_parameters_are():
    """Checkpoints name their leaves by these paths."""
    scanned, unrolled = built(SHARED, **PAPER)[1], built(**VARIANTS["rotary, grouped, unrolled"])[1]
    assert set(scanned) == {"embedding", "encoder", "decoder", "head"}
    assert set(scanned["decoder"]) == {"blocks"} and scanned["decoder"]["blocks"]["cross"]["out"]["bias"].shape == (
        2,
        D,
    )
    assert set(unrolled) == {"embedding", "source_embedding", "encoder", "decoder", "head"}
    assert set(unrolled["encoder"]) == {"block_0", "norm_out"}
    assert set(unrolled["decoder"]) == {"block_0", "block_1", "norm_out"}
    assert set(unrolled["decoder"]["block_1"]) == {"mixer", "cross", "mlp", "norm_mixer", "norm_cross", "norm_mlp"}


def test_one_vocabulary_is_one_table(inputs, source):
    """By gradient: the source's words alone move the table that the target reads, and ties the head to."""
    model, params, _ = built(SHARED, tie_embeddings=True)

    def first(params):
        return model.apply(params, jnp.zeros((B, 1), jnp.int32), source=source)[..., 0].sum()

    moved = np.abs(jax.jit(jax.grad(first))(params)["embedding"]["token"]["embedding"]).sum(-1) > 0
    assert set(np.flatnonzero(moved)) == {0} | set(np.unique(source))


# Masks


def test_garbage_in_the_padding_changes_nothing(inputs, source):
    """L7: other words and ids that no vocabulary has, in both paddings: logits and gradients bit by bit."""
    model, params, apply = built()

    @jax.jit
    def run(params, inputs, source):
        def loss(params):
            logits = model.apply(params, inputs, source=source, source_lengths=SOURCE_LENGTHS, lengths=LENGTHS)
            total, weight = cross_entropy(logits, jnp.where(PADDED, 0, inputs), (~PADDED).astype(jnp.float32))
            return total / weight, jnp.where(PADDED[..., None], 0, logits)

        return jax.value_and_grad(loss, has_aux=True)(params)

    fills = (0, 5, 10**9, -1)
    results = [run(params, np.where(PADDED, i, inputs), np.where(SOURCE_PADDED, i, source)) for i in fills]
    for other in results[1:]:
        jax.tree.map(np.testing.assert_array_equal, results[0], other)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(results))
    without = [apply(params, inputs, source=np.where(SOURCE_PADDED, i, source), lengths=LENGTHS) for i in (0, 5)]
    assert np.any(without[0] != without[1], axis=(1, 2)).tolist() == np.any(SOURCE_PADDED, axis=1).tolist()
    changed = source.copy()
    changed[:, 1] = (changed[:, 1] + 1) % W  # real in every row
    assert np.all(np.any(run(params, inputs, changed)[0][1] != results[0][0][1], axis=-1) == ~PADDED)


def test_every_word_written_looks_at_every_real_word_read_and_at_no_later_one(inputs, source):
    """L8 and L9 by gradient, through the whole decoder."""
    _, params, _ = built(**PAPER)
    module = EncoderDecoder(ModelConfig(**SMALL | PAPER), SHAPE)
    rows = np.random.default_rng(3).normal(size=(B, S, D)).astype(np.float32)

    def logits(rows):
        given = Source(rows, jnp.arange(S), SOURCE_LENGTHS)
        return module.apply({"params": params}, inputs, given, method="decode")[0] @ np.arange(V)

    depends_BxLxBxS = np.abs(jax.jit(jax.jacrev(logits))(rows)).sum(-1)
    for b in range(B):
        np.testing.assert_array_equal(depends_BxLxBxS[b, :, b] > 0, np.broadcast_to(~SOURCE_PADDED[b], (L, S)))
    apply = built(**PAPER)[2]
    before, moved = apply(params, inputs, source=source), inputs.copy()
    moved[:, 4] = (moved[:, 4] + 1) % V
    changed = np.any(apply(params, moved, source=source) != before, axis=(0, -1))
    np.testing.assert_array_equal(changed, np.arange(L) >= 4)


def test_the_missing_causal_mask_of_the_first_documents_decoder():
    """That decoder passes no mask to its self-attention. On uniformly random targets no loss can be below log V but by
    reading the answers: without the mask it falls far below, ours does not."""
    vocab, length, steps = 6, 5, 100
    shape = Shape(seq_len=length, outputs=vocab, vocab_size=vocab, source_len=length, source_vocab_size=vocab)

    def losses(causal):
        config = ModelConfig(d_model=16, num_heads=2, num_layers=1, mlp_dim=16, max_len=length, causal=causal)
        model, tx = models.build(config, shape), optax.adam(1e-2)

        def loss(params, key):
            source, targets = jax.random.randint(key, (2, 48, length), 0, vocab)
            inputs = jnp.pad(targets, [(0, 0), (1, 0)])[:, :-1]
            total, weight = cross_entropy(model.apply(params, inputs, source=source), targets, jnp.ones(targets.shape))
            return total / weight

        def step(carry, key):
            value, grads = jax.value_and_grad(loss)(carry[0], key)
            updates, opt_state = tx.update(grads, carry[1])
            return (optax.apply_updates(carry[0], updates), opt_state), value

        params = model.init(jax.random.key(0))
        return jax.lax.scan(step, (params, tx.init(params)), jax.random.split(jax.random.key(1), steps))[1]

    ours, unmasked = (np.asarray(jax.jit(losses, static_argnums=0)(causal)) for causal in (True, False))
    assert abs(ours[-40:].mean() - np.log(vocab)) < 0.02 and ours.min() > np.log(vocab) - 0.05
    assert unmasked[-20:].mean() < 0.5 * np.log(vocab)  # the last word alone stays unknown: log(V) / length


# Decoding


@pytest.mark.parametrize("variant", VARIANTS)
def test_writing_is_the_whole_pass(variant, inputs, source):
    """L16: several words, one, several; the source was read once, and its encoder and keys are no more used."""
    model, params, apply = built(SHARED, **VARIANTS[variant])
    whole = apply(params, inputs, source=source, source_lengths=SOURCE_LENGTHS)
    state = jax.jit(model.read, static_argnums=3)(params, source, SOURCE_LENGTHS, L)
    cross, pieces = state.blocks["cross"], []
    writer = {name: leaf for name, leaf in params.items() if name not in ("encoder", "source_embedding")}
    for start, end in itertools.pairwise((0, 4, 5, L)):
        extend = jax.jit(partial(model.extend, first=start == 0))
        logits, state = extend(writer, inputs[:, start:end], state)
        pieces.append(logits)
    np.testing.assert_allclose(np.concatenate(pieces, 1), whole, atol=1e-5)
    assert int(state.index) == L and cross.k_BxSxKxDh.shape[:3] == (2, B, S)
    jax.tree.map(np.testing.assert_array_equal, cross, state.blocks["cross"])


def test_a_source_without_lengths_is_whole(inputs, source):
    model, params, apply = built(**PAPER)
    whole = apply(params, inputs, source=source)
    np.testing.assert_array_equal(whole, apply(params, inputs, source=source, source_lengths=np.full(B, S)))
    read = jax.jit(model.read, static_argnums=3)
    logits, _ = jax.jit(model.extend)(params, inputs, read(params, source, None, L))
    np.testing.assert_allclose(logits, whole, atol=1e-5)


def test_selected_hypotheses_go_on_as_if_they_had_been_written(inputs, source):
    """Beam search: rows of one source change places, and what was read of the source stays."""
    model, params, apply = built(**PAPER)
    source, lengths, rows = source[[0, 0, 2]], SOURCE_LENGTHS[[0, 0, 2]], np.array([1, 1, 2])
    state = jax.jit(model.read, static_argnums=3)(params, source, lengths, L)
    extend = jax.jit(model.extend)
    _, state = extend(params, inputs[:, :4], state)
    chosen = jax.jit(model.select)(state, rows)
    logits, _ = extend(params, inputs[:, 4:5], chosen)
    written = np.concatenate([inputs[rows, :4], inputs[:, 4:5]], 1)
    np.testing.assert_allclose(
        logits[:, 0], apply(params, written, source=source, source_lengths=lengths)[:, 4], atol=1e-5
    )
    jax.tree.map(np.testing.assert_array_equal, chosen.blocks["cross"], state.blocks["cross"])


def test_a_word_is_written_in_place(source):
    """In a loop, no step copies the caches: what it needs besides them is less than one of them."""
    model = models.build(ModelConfig(**SMALL | {"max_len": 4096, "num_layers": 6}), SHAPE)
    params = jax.eval_shape(model.init, jax.random.key(0))
    state = jax.eval_shape(partial(model.read, max_len=4096), params, source, SOURCE_LENGTHS)
    one = jax.ShapeDtypeStruct((B, 1), jnp.int32)
    compiled = jax.jit(model.extend, donate_argnums=2).lower(params, one, state).compile()
    keys = state.blocks["mixer"].k_BxKxSxDh
    assert compiled.memory_analysis().alias_size_in_bytes >= 2 * keys.size * 4
    assert compiled.memory_analysis().temp_size_in_bytes < keys.size * 4


# The rest


def test_dropout_acts_in_training_alone(inputs, source):
    model, params, apply = built(dropout_rate=0.5)
    train = jax.jit(partial(model.apply, train=True))
    one, again, other = (train(params, inputs, source=source, key=jax.random.key(i)) for i in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert np.all(np.any(one != other, axis=-1))
    np.testing.assert_array_equal(apply(params, inputs, source=source), built()[2](params, inputs, source=source))


def test_low_precision_computes_low_and_answers_high(inputs, source):
    model = models.build(ModelConfig(**SMALL | PAPER, dtype="bfloat16"), SHAPE)
    _, params, apply = built(**PAPER)
    logits = jax.jit(model.apply)(params, inputs, source=source)
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(logits, apply(params, inputs, source=source), atol=0.3)
    state = jax.eval_shape(partial(model.read, max_len=4), params, source, None)
    assert {leaf.dtype for leaf in jax.tree.leaves(state.blocks)} == {jnp.dtype("bfloat16")}


def test_a_decoder_that_looks_ahead_cannot_write():
    model = models.build(ModelConfig(**SMALL, causal=False), SHAPE)
    assert model.initial_state is model.extend is model.read is model.select is None


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (SHAPE._replace(source_len=17), "sources have up to 17 tokens: longer than model.max_len=16"),
        (SHAPE._replace(seq_len=17), "up to 17 steps: longer than model.max_len=16"),
        (SHAPE._replace(source_vocab_size=None), "source_vocab_size=None"),
        (SHAPE._replace(pooled=True), "pooled=True"),
        (SHAPE._replace(vocab_size=None, input_dim=3), "vocab_size=None"),
    ],
)
def test_a_shape_that_it_cannot_read(shape, message):
    with pytest.raises(ConfigError, match=message):
        models.build(ModelConfig(**SMALL), shape)


def test_a_length_that_it_cannot_address(inputs, source):
    model, params, _ = built(**PAPER)
    long = np.zeros((B, 17), np.int32)
    for call in (
        lambda: model.apply(params, long, source=source),
        lambda: model.apply(params, inputs, source=long),
        lambda: model.read(params, long, None, L),
        lambda: model.read(params, source, None, 17),
    ):
        with pytest.raises(ValueError, match="a sequence of 17 steps: model.max_len=16"):
            call()
