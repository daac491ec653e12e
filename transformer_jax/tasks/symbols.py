"""Ids of symbols: those that mean the same in every task of two sequences, and vocabularies that are a fixed list."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np

from transformer_jax.config import nearest

SPECIAL = ("<pad>", "<begin>", "<end>")
PADDING, BEGIN, END = range(3)
JOINTS = " ,-"  # what may stand before a word as a part of its symbol


class Codec(Protocol):
    """Text to ids and back. Equal codecs are the same object: programs are compiled once for each."""

    size: int
    """Ids in all, the special ones included."""

    def encode(self, text: str) -> np.ndarray:
        """int32 ids, without begin and end. Raises ValueError: the text holds what has no id."""

    def decode(self, ids: Iterable[int]) -> str:
        """The text up to the first end; padding and begin are left out."""

    def tokens(self, ids: Iterable[int]) -> list[str]:
        """The text of each id."""


class Symbols:
    """A `Codec` of listed symbols, whose ids follow their places in the list."""

    def __init__(self, symbols: Sequence[str], split: Callable[[str], list[str]], joint: str, kind: str):
        """
        Args:
          split: text -> its symbols.
          joint: what stands between two symbols of a text.
          kind: what a symbol is, for the message about what is none.
        """
        self.size = len(SPECIAL) + len(symbols)
        self._symbols, self._split, self._joint, self._kind = [*SPECIAL, *symbols], split, joint, kind
        self._ids = {symbol: i for i, symbol in enumerate(symbols, len(SPECIAL))}

    def encode(self, text: str) -> np.ndarray:
        found = self._split(text)
        for symbol in found:
            if symbol not in self._ids:
                words = sorted({known.strip(JOINTS) for known in self._ids})
                raise ValueError(f"{symbol!r} is no {self._kind}{nearest(symbol.strip(JOINTS), words)}")
        return np.array([self._ids[symbol] for symbol in found], np.int32)

    def decode(self, ids: Iterable[int]) -> str:
        return self._joint.join(self.tokens(ordinary(ids)))

    def tokens(self, ids: Iterable[int]) -> list[str]:
        return [self._symbols[i] for i in ids]


def ordinary(ids: Iterable[int]) -> Iterator[int]:
    """The ids before the first end that stand for text."""
    for i in ids:
        if i == END:
            return
        if i not in (PADDING, BEGIN):
            yield int(i)
