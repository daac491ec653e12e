"""What the tasks of two sequences share: pairs of texts as ids, in buckets of length, batched by tokens."""

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import numpy as np

from transformer_jax.config import Config, ConfigError, Shape
from transformer_jax.tasks import objectives, stream, translation_quality
from transformer_jax.tasks.symbols import BEGIN, END, PADDING, Codec
from transformer_jax.tasks.task import Batch, Decoding, Objective, Split, Task, Translation, check_split

Texts = list[tuple[str, str]]
"""(source, target) of each pair of a split."""


class Ids(NamedTuple):
    """The pairs of a split, each text as int32 ids with its end."""

    sources: list[np.ndarray]
    targets: list[np.ndarray]

    @property
    def lengths(self) -> list[int]:
        """Of the longer side of each pair."""
        return [max(len(source), len(target)) for source, target in zip(*self, strict=True)]


class Bucket(NamedTuple):
    """Pairs that are padded to the same length."""

    length: int
    indices: np.ndarray
    """Of its pairs, the shortest first."""
    rows: int
    """Pairs of a batch, over all processes together."""


def build(
    config: Config,
    source: Codec,
    target: Codec,
    read: Callable[[Split], Texts],
    describe: Callable[[], dict[str, Any]],
    files: dict[str, bytes] | None = None,
) -> Task:
    """The task around `read`, which is called for a split at its first use: never for an unused test split.

    Both sides of a pair are padded to the smallest of `task.bucket_lengths` and `task.seq_len` that holds both, their
    ends included. Training pairs that are longer are left out, and counted in `describe`.

    Args:
      source, target: how each side is read; the same object where both share one vocabulary.
      describe: of the texts; what is known of the pairs is added.

    Raises:
      ConfigError: no training pair fits; or one of another split is longer than task.seq_len, when that split is used.
    """
    task, length = config.task, config.task.seq_len

    @cache
    def texts(split: Split) -> Texts:
        check_split(task.name, split)
        return read(split)

    @cache
    def ids(split: Split) -> Ids:
        found = texts(split)
        return Ids([_ended(source, one) for one, _ in found], [_ended(target, other) for _, other in found])

    @cache
    def training() -> list[Bucket]:
        return [fewer(bucket, config) for bucket in buckets(ids("train"), config)]

    def train(seed: int) -> Iterator[Batch]:
        found, parts = ids("train"), training()
        if not any(len(bucket.indices) for bucket in parts):
            raise ConfigError(f"task.seq_len={length}: none of the {len(found.sources)} training pairs is as short")
        gathers = [partial(gather, found, bucket.length) for bucket in parts]
        return stream.bucketed([b.indices for b in parts], gathers, [b.rows for b in parts], seed, task.workers)

    @cache
    def evaluated(split: Split) -> list[Bucket]:
        if split != "train":
            _require_short(task.name, split, ids(split), texts(split), length)
        return [bucket for bucket in buckets(ids(split), config) if len(bucket.indices)]

    def evaluate(split: Split) -> Iterator[Batch]:
        return (batch for bucket in evaluated(split) for batch in one_pass(ids(split), bucket))

    def examples() -> tuple[list[Batch], list[Batch]]:
        trained = [bucket for bucket in training() if len(bucket.indices)]
        return [_blank(bucket) for bucket in trained], [_blank(bucket) for bucket in evaluated("validation")]

    def described() -> dict[str, Any]:
        return describe() | {"left_out": sum(n > length for n in ids("train").lengths)}

    return Task(
        name=task.name,
        shape=Shape(length, target.size, vocab_size=target.size, source_len=length, source_vocab_size=source.size),
        objective=objective(config.train.label_smoothing, target, length),
        train=train,
        evaluate=evaluate,
        describe=described,
        next_token=True,
        translation=Translation(
            encode_source=partial(_checked, source, length),
            decode_target=target.decode,
            source_tokens=source.tokens,
            target_tokens=target.tokens,
            pairs=texts,
        ),
        files=files or {},
        examples=examples,
    )


@cache  # equal arguments give the same object, for which a step is compiled once
def objective(label_smoothing: float, target: Codec, longest: int) -> Objective:
    """Cross-entropy of the right tokens, and what a model writes by itself, judged as `translation_quality` does."""
    tokens = objectives.cross_entropy(label_smoothing)
    return tokens._replace(
        judge=translation_quality.make_judge(target.decode),
        decoding=Decoding(BEGIN, END, longest, unwritten=(PADDING, BEGIN)),
        choices=(*tokens.choices, ("bleu", "max"), ("exact", "max")),
        signature=translation_quality.signature(),
    )


