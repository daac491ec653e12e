"""IMDB reviews, positive or negative: words of a vocabulary fitted on the training split, bucketed by length."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache, partial
from typing import NamedTuple

import numpy as np

from transformer_jax.config import Config, Shape
from transformer_jax.tasks import objectives, sets, stream, vectors
from transformer_jax.tasks.task import SPLITS, Batch, Task, check_split

SET = "imdb_reviews"
PADDING, UNKNOWN = 0, 1
VALIDATE_ONE_IN = 10
OPENING = 20  # words
WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*|[!?]")


class Reviews(NamedTuple):
    """One split, in the order of the disk."""

    texts: list[str]
    labels_N: np.ndarray


class Vocabulary:
    """Words to ids and back: 0 is padding, 1 any word that is not known, then the words by frequency."""

    def __init__(self, texts: list[str], size: int):
        counts = Counter(word for text in texts for word in split_words(text))
        common = sorted(counts, key=lambda word: (-counts[word], word))[: size - 2]
        self.symbols = ["<pad>", "<unknown>", *common]
        self._ids = {word: i for i, word in enumerate(self.symbols)}

    def encode(self, text: str) -> np.ndarray:
        """int32 ids, at least one."""
        return np.array([self._ids.get(word, UNKNOWN) for word in split_words(text)] or [UNKNOWN], np.int32)

    def decode(self, ids) -> str:
        return " ".join(self.symbols[i] for i in ids if i != PADDING)


def split_words(text: str) -> list[str]:
    """Lower-case words, with ! and ? as words of their own; the reviews' line breaks (<br />) go."""
    return WORD.findall(text.replace("<br />", " ").lower())


def build(config: Config) -> Task:
    """Reviews of up to `task.seq_len` words (the first ones), `task.vocab_size` ids, two classes.

    A tenth of the published training reviews validates, by the hash of their first words, so that reviews that were
    sent in twice do not straddle. 123 reviews of the published test split also occur in its training split; they stay.

    Raises:
      MissingData: the set is not prepared; later, if evaluate("test") is asked of a set made without that split.
    """
    task = config.task
    builder = sets.open_set(SET, sets.data_dir(task))
    splits = dict(zip(SPLITS[:2], split_by_content(_read(builder, "train")), strict=True))
    vocabulary = Vocabulary(splits["train"].texts, task.vocab_size)

    given = vectors.of(task, [None, None, *vocabulary.symbols[2:]])

    @cache
    def encoded(split: str) -> tuple[list[np.ndarray], np.ndarray]:
        texts, labels_N = _read(builder, "test") if split == "test" else splits[split]
        return [vocabulary.encode(text)[: task.seq_len] for text in texts], labels_N

    def train(seed: int) -> Iterator[Batch]:
        ids, labels_N = encoded("train")
        lengths = [*task.bucket_lengths, task.seq_len]
        buckets = stream.by_length([len(found) for found in ids], lengths)
        gathers = [partial(gather, ids, labels_N, length) for length in lengths]
        return stream.bucketed(buckets, gathers, task.batch_size, seed, task.workers)

    def evaluate(split: str) -> Iterator[Batch]:
        check_split(task.name, split)
        ids, labels_N = encoded(split)
        return stream.one_pass(len(ids), partial(gather, ids, labels_N, task.seq_len), task.batch_size)

    return Task(
        name=task.name,
        shape=Shape(task.seq_len, 2, vocab_size=len(vocabulary.symbols), pooled=True),
        objective=objectives.cross_entropy(config.train.label_smoothing),
        train=train,
        evaluate=evaluate,
        describe=lambda: (
            sets.describe(builder, {name: len(found.texts) for name, found in splits.items()})
            | ({} if given is None else {"vectors": given.describe()})
        ),
        encode=vocabulary.encode,
        decode=vocabulary.decode,
        vectors=given,
    )


def split_by_content(reviews: Reviews) -> tuple[Reviews, Reviews]:
    """(train, validation); texts that begin with the same words always fall on the same side.

    The whole text would not do: some reviews were sent in twice, the second time a little changed.
    """
    openings = [" ".join(split_words(text[:400])[:OPENING]) for text in reviews.texts]
    digests = [hashlib.sha256(opening.encode()).digest() for opening in openings]
    held_out_N = np.array([int.from_bytes(digest[:8], "big") % VALIDATE_ONE_IN == 0 for digest in digests])
    parts = (np.flatnonzero(~held_out_N), np.flatnonzero(held_out_N))
    train, validation = (Reviews([reviews.texts[i] for i in p], reviews.labels_N[p]) for p in parts)
    return train, validation


def gather(ids: list[np.ndarray], labels_N: np.ndarray, length: int, chosen_B: np.ndarray) -> Batch:
    """The chosen texts, of up to `length` ids each, padded at the end."""
    found = [ids[i] for i in chosen_B]
    lengths_B = np.array([len(text) for text in found], np.int32)
    inputs_BxT = np.full((len(found), length), PADDING, np.int32)
    inputs_BxT[np.arange(length) < lengths_B[:, None]] = np.concatenate(found)
    weights_B = np.ones(len(found), np.float32)
    return {"inputs": inputs_BxT, "targets": labels_N[chosen_B], "weights": weights_B, "lengths": lengths_B}


def _read(builder, split: str) -> Reviews:
    found = sets.records(builder, split)
    return Reviews([r["text"].decode() for r in found], np.array([r["label"] for r in found], np.int32))
