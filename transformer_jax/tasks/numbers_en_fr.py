"""Numbers in words, English to French: 0 to 999,999, as num2words writes them; nothing to download."""

import re
from collections.abc import Callable
from functools import cache

import numpy as np

from transformer_jax.config import Config, Shape
from transformer_jax.tasks import pairs
from transformer_jax.tasks.symbols import Symbols
from transformer_jax.tasks.task import Outline, Split, Task

LIMIT = 1_000_000
LONGEST = 14  # tokens of 297,297 in French, its end included; no number takes more
SAMPLE = 100_000
# Digits -> the share of such numbers that tests, and as much that validates: 90, 300, 300 and 300 numbers. Those
# below 100 are irregular (soixante-dix, quatre-vingt-dix-sept): who never met one cannot know it, so that all train.
HELD_OUT = {3: 1 / 10, 4: 1 / 30, 5: 1 / 300, 6: 1 / 3000}


def build(config: Config) -> Task:
    """English words of numbers to French ones.

    About 1,000 numbers validate and 1,000 test, chosen by a hash of the number. 100,000 train, drawn from the others
    with repetition: a fifth below 100, and a fifth each of three, four, five and six digits, for among numbers drawn
    evenly one of a thousand would have less than four.

    A word is one token together with the space, hyphen or comma before it, so that texts are read and written exactly.
    """

    def read(split: Split) -> pairs.Texts:
        return [(english(n), french(n)) for n in numbers(split).tolist()]

    def describe() -> dict:
        counts = {split: len(numbers(split)) for split in ("train", "validation", "test")}
        return {"source": __doc__, "generated": True, "counts": counts}

    return pairs.build(config, codec("en"), codec("fr"), read, describe)


def outline(config: Config) -> Outline:
    """All that the data would tell."""
    source, target, length = codec("en").size, codec("fr").size, config.task.seq_len
    shape = Shape(length, target, vocab_size=target, source_len=length, source_vocab_size=source)
    short = f"task.seq_len={length}: {config.task.name} takes {LONGEST} tokens for its longest number"
    return Outline(shape, next_token=True, problems=(short,) if length < LONGEST else ())


def english(n: int) -> str:
    """num2words(n), put together from its words below 1,000: a hundred times as quick."""
    thousands, rest = divmod(n, 1000)
    below = _below_thousand("en")
    if not thousands:
        return below[rest]
    tail = (" and " if rest < 100 else ", ") + below[rest] if rest else ""
    return f"{below[thousands]} thousand{tail}"


def french(n: int) -> str:
    """num2words(n, lang="fr"), put together likewise: mille has no un before it, and no plural of cent or vingt."""
    thousands, rest = divmod(n, 1000)
    below = _below_thousand("fr")
    if not thousands:
        return below[rest]
    head = "mille" if thousands == 1 else re.sub("(cent|vingt)s$", r"\1", below[thousands]) + " mille"
    return f"{head} {below[rest]}" if rest else head


@cache
def numbers(split: Split) -> np.ndarray:
    """The numbers of a split; those held out rise."""
    every = np.arange(LIMIT)
    digits_N = np.maximum(2, np.char.str_len(every.astype("U6")))
    share_N = np.select([digits_N == d for d in HELD_OUT], list(HELD_OUT.values()))
    hash_N = uniform(every)
    parts = {"test": hash_N < share_N, "validation": (hash_N >= share_N) & (hash_N < 2 * share_N)}
    if split != "train":
        return every[parts[split]]
    rest_N, random = ~parts["test"] & ~parts["validation"], np.random.default_rng(0)
    kinds = [every[rest_N & (digits_N == digits)] for digits in (2, *HELD_OUT)]
    return np.concatenate([random.choice(kind, SAMPLE // len(kinds)) for kind in kinds])


def uniform(numbers_N: np.ndarray) -> np.ndarray:
    """A hash of each number in [0, 1): the finaliser of SplitMix64 (Steele et al., 2014)."""
    x = numbers_N.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    return (x ^ (x >> np.uint64(31))) / 2.0**64


@cache
def codec(language: str) -> Symbols:
    """The words of a language with what stands before each of them."""
    write: Callable[[int], str] = {"en": english, "fr": french}[language]
    simplest = (*range(1000), *range(1001, 2000), *range(1000, LIMIT, 1000))  # every word, in every place
    words = sorted({piece for n in simplest for piece in split(write(n))})
    return Symbols(words, split, "", {"en": "word of an English number", "fr": "word of a French number"}[language])


def split(text: str) -> list[str]:
    """The words of a text, each with what stands before it: "one", " thousand", ",", " two"; nothing is lost."""
    return re.findall(r"(?:, |[ -])?[^ ,-]+|.", text, re.DOTALL)


@cache
def _below_thousand(language: str) -> list[str]:
    from num2words import num2words  # takes a tenth of a second, which other tasks need not pay

    return [num2words(n, lang=language) for n in range(1000)]
