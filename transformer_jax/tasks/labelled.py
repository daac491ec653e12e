"""What the tasks of labelled texts share: words of a vocabulary fitted on the training split, bucketed by length."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import NamedTuple

import numpy as np

from transformer_jax.config import Config, ConfigError, Shape
from transformer_jax.tasks import objectives, pairs, place, sets, stream, vectors
from transformer_jax.tasks.task import Batch, Files, Outline, Split, Task, check_split

PADDING, UNKNOWN = 0, 1
WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*|[!?]")
FILE = "vocabulary.json"
"""What a run keeps: its words and its labels."""


class Texts(NamedTuple):
    """The texts of a split and the label of each, in the order of the disk."""

    texts: list[str]
    labels: list[str]


class Vocabulary:
    """Words to ids and back: 0 is padding, 1 any word that is not known, then the words by frequency."""

    def __init__(self, words: Sequence[str]):
        self.symbols = ["<pad>", "<unknown>", *words]
        self._ids = {word: i for i, word in enumerate(self.symbols)}

    @classmethod
    def of(cls, texts: Sequence[str], size: int) -> "Vocabulary":
        """The most frequent words of the texts, so many that there are `size` ids at most."""
        counts = Counter(word for text in texts for word in split_words(text))
        return cls(sorted(counts, key=lambda word: (-counts[word], word))[: max(0, size - 2)])

    def encode(self, text: str) -> np.ndarray:
        """int32 ids, at least one."""
        return np.array([self._ids.get(word, UNKNOWN) for word in split_words(text)] or [UNKNOWN], np.int32)

    def decode(self, ids) -> str:
        return " ".join(self.symbols[i] for i in ids if i != PADDING)


def split_words(text: str) -> list[str]:
    """Lower-case words, with ! and ? as words of their own; line breaks of HTML (<br />) go."""
    return WORD.findall(text.replace("<br />", " ").lower())


def build(
    config: Config,
    files: Files = (),
    *,
    name: str | None = None,
    read: Callable[..., Texts] | None = None,
) -> Task:
    """Texts of up to `task.seq_len` words (the first ones), `task.vocab_size` ids; the labels are the classes.

    A text is padded to the smallest of `task.bucket_lengths` and `task.seq_len` that holds it. Vocabulary and labels
    are those of the training split; a run keeps them.

    Args:
      files: what a run keeps: its vocabulary then is the task's, and the set is opened where its texts are asked for.
      name: of the prepared set; None: that of the task.
      read: read(builder, split) -> its texts; None: `texts_of`.

    Raises:
      MissingData: the set is not prepared; later, if evaluate("test") is asked of a set made without that split.
      ConfigError: a split has a label that training lacks, when that split is used.
    """
    task, read = config.task, read or texts_of

    @cache
    def opened():
        return sets.open_set(name or task.name, place.data_dir(task))

    @cache
    def texts(split: Split) -> Texts:
        check_split(task.name, split)
        return read(opened(), split)

    if saved := dict(files).get(FILE):
        kept = json.loads(saved)
    else:
        found = texts("train")
        words = Vocabulary.of(found.texts, task.vocab_size).symbols[2:]
        kept = {"labels": sorted(set(found.labels)), "words": words}
        saved = json.dumps(kept, ensure_ascii=False).encode()
    vocabulary, labels = Vocabulary(kept["words"]), {label: i for i, label in enumerate(kept["labels"])}
    given = vectors.of(task, [None, None, *vocabulary.symbols[2:]])

    @cache
    def whole(split: Split) -> list[np.ndarray]:
        return [vocabulary.encode(text) for text in texts(split).texts]

    batches = _batches(config, texts, whole, labels)

    def describe() -> dict:
        about = sets.describe(opened(), {split: len(texts(split).texts) for split in ("train", "validation")})
        about |= {"classes": list(labels), "cut": sum(len(one) > task.seq_len for one in whole("train"))}
        about["sha256"] = about["sha256"] | {FILE: hashlib.sha256(saved).hexdigest()}
        return about if given is None else about | {"vectors": given.describe()}

    return Task(
        name=task.name,
        shape=Shape(task.seq_len, len(labels), vocab_size=len(vocabulary.symbols), pooled=True),
        objective=objectives.cross_entropy(config.train.label_smoothing),
        train=batches.train,
        evaluate=batches.evaluate,
        describe=describe,
        encode=vocabulary.encode,
        decode=vocabulary.decode,
        files={FILE: saved},
        vectors=given,
        examples=batches.examples,
    )


class _Batches(NamedTuple):
    """Three fields of a `Task`."""

    train: Callable[[int], Iterator[Batch]]
    evaluate: Callable[[Split], Iterator[Batch]]
    examples: Callable[[], tuple[list[Batch], list[Batch]]]


def _batches(
    config: Config,
    texts: Callable[[Split], Texts],
    whole: Callable[[Split], list[np.ndarray]],
    labels: dict[str, int],
) -> _Batches:
    """The batches of each split, cut to `task.seq_len` and bucketed by length when the split is first asked for.

    Args:
      whole: whole(split) -> the ids of its texts, however long.
      labels: of the classes, in order.
    """
    task = config.task

    @cache
    def encoded(split: Split) -> tuple[list[np.ndarray], np.ndarray]:
        found = texts(split)
        if unknown := sorted(set(found.labels) - labels.keys()):
            raise ConfigError(
                f"{task.name}: the {split} split has the label {unknown[0]!r}, which its vocabulary lacks"
            )
        labels_N = np.array([labels[label] for label in found.labels], np.int32)
        return [ids[: task.seq_len] for ids in whole(split)], labels_N

    @cache
    def buckets(split: Split) -> list[pairs.Bucket]:
        """Those of training hold no more texts a batch than there are; those of evaluation are not empty."""
        bounds, ids = [*task.bucket_lengths, task.seq_len], encoded(split)[0]
        parts = stream.by_length([len(one) for one in ids], bounds)
        each = [pairs.Bucket(n, part, pairs.rows(n, config)) for n, part in zip(bounds, parts, strict=True)]
        return [pairs.fewer(one, config) if split == "train" else one for one in each if len(one.indices)]

    def train(seed: int) -> Iterator[Batch]:
        found = buckets("train")
        gathers = [partial(gather, *encoded("train"), bucket.length) for bucket in found]
        return stream.bucketed([b.indices for b in found], gathers, [b.rows for b in found], seed, task.workers)

    def evaluate(split: Split) -> Iterator[Batch]:
        check_split(task.name, split)
        return (batch for bucket in buckets(split) for batch in _one_pass(*encoded(split), bucket))

    def examples() -> tuple[list[Batch], list[Batch]]:
        return [_blank(bucket) for bucket in buckets("train")], [_blank(bucket) for bucket in buckets("validation")]

    return _Batches(train, evaluate, examples)


def outline(config: Config, classes: int = 2) -> Outline:
    """As if the training texts had all the words that the config asks for."""
    length, size = config.task.seq_len, config.task.vocab_size
    return Outline(Shape(length, classes, vocab_size=size, pooled=True))


def texts_of(builder, split: str) -> Texts:
    """A split of a set whose records are {text, label}; labels as their names."""
    found, label = sets.records(builder, split), builder.info.features["label"]
    name = (lambda value: label.names[value]) if hasattr(label, "names") else bytes.decode
    return Texts([record["text"].decode() for record in found], [name(record["label"]) for record in found])


def gather(ids: list[np.ndarray], labels_N: np.ndarray, length: int, chosen_B: np.ndarray) -> Batch:
    """The chosen texts, of up to `length` ids each, padded at the end."""
    found = [ids[i] for i in chosen_B]
    lengths_B = np.array([len(text) for text in found], np.int32)
    inputs_BxT = np.full((len(found), length), PADDING, np.int32)
    inputs_BxT[np.arange(length) < lengths_B[:, None]] = np.concatenate(found)
    weights_B = np.ones(len(found), np.float32)
    return {"inputs": inputs_BxT, "targets": labels_N[chosen_B], "weights": weights_B, "lengths": lengths_B}


def _one_pass(ids: list[np.ndarray], labels_N: np.ndarray, bucket: pairs.Bucket) -> Iterator[Batch]:
    def taken(places_B: np.ndarray) -> Batch:
        return gather(ids, labels_N, bucket.length, bucket.indices[places_B])

    return stream.one_pass(len(bucket.indices), taken, bucket.rows)


def _blank(bucket: pairs.Bucket) -> Batch:
    """A batch of the bucket's shape, of texts of one unknown word."""
    count = len(range(bucket.rows)[stream.process_rows(bucket.rows)])
    one = np.array([UNKNOWN], np.int32)
    return gather([one], np.zeros(1, np.int32), bucket.length, np.zeros(count, np.int32))
