"""Decoding against slow loops: greedy, beam search over lists of hypotheses, and every answer that there is."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from transformer_jax import models
from transformer_jax.config import ModelConfig, Shape
from transformer_jax.models import Model
from transformer_jax.tasks.task import Decoding
from transformer_jax.train.decode import beam, greedy

PADDING, BEGIN, END = 0, 1, 2
SOURCE_VOCAB, WIDTH = 6, 3


def remembering(vocab):
    """A model whose next token depends on all tokens before it and on the source; no two of its axes are alike.

    State: what was remembered, (2, rows, WIDTH), what the source says, (rows, vocab), and how much was read.
    """

    def init(key):
        keys = jax.random.split(key, 4)
        shapes = {"table": (vocab, vocab), "embed": (2, vocab, WIDTH), "out": (2, WIDTH, vocab),
                  "source": (SOURCE_VOCAB, vocab)}  # fmt: skip
        return {n: 1.5 * jax.random.normal(k, s) for k, (n, s) in zip(keys, shapes.items(), strict=True)}

    def read(params, source_BxS, source_lengths_B, max_len):
        real_BxS = jnp.arange(source_BxS.shape[1]) < source_lengths_B[:, None]
        said_BxV = jnp.sum(params["source"][source_BxS] * real_BxS[..., None], 1)
        return {"memory": jnp.zeros((2, len(source_BxS), WIDTH)), "said": said_BxV, "index": 0}

    def one(params, token_B, state):
        memory = jnp.tanh(0.7 * state["memory"] + params["embed"][:, token_B])
        logits = params["table"][token_B] + state["said"] + jnp.einsum("nbw,nwv->bv", memory, params["out"])
        return logits, state | {"memory": memory, "index": state["index"] + 1}

    def extend(params, tokens_BxL, state, first=False):
        logits = []
        for token_B in tokens_BxL.T:
            now, state = one(params, token_B, state)
            logits.append(now)
        return jnp.stack(logits, 1), state

    def apply(params, inputs, *, source, source_lengths, lengths=None, train=False, key=None):
        return extend(params, inputs, read(params, source, source_lengths, 0))[0]

    def select(state, rows_N):
        return state | {"memory": state["memory"][:, rows_N], "said": state["said"]}

    return Model(init, apply, None, extend, read, select)


def made(vocab, seed=0, more_ends=0.0):
    model = remembering(vocab)
    params = model.init(jax.random.key(seed))
    return model, params | {"table": params["table"].at[:, END].add(more_ends)}


def sources(rows=5, length=4, seed=1):
    random = np.random.default_rng(seed)
    return random.integers(3, SOURCE_VOCAB, (rows, length)), random.integers(1, length + 1, rows)


def log_probs(model, params, source, length, tokens):
    """Of the tokens that may follow: a full forward over everything before."""
    inputs = jnp.array([[BEGIN, *tokens]])
    logits = model.apply(params, inputs, source=source[None], source_lengths=jnp.array([length]))
    return np.asarray(jax.nn.log_softmax(logits[0, -1]), np.float64)


def score_of(model, params, source, length, tokens, alpha):
    total = sum(log_probs(model, params, source, length, tokens[:i])[token] for i, token in enumerate(tokens))
    return total / ((5 + len(tokens)) / 6) ** alpha


def answer(tokens_N):
    """A row up to its end, after which there must be nothing else."""
    tokens = np.asarray(tokens_N).tolist()
    at = tokens.index(END) + 1
    assert set(tokens[at:]) <= {END}
    return tokens[:at]


def slow_beam(model, params, source, length, steps, size, alpha):
    """[(score, tokens)] best first, for one sentence."""
    live, finished = [(0.0, [])], []
    for step in range(steps):
        found = []
        for before, tokens in live:
            logs = log_probs(model, params, source, length, tokens)
            may = [END] if step == steps - 1 else range(len(logs))
            found += [(before + logs[token], [*tokens, token]) for token in may]
        found.sort(key=lambda pair: -pair[0])
        ended = [(s / ((5 + len(t)) / 6) ** alpha, t) for s, t in found[:size] if t[-1] == END]
        finished = sorted(finished + ended, key=lambda pair: -pair[0])[:size]
        live = [pair for pair in found if pair[1][-1] != END][:size]
        if len(finished) == size:
            break
    return finished


@pytest.mark.parametrize("more_ends", [-1.0, 1.5])
def test_greedy_is_a_loop_over_full_forwards(more_ends):
    decoding, (source, lengths) = Decoding(BEGIN, END, 7), sources()
    model, params = made(8, more_ends=more_ends)
    found = greedy(model, params, source, lengths, decoding)
    assert found.shape == (5, 7) and found.dtype == jnp.int32
    for row in range(5):
        tokens = []
        while tokens[-1:] != [END] and len(tokens) < 6:
            tokens.append(int(log_probs(model, params, source[row], lengths[row], tokens).argmax()))
        assert answer(found[row]) == (tokens if tokens[-1] == END else [*tokens, END])
    ended = {len(answer(row)) for row in found}
    assert len(ended) > 1  # else nothing was seen of rows that end before others


@pytest.mark.parametrize("alpha", [0.0, 2.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_beam_1_is_greedy_token_by_token(alpha, seed):
    decoding, (source, lengths) = Decoding(BEGIN, END, 9), sources(rows=11, seed=seed)
    model, params = made(8, seed, more_ends=1.0)
    tokens, scores = beam(model, params, source, lengths, decoding, 1, alpha)
    assert np.array_equal(tokens[:, 0], greedy(model, params, source, lengths, decoding))
    assert tokens.shape == (11, 1, 9) and scores.shape == (11, 1)


@pytest.mark.parametrize(("size", "alpha"), [(2, 0.0), (3, 0.6), (5, 1.4)])
def test_beam_is_that_of_lists_and_its_scores_a_full_forward(size, alpha):
    decoding, (source, lengths) = Decoding(BEGIN, END, 6), sources(rows=4)
    model, params = made(7, more_ends=0.7)
    tokens, scores = beam(model, params, source, lengths, decoding, size, alpha)
    for row in range(4):
        expected = slow_beam(model, params, source[row], lengths[row], 6, size, alpha)
        found = [answer(one) for one in tokens[row]]
        assert found == [one for _, one in expected]
        again = [score_of(model, params, source[row], lengths[row], one, alpha) for one in found]
        assert np.asarray(scores[row]) == pytest.approx(again, abs=1e-5)
        assert again == pytest.approx([score for score, _ in expected])
        assert len(set(map(tuple, found))) == size


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_a_beam_of_all_finds_what_exhaustive_search_finds(alpha):
    """4 symbols, one of them the end, in up to 6 places: 364 answers, each once, in order, with its probability."""
    model, params = made(4, seed=4)
    (source,), (length,) = sources(rows=1)
    symbols = [i for i in range(4) if i != END]
    every = [[*head, END] for n in range(6) for head in itertools.product(symbols, repeat=n)]
    padded = np.array([[BEGIN, *one, *[END] * (6 - len(one))][:-1] for one in every])
    arguments = {"source": np.tile(source, (364, 1)), "source_lengths": np.full(364, length)}
    logs = jax.nn.log_softmax(jax.jit(model.apply)(params, padded, **arguments))
    totals = [sum(np.asarray(logs, np.float64)[i, range(len(one)), one]) for i, one in enumerate(every)]
    ranked = sorted(((t / ((5 + len(one)) / 6) ** alpha, one) for t, one in zip(totals, every, strict=True)))[::-1]
    tokens, scores = beam(model, params, source[None], np.array([length]), Decoding(BEGIN, END, 6), 370, alpha)
    assert np.asarray(scores[0, :364]) == pytest.approx([score for score, _ in ranked], abs=1e-5)
    assert answer(tokens[0, 0]) == ranked[0][1]
    assert sorted(answer(one) for one in tokens[0, :364]) == sorted(every)
    assert np.isneginf(scores[0, 364:]).all()
    if alpha == 0:
        first = answer(greedy(model, params, source[None], np.array([length]), Decoding(BEGIN, END, 6))[0])
        assert first != ranked[0][1]  # else there was nothing to search for


@pytest.mark.parametrize(("mixer", "seed"), [("attention", 0), ("gru", 1)])
def test_caches_of_both_families_give_the_scores_of_a_full_forward(mixer, seed):
    """Hypotheses change places, and every cached key and carry with them."""
    config = ModelConfig(mixer=mixer, d_model=8, num_heads=2, num_layers=2, mlp_dim=12, max_len=9)
    model = models.build(config, Shape(7, 11, vocab_size=11, source_len=4, source_vocab_size=SOURCE_VOCAB))
    params = jax.tree.map(lambda leaf: 2 * leaf, jax.jit(model.init)(jax.random.key(seed)))
    decoding, (source, lengths) = Decoding(BEGIN, END, 7), sources(rows=5)
    tokens_BxKxN, scores_BxK = beam(model, params, source, lengths, decoding, 3, 0.6)
    written = [answer(one) for row in np.asarray(tokens_BxKxN) for one in row]
    inputs = np.array([[BEGIN, *one[:-1], *[PADDING] * (7 - len(one))] for one in written])
    repeated = {"source": np.repeat(source, 3, 0), "source_lengths": np.repeat(lengths, 3)}
    logits = jax.jit(model.apply)(params, inputs, **repeated, lengths=np.array(list(map(len, written))))
    logs = np.asarray(jax.nn.log_softmax(logits), np.float64)
    found = [logs[i, range(len(one)), one].sum() / ((5 + len(one)) / 6) ** 0.6 for i, one in enumerate(written)]
    assert np.asarray(scores_BxK).reshape(-1) == pytest.approx(found, abs=1e-5)
    assert len(set(map(tuple, written))) > 9 and len({len(one) for one in written}) > 4


def test_what_stands_for_no_text_is_never_written():
    """Though it is likeliest by far. A score still is the probability of the answer among all ids."""
    decoding, (source, lengths) = Decoding(BEGIN, END, 6, unwritten=(PADDING, BEGIN)), sources()
    model, params = made(8)
    params |= {"table": params["table"].at[:, PADDING].add(9.0)}
    written = [np.asarray(greedy(model, params, source, lengths, decoding))]
    tokens, scores = beam(model, params, source, lengths, decoding, 3, 0.6)
    written += [np.asarray(tokens[:, k]) for k in range(3)]
    assert not np.isin(written, (PADDING, BEGIN)).any() and len(np.unique(written)) > 2
    again = [score_of(model, params, source[row], lengths[row], answer(tokens[row, 0]), 0.6) for row in range(5)]
    assert np.asarray(scores[:, 0]) == pytest.approx(again, abs=1e-5)


def test_a_row_does_not_depend_on_its_batch_mates():
    decoding, (source, lengths) = Decoding(BEGIN, END, 8), sources(rows=6)
    model, params = made(7, more_ends=1.0)
    for search in (partial(greedy, decoding=decoding), partial(beam, decoding=decoding, size=3)):
        together = search(model, params, source, lengths)
        padded = search(model, params, np.pad(source, ((0, 0), (0, 2)), constant_values=5), lengths)
        for row in (0, 3):
            alone = search(model, params, source[row : row + 1], lengths[row : row + 1])
            for all_, one, more in zip(*map(jax.tree.leaves, (together, alone, padded)), strict=True):
                assert np.allclose(all_[row], one[0], atol=1e-5) and np.allclose(all_[row], more[row], atol=1e-5)


def test_each_source_is_read_once_whatever_the_size():
    model, params = made(7)
    read = []

    def counted(params, source_BxS, source_lengths_B, max_len):
        if isinstance(source_BxS, jax.Array):
            jax.debug.callback(lambda rows: read.append(len(rows)), source_lengths_B)
        return model.read(params, source_BxS, source_lengths_B, max_len)

    beam(model._replace(read=counted), params, *sources(rows=5), Decoding(BEGIN, END, 4), 3)
    jax.effects_barrier()
    assert read == [5]


def test_one_token_is_the_end():
    model, params = made(7)
    decoding, (source, lengths) = Decoding(BEGIN, END, 1), sources()
    assert greedy(model, params, source, lengths, decoding).tolist() == [[END]] * 5
    tokens, scores = beam(model, params, source, lengths, decoding, 2)
    assert tokens[:, 0].tolist() == [[END]] * 5 and np.isneginf(scores[:, 1]).all()
    expected = [log_probs(model, params, *pair, [])[END] for pair in zip(source, lengths, strict=True)]
    assert np.asarray(scores[:, 0]) == pytest.approx(expected, abs=1e-5)
