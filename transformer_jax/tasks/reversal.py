"""Reversal: random symbols, written once more from the last to the first."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from transformer_jax.config import Config, ConfigError, Shape
from transformer_jax.tasks import pairs
from transformer_jax.tasks.symbols import SPECIAL, Symbols
from transformer_jax.tasks.task import SPLITS, Outline, Split, Task

COUNTS = {"train": 50_000, "validation": 1_000, "test": 1_000}
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def build(config: Config) -> Task:
    """Random symbols to the reversed order: as many as task.vocab_size holds, 1 to task.seq_len - 1 of them.

    50,000 pairs train, drawn once; 1,000 validate and 1,000 test, which are not among those. Their source is
    symbols with spaces between them: "c a b".

    Raises:
      ConfigError: sizes that leave no symbol, no place for one, or no sequence to test on.
    """
    task = config.task
    if problem := refusal(task.vocab_size, task.seq_len):
        raise ConfigError(problem)
    codec = _codec(task.vocab_size)

    def read(split: Split) -> pairs.Texts:
        return [(" ".join(row), " ".join(reversed(row))) for row in drawn(split, task.vocab_size, task.seq_len)]

    def describe() -> dict:
        return {"source": __doc__, "generated": True, "counts": COUNTS}

    return pairs.build(config, codec, codec, read, describe)


def outline(config: Config) -> Outline:
    """All that the data would tell: they are made from the sizes."""
    length, size = config.task.seq_len, config.task.vocab_size
    problem = refusal(size, length)
    shape = Shape(length, size, vocab_size=size, source_len=length, source_vocab_size=size)
    return Outline(shape, next_token=True, problems=(problem,) if problem else ())


def refusal(vocab_size: int, seq_len: int) -> str | None:
    """Why there are no sequences of these sizes; None: there are."""
    symbols = vocab_size - len(SPECIAL)
    if symbols < 2:
        return f"task.vocab_size={vocab_size}: {len(SPECIAL)} special ids and two symbols make at least 5"
    if symbols ** (seq_len - 1) < 2 * COUNTS["train"]:
        return (
            f"task.seq_len={seq_len}, task.vocab_size={vocab_size}: there are too few sequences of {symbols} symbols"
            f" and an end for {COUNTS['train']} to train on and others to test on"
        )
    return None


def drawn(split: Split, vocab_size: int, seq_len: int) -> list[list[str]]:
    """The symbols of each source, of uniform lengths; what is held out occurs in no split before."""
    names, seen, found = _names(vocab_size - len(SPECIAL)), set(), {}
    for name in SPLITS[: SPLITS.index(split) + 1]:
        random, found[name] = np.random.default_rng((0, SPLITS.index(name))), []
        while len(found[name]) < COUNTS[name]:
            rows = _draw(random, COUNTS[name], len(names), seq_len)
            found[name] += [row for row in rows if row.tobytes() not in seen][: COUNTS[name] - len(found[name])]
        seen |= {row.tobytes() for row in found[name]}
    return [[names[i] for i in row] for row in found[split]]


def _draw(random: np.random.Generator, count: int, symbols: int, seq_len: int) -> list[np.ndarray]:
    ends = random.integers(1, seq_len, count).cumsum()  # the end of a target takes a step as well
    return np.split(random.integers(symbols, size=ends[-1]), ends[:-1])


@lru_cache(maxsize=8)
def _codec(vocab_size: int) -> Symbols:
    return Symbols(_names(vocab_size - len(SPECIAL)), str.split, " ", "symbol")


def _names(count: int) -> list[str]:
    """a ... z, aa, ab, ..."""

    def name(i: int) -> Iterator[str]:
        if i >= len(LETTERS):
            yield from name(i // len(LETTERS) - 1)
        yield LETTERS[i % len(LETTERS)]

    return ["".join(name(i)) for i in range(count)]
