"""Parity, even pairs, the cycle and the words of S5: answers worked out one row and one symbol at a time."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer_jax.config import Shape, TaskConfig
from transformer_jax.tasks import registry

ARRANGEMENTS = list(permutations("abcde"))


def odd(bits):
    return sum(bits) % 2


def even_changes(bits):
    return 1 - sum(one != other for one, other in zip(bits, bits[1:], strict=False)) % 2


def place(moves):
    at = 0
    for move in moves:
        at = [at, at + 1, at - 1][move] % 5
    return at


def arrangement(elements):
    """The number of the order in which five things stand after having been put in order by each of the elements."""
    things = "abcde"
    for element in elements:
        things = tuple(things["abcde".index(letter)] for letter in ARRANGEMENTS[element])
    return ARRANGEMENTS.index(things)


# name: (answer of a word, symbols, answers, asked at every step, fewest symbols)
TASKS = {
    "parity": (odd, 2, 2, True, 1),
    "parity_end": (odd, 2, 2, False, 1),
    "even_pairs": (even_changes, 2, 2, False, 2),
    "cycle_navigation": (place, 3, 5, False, 2),
    "s5_words": (arrangement, 120, 120, True, 1),
}


def draw(name, seed, **fields):
    return registry.GENERATED[name].draw(np.random.default_rng(seed), TaskConfig(name=name, **fields))


@pytest.mark.parametrize("name", TASKS)
@settings(max_examples=20)
@given(seed=st.integers(0, 2**31), least=st.integers(2, 9), more=st.integers(0, 12), several=st.booleans())
def test_every_answer_is_that_of_the_word(name, seed, least, more, several):
    answer, symbols, _, every_step, _ = TASKS[name]
    batch = draw(name, seed, seq_len=least + more, min_len=least if several else None, batch_size=7)
    assert ("lengths" in batch) == several
    for row, (inputs, targets, weights) in enumerate(
        zip(batch["inputs"].tolist(), batch["targets"].tolist(), batch["weights"].tolist(), strict=True)
    ):
        end = batch["lengths"][row] if several else least + more
        assert least <= end <= least + more and max(inputs) < symbols and not any(inputs[end:])
        steps = range(end) if every_step else [end - 1]
        assert weights == [float(step in steps) for step in range(least + more)]
        assert [targets[step] for step in steps] == [answer(inputs[: step + 1]) for step in steps]


@pytest.mark.parametrize("name", TASKS)
def test_no_answer_is_likelier_than_another_at_any_length(name):
    *_, answers, every_step, fewest = TASKS[name]
    batch = draw(name, 3, seq_len=6, min_len=fewest, batch_size=24_000)
    ends = batch["lengths"]
    for length in range(fewest, 7):
        found = batch["targets"][ends == length, length - 1]
        expected = len(found) / answers
        assert abs(len(found) - 24_000 / (7 - fewest)) < 6 * 24_000**0.5 / 2
        chi_square = ((np.bincount(found, minlength=answers) - expected) ** 2 / expected).sum()
        assert chi_square < answers + 6 * (2 * answers) ** 0.5
    assert batch["weights"].sum() == (ends.sum() if every_step else len(ends))


def test_the_places_of_the_cycle_are_reached_by_all_words():
    """Two moves are chosen so as to fit, whichever they are."""
    found = {tuple(row) for row in draw("cycle_navigation", 0, seq_len=4, batch_size=4000)["inputs"].tolist()}
    assert len(found) == 3**4


@pytest.mark.parametrize("name", TASKS)
def test_shape_and_name(name, config_of):
    _, symbols, answers, *_ = TASKS[name]
    config = config_of(name, seq_len=11, min_len=5, batch_size=3)
    task = registry.build(config)
    assert task.shape == registry.TASKS[name].outline(config).shape == Shape(11, answers, vocab_size=symbols)
    assert not task.next_token and registry.identity(config.task) == f"{name} (seq_len 11, min_len 5)"
    assert registry.identity(config_of(name, seq_len=11).task) == f"{name} (seq_len 11)"
    assert {key: (array.shape, array.dtype.name) for key, array in next(task.train(0)).items()} == {
        "inputs": ((3, 11), "int32"),
        "targets": ((3, 11), "int32"),
        "weights": ((3, 11), "float32"),
        "lengths": ((3,), "int32"),
    }
