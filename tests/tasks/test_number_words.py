"""Numbers in words, letter by letter: windows of a text that num2words would write."""

import re

import numpy as np
import pytest
from num2words import num2words

from transformer_jax.config import Shape, TaskConfig
from transformer_jax.tasks import number_words, registry
from transformer_jax.tasks.numbers_en_fr import LIMIT, english

WORDS = {num2words(n): n for n in range(1000)}
KNOWN_FR = {word for n in range(1000) for word in re.split("[ -]", num2words(n, lang="fr"))} | {"mille"}


def value(line):
    """The number of a line; KeyError where it is none."""
    thousands, found, rest = line.partition(" thousand")
    return 1000 * WORDS[thousands] + (WORDS[re.sub("^(,| and) ", "", rest)] if rest else 0) if found else WORDS[line]


def draw(seed, **fields):
    batch = number_words.number_words(np.random.default_rng(seed), TaskConfig(**fields))
    texts = ["".join(number_words.letters()[i] for i in row) for row in batch["inputs"]]
    return batch, texts


def test_a_row_is_a_window_of_lines_of_numbers():
    batch, texts = draw(0, seq_len=300, batch_size=7)
    assert batch["inputs"].shape == batch["targets"].shape == batch["weights"].shape == (7, 300)
    assert batch["inputs"].dtype == batch["targets"].dtype == np.int32 and batch["weights"].all()
    np.testing.assert_array_equal(batch["inputs"][:, 1:], batch["targets"][:, :-1])
    for text in texts:
        whole = text.split("\n")[1:-1]
        assert len(whole) >= 2 and all(english(value(line)) == line and value(line) < LIMIT for line in whole)
    assert len({text[:20] for text in texts}) == 7


def test_numbers_are_alike_and_a_row_may_begin_anywhere_in_a_line():
    _, texts = draw(1, seq_len=150, batch_size=2000)
    numbers = np.array([value(text.split("\n")[1]) for text in texts])
    assert abs(np.histogram(numbers, 4, (0, LIMIT))[0] - 500).max() < 6 * 22
    place = np.array([text.index("\n") for text in texts])
    # a letter of a text in which lines of the lengths below follow each other: how far it is to its line's end
    lengths = np.array([len(english(n)) + 1 for n in np.random.default_rng(0).integers(0, LIMIT, 5000)])
    expected = np.mean(lengths * (lengths - 1)) / 2 / np.mean(lengths)
    assert np.mean(place) == pytest.approx(expected, abs=6 * np.std(place) / 2000**0.5)


def test_what_the_docstring_says_of_the_best_loss():
    mean = np.mean([len(english(n)) + 1 for n in range(0, LIMIT, 7)])
    assert mean == pytest.approx(61.3, abs=0.05) and np.log(LIMIT) / mean == pytest.approx(0.225, abs=0.001)
    assert "61.3 letters" in number_words.number_words.__doc__ and "0.225 nats" in number_words.number_words.__doc__


def test_in_french_it_is_what_num2words_writes(config_of):
    task = registry.build(config_of("number_words_fr", seq_len=300, batch_size=4))
    lines = [line for row in next(iter(task.evaluate("test")))["inputs"] for line in task.decode(row).split("\n")[1:-1]]
    assert len(lines) > 8 and all(word in KNOWN_FR for line in lines for word in re.split("[ -]", line))
    assert any("mille" in line for line in lines) and not any("thousand" in line for line in lines)


def test_a_letter_with_an_accent_is_one_letter(monkeypatch):
    """Zero, one number in a million: "zéro" is the only word with an accent."""
    monkeypatch.setattr(number_words, "LIMIT", 1)
    batch = number_words.draw(np.random.default_rng(0), TaskConfig(seq_len=40, batch_size=9), "fr")
    texts = ["".join(number_words.letters("fr")[i] for i in row) for row in batch["inputs"]]
    assert batch["targets"].shape == (9, 40) and all(text in "zéro\n" * 9 for text in texts)


def test_shape_and_letters(config_of):
    config = config_of("number_words", seq_len=9, batch_size=3)
    task = registry.build(config)
    assert task.shape == registry.TASKS["number_words"].outline(config).shape == Shape(9, 23, vocab_size=23)
    assert set(number_words.letters()) == {letter for n in range(0, LIMIT, 11) for letter in english(n)} | {"\n"}
    assert task.next_token and registry.identity(config.task) == "number_words (seq_len 9)"