def buckets(ids: Ids, config: Config) -> list[Bucket]:
    """The pairs by the length that they are padded to; those longer than task.seq_len are in none."""
    lengths_N, bounds = np.array(ids.lengths, np.int32), [*config.task.bucket_lengths, config.task.seq_len]
    parts = stream.by_length(lengths_N, bounds)
    ordered = [part[np.argsort(lengths_N[part], kind="stable")] for part in parts]
    return [Bucket(bound, part, rows(bound, config)) for bound, part in zip(bounds, ordered, strict=True)]


def rows(length: int, config: Config) -> int:
    """Pairs of a batch of that length: task.batch_tokens of the longer side, or task.batch_size pairs.

    A number that the processes and the micro-batches can share; each gets one pair at least.
    """
    if config.task.batch_tokens is None:
        return config.task.batch_size
    shares = _shares(config)
    return max(config.task.batch_tokens // length // shares, 1) * shares


def fewer(bucket: Bucket, config: Config) -> Bucket:
    """The bucket with batches that it can fill, so that its pairs are trained on even where they are few."""
    shares = _shares(config)
    return bucket._replace(rows=min(bucket.rows, max(len(bucket.indices) // shares, 1) * shares))


def _shares(config: Config) -> int:
    return jax.process_count() * config.train.micro_batches


def one_pass(ids: Ids, bucket: Bucket) -> Iterator[Batch]:
    """Each pair of a bucket once, by length; the last batch is filled up with rows of weight 0 and index -1."""

    def taken(places_B: np.ndarray) -> Batch:
        return gather(ids, bucket.length, bucket.indices[places_B])

    for batch in stream.one_pass(len(bucket.indices), taken, bucket.rows):
        batch["index"][~batch["weights"].any(1)] = -1
        yield batch


def gather(ids: Ids, length: int, chosen_B: np.ndarray) -> Batch:
    """The chosen pairs, padded at the end. The target's inputs are the right tokens, shifted: begin comes first."""
    source_BxS, source_lengths_B = _padded([ids.sources[i] for i in chosen_B], length)
    targets_BxL, lengths_B = _padded([ids.targets[i] for i in chosen_B], length)
    inputs_BxL = np.where(targets_BxL[:, :-1] == END, PADDING, targets_BxL[:, :-1])
    return {
        "inputs": np.insert(inputs_BxL, 0, BEGIN, axis=1),
        "targets": targets_BxL,
        "weights": (np.arange(length) < lengths_B[:, None]).astype(np.float32),
        "lengths": lengths_B,
        "source": source_BxS,
        "source_lengths": source_lengths_B,
        "index": np.asarray(chosen_B, np.int32),
    }


def _padded(found: Sequence[np.ndarray], length: int) -> tuple[np.ndarray, np.ndarray]:
    """(ids_BxL, lengths_B), int32."""
    lengths_B = np.array([len(ids) for ids in found], np.int32)
    ids_BxL = np.full((len(found), length), PADDING, np.int32)
    ids_BxL[np.arange(length) < lengths_B[:, None]] = np.concatenate(found)
    return ids_BxL, lengths_B


def _blank(bucket: Bucket) -> Batch:
    """A batch of the bucket's shape, of empty texts."""
    empty = np.array([END], np.int32)
    count = len(range(bucket.rows)[stream.process_rows(bucket.rows)])
    return gather(Ids([empty], [empty]), bucket.length, np.zeros(count, np.int32))


def _ended(codec: Codec, text: str) -> np.ndarray:
    return np.append(codec.encode(text), np.int32(END))


def _checked(codec: Codec, longest: int, text: str) -> np.ndarray:
    """The ids of one text, its end included. Raises ValueError: it is empty, too long, or has what has no id."""
    text = text.strip()  # as the texts of a prepared set are
    if not text:
        raise ValueError("the text is empty: there is nothing to translate")
    ids = _ended(codec, text)
    if len(ids) > longest:
        raise ValueError(
            f"the text has {len(ids)} tokens, its end included: more than the {longest} that the model was made for"
            f" (task.seq_len={longest}): {_opening(text)}"
        )
    return ids


def _require_short(name: str, split: Split, ids: Ids, texts: Texts, longest: int) -> None:
    """Raises ConfigError for pairs that would be cut: references are read off the targets, and must be whole."""
    too_long = [i for i, length in enumerate(ids.lengths) if length > longest]
    if too_long:
        worst = max(too_long, key=lambda i: ids.lengths[i])
        raise ConfigError(
            f"task.seq_len={longest}: {name} has {len(too_long)} {split} pairs that are longer; pair {worst + 1} has"
            f" {ids.lengths[worst]} tokens, its end included: {_opening(texts[worst][0])}"
            f"; set --task.seq-len {ids.lengths[worst]} or more"
        )


def _opening(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
