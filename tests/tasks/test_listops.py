"""ListOps: rows read as people write them, and worked out one bracket at a time."""

import statistics

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer_jax.config import Shape, TaskConfig
from transformer_jax.tasks import listops, registry

OPERATIONS = {
    "[MIN": min,
    "[MAX": max,
    "[MED": lambda digits: int(statistics.median(digits)),
    "[SM": lambda digits: sum(digits) % 10,
}


def value(words):
    """Of one digit or operation that begins the list, which is taken off it; its depth."""
    word = words.pop(0)
    if word.isdigit():
        return int(word), 0
    found = []
    while words[0] != "]":
        found.append(value(words))
    words.pop(0)
    assert 2 <= len(found) <= 5
    digits, depths = zip(*found, strict=True)
    return OPERATIONS[word](digits), 1 + max(depths)


def draw(seed, **fields):
    return listops.listops(np.random.default_rng(seed), TaskConfig(name="listops", **fields))


def test_values_as_the_paper_has_them():
    assert value("[MAX 2 9 [MIN 4 7 ] 0 ]".split()) == (9, 2)
    assert value("[SM 8 9 [MED 1 4 9 6 ] ]".split()) == (2, 2)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**31), least=st.integers(4, 20), more=st.integers(0, 60), several=st.booleans())
def test_every_row_is_one_operation_whose_value_is_asked_at_its_end(seed, least, more, several):
    batch = draw(seed, seq_len=least + more, min_len=least if several else None, batch_size=5)
    for row, (inputs, targets, weights) in enumerate(
        zip(batch["inputs"].tolist(), batch["targets"].tolist(), batch["weights"].tolist(), strict=True)
    ):
        end = batch["lengths"][row] if several else least + more
        words = [listops.TOKENS[token] for token in inputs[:end]]
        assert least <= end <= least + more and not any(inputs[end:])
        assert weights == [float(step == end - 1) for step in range(least + more)]
        assert value(words) == (targets[end - 1], max(depth(inputs[:end]))) and not words


def depth(tokens):
    opened = 0
    for token in tokens:
        opened += (10 <= token < 14) - (token == 14)
        yield opened


def test_guessing_a_value_gives_a_tenth():
    batch = draw(0, seq_len=30, min_len=4, batch_size=5000)
    found = batch["targets"][batch["weights"] > 0]
    assert (abs(np.bincount(found, minlength=10) - 500) < 6 * 21).all()
    lengths = np.bincount(batch["lengths"])[4:]
    assert len(lengths) == 27 and (abs(lengths - 5000 / 27) < 6 * (5000 / 27) ** 0.5).all()


def test_operations_arguments_and_depths_vary():
    tokens, _ = listops.expressions(np.random.default_rng(1), np.full(300, 256), 256)
    counts = np.bincount(tokens.ravel(), minlength=15)
    assert (abs(counts[:10] / counts[:10].mean() - 1) < 0.1).all() and counts[10:14].sum() == counts[14]
    assert (abs(counts[10:14] / counts[10:14].mean() - 1) < 0.1).all()
    deepest = [max(depth(row)) for row in tokens.tolist()]
    assert 6 < np.mean(deepest) < 10 and max(deepest) < 20


def test_shape(config_of):
    config = config_of("listops", seq_len=20, batch_size=3)
    assert registry.build(config).shape == registry.TASKS["listops"].outline(config).shape
    assert registry.build(config).shape == Shape(20, 10, vocab_size=15)
