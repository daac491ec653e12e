"""Numbers in words, letter by letter: a text without end, each letter asked for from those before it."""

from collections.abc import Callable
from functools import cache, partial

import numpy as np

from transformer_jax.config import Shape, TaskConfig
from transformer_jax.tasks import generated
from transformer_jax.tasks.numbers_en_fr import LIMIT, english, french
from transformer_jax.tasks.task import Batch

BEFORE = 200
"""The first letter of a row is one of so many of its text, so that it may be any of a line: the longest has 74."""
WRITE = {"en": english, "fr": french}


def number_words(random: np.random.Generator, config: TaskConfig) -> Batch:
    """Numbers in English words, letter by letter: 0 to 999,999 alike, one a line, as num2words writes them.

    A row is a window of the text, and its targets are the next letters. A number is log(1,000,000) = 13.8 nats and its
    line has 61.3 letters on average: no model has a loss below 0.225 nats a letter in the long run, somewhat more on a
    short window, which may begin in the middle of a line.
    """
    return draw(random, config, "en")


def draw(random: np.random.Generator, config: TaskConfig, language: str) -> Batch:
    """Rows of the text in that language."""
    B, T = config.batch_size, config.seq_len
    text_BxT1 = np.stack([_window(random, T + 1, language) for _ in range(B)])
    weights_BxT = np.ones((B, T), np.float32)
    return {"inputs": text_BxT1[:, :-1], "targets": text_BxT1[:, 1:], "weights": weights_BxT}


def _window(random: np.random.Generator, length: int, language: str) -> np.ndarray:
    start, text = int(random.integers(BEFORE)), ""
    while len(text) < start + length:
        text += WRITE[language](int(random.integers(LIMIT))) + "\n"
    return np.searchsorted(_codes(letters(language)), _codes(text[start : start + length])).astype(np.int32)


def _codes(text: str) -> np.ndarray:
    """A code point for each letter: in UTF-8 the é of zéro would be two."""
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


@cache
def letters(language: str = "en") -> str:
    """All that the text is made of, an id each, in the order of their code points."""
    write = WRITE[language]
    return "".join(sorted({letter for n in (*range(1000), 1000, 1001, 1100) for letter in write(n)} | {"\n"}))


def kind(draws: Callable[[np.random.Generator, TaskConfig], Batch], language: str) -> generated.Kind:
    """The record of the text in a language."""

    def shape(task: TaskConfig) -> Shape:
        return Shape(task.seq_len, len(letters(language)), vocab_size=len(letters(language)))

    return generated.Kind(draws, sizes=("seq_len",), shape=shape, next_token=True, symbols=partial(letters, language))


KIND = kind(number_words, "en")
build = partial(generated.build, KIND)
