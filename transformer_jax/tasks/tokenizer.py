"""Subwords: byte-level BPE (HF tokenizers), trained on given texts, without loss for any text."""

import json
from collections.abc import Iterable
from functools import lru_cache

import numpy as np

from transformer_jax.config import ConfigError
from transformer_jax.tasks.symbols import SPECIAL, ordinary

# tokenizers is imported where it is used: other tasks need not pay for it

BYTES = 256


class Tokenizer:
    """A `symbols.Codec` of subwords; made by `load`, so that equal ones are the same object."""

    def __init__(self, saved: bytes):
        from tokenizers import Tokenizer

        self.json = saved
        """All there is to it, in the format of HF tokenizers."""
        self._tokenizer = Tokenizer.from_str(saved.decode())
        self.size = self._tokenizer.get_vocab_size()

    def encode(self, text: str) -> np.ndarray:
        try:
            return np.array(self._tokenizer.encode(text).ids, np.int32)
        except (TypeError, UnicodeEncodeError):  # a surrogate: how Python holds a byte that is no UTF-8
            raise ValueError("the text is not valid Unicode: it holds bytes that are no UTF-8") from None

    def decode(self, ids: Iterable[int]) -> str:
        return self._tokenizer.decode(list(ordinary(ids)))

    def tokens(self, ids: Iterable[int]) -> list[str]:
        """The text of each id; a part of a character is shown as U+FFFD."""
        return [SPECIAL[i] if i < len(SPECIAL) else self._tokenizer.decode([int(i)]) for i in ids]


@lru_cache(maxsize=8)
def load(saved: bytes) -> Tokenizer:
    """The tokeniser of its JSON."""
    return Tokenizer(saved)


def train(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Merges the most frequent neighbours until there are `vocab_size` ids, or nothing is left to merge.

    The same texts in the same order give the same bytes. Nothing is normalised: text -> ids -> text is the identity
    (Sennrich et al., 2016, on bytes as in GPT-2).

    Raises:
      ConfigError: vocab_size has no place for every byte.
    """
    if problem := refusal(vocab_size):
        raise ConfigError(problem)
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    saved = json.loads(tokenizer.to_str())
    saved["added_tokens"] = []  # else "<end>" in a text would be read as the end
    return load(json.dumps(saved, ensure_ascii=False, separators=(",", ":")).encode())


def refusal(vocab_size: int) -> str | None:
    """Why there is no tokeniser of that size; None: there is."""
    least = BYTES + len(SPECIAL)
    what = f"task.vocab_size={vocab_size}: subwords take at least {least}, {BYTES} bytes and {len(SPECIAL)} special ids"
    return what if vocab_size < least else None
