"""What the tasks of one text share: random windows to train on, characters or subwords, one after another asked for."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Protocol

import numpy as np

from transformer_jax.config import Config, ConfigError, Shape
from transformer_jax.tasks import objectives, place, sets, stream, tokenizer
from transformer_jax.tasks.symbols import SPECIAL
from transformer_jax.tasks.task import SPLITS, Batch, Files, Outline, Split, Task, check_split

PARTS = {split: (split,) for split in SPLITS}
CHARACTERS, SUBWORDS = "characters.json", "subwords.json"
"""What a run keeps of its vocabulary."""
UNKNOWN = "\N{REPLACEMENT CHARACTER}"


class Pieces(Protocol):
    """A text as ids and back."""

    size: int
    unknown: int | None
    """The id of what has none; None: everything has one."""
    unwritten: tuple[int, ...]
    """The ids that stand for no text."""

    def encode(self, text: str) -> np.ndarray:
        """int32 ids. Raises ValueError: the text holds what has no id."""

    def read(self, text: str) -> np.ndarray:
        """The same, with `unknown` in the place of what has no id."""

    def decode(self, ids) -> str:
        """The text of the ids."""


class Characters:
    """Characters as ids in the order of their code points; with `unknown` one more id for all others."""

    def __init__(self, symbols: str, unknown: bool = False):
        self.json = json.dumps({"characters": symbols}).encode()
        self._symbols = [*symbols, UNKNOWN] if unknown else [*symbols]
        self._codes = np.array([ord(symbol) for symbol in symbols], np.uint32)
        self.size, self.unknown = len(self._symbols), len(symbols) if unknown else None
        self.unwritten = (self.unknown,) if unknown else ()

    def encode(self, text: str) -> np.ndarray:
        ids, known = self._find(text)
        if not known.all():
            unknown = text[int(known.argmin())]
            raise ValueError(f"the character {unknown!r} does not occur in the training text")
        return ids

    def read(self, text: str) -> np.ndarray:
        if self.unknown is None:
            return self.encode(text)
        ids, known = self._find(text)
        return np.where(known, ids, np.int32(self.unknown))

    def decode(self, ids) -> str:
        return "".join(self._symbols[i] for i in ids)

    def _find(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """(ids, which of them are right)."""
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        places = np.minimum(np.searchsorted(self._codes, codes), len(self._codes) - 1)
        return places.astype(np.int32), self._codes[places] == codes


class Subwords:
    """Byte-level subwords (`tasks/tokenizer.py`): every text has ids."""

    unknown = None
    unwritten = tuple(range(len(SPECIAL)))

    def __init__(self, codec: tokenizer.Tokenizer):
        self.json, self.size = codec.json, codec.size
        self.encode, self.read, self.decode = codec.encode, codec.encode, codec.decode


def build(
    config: Config, files: Files = (), *, name: str | None = None, parts: Mapping[Split, Sequence[str]] = PARTS
) -> Task:
    """A causal language model's data, of windows of `task.seq_len` characters, or of subwords if `task.tokens` says so.

    Characters, or subwords of up to `task.vocab_size` kinds, are those of the training text. A character that it lacks
    is read as unknown and not asked for; in a prompt it is refused. The loss is in nats for a character or a subword.

    Args:
      files: what a run keeps: its vocabulary then is the task's, and the set is opened where its texts are asked for.
      name: of a published set, all of whose characters are known; None: a set of the user's own, that of the task.
      parts: the parts of the set that make up each split.

    Raises:
      MissingData: the set is not prepared.
      ConfigError: seq_len does not fit into the text, or vocab_size is too small.
    """
    task = config.task

    @cache
    def opened():
        return sets.open_set(name or task.name, place.data_dir(task))

    @cache
    def text(split: Split) -> str:
        records = [record for part in parts[split] for record in sets.records(opened(), part)]
        return "".join(record["text"].decode() for record in records)

    pieces, kept = _pieces(config, dict(files), text, published=name is not None)

    @cache
    def ids(split: Split) -> np.ndarray:
        found = pieces.read(text(split))
        if len(found) <= task.seq_len:
            raise ConfigError(f"task.seq_len={task.seq_len}: the {split} text has {len(found)} {task.tokens}")
        return found

    if not files:
        for split in SPLITS[:2]:
            ids(split)
    rows, cut = stream.process_rows(task.batch_size), partial(windows, length=task.seq_len, unknown=pieces.unknown)

    def batch(seed: int, step: int) -> Batch:
        found = ids("train")
        starts = np.random.default_rng((seed, step)).integers(0, len(found) - task.seq_len, task.batch_size)
        return cut(found, starts[rows])

    def evaluate(split: str) -> Iterator[Batch]:
        """Windows side by side: every token but the first is a target once."""
        check_split(task.name, split, parts)
        found = ids(split)
        count = -(-(len(found) - 1) // task.seq_len)
        return stream.one_pass(count, lambda i: cut(found, i * task.seq_len), task.batch_size)

    def describe() -> dict:
        found = {split: ids(split) for split in SPLITS[:2]}
        about = sets.describe(opened(), {split: len(of) for split, of in found.items()})
        if pieces.unknown is not None:
            about["unknown"] = {split: int((of == pieces.unknown).sum()) for split, of in found.items()}
        if task.tokens == "subwords":
            about["characters"] = {split: len(text(split)) for split in found}
        digests = {file: hashlib.sha256(content).hexdigest() for file, content in kept.items()}
        return about | {"sha256": about["sha256"] | digests}

    return Task(
        name=task.name,
        shape=Shape(task.seq_len, pieces.size, vocab_size=pieces.size),
        objective=objectives.cross_entropy(config.train.label_smoothing),
        train=lambda seed: stream.steps(partial(batch, seed), task.workers),
        evaluate=evaluate,
        next_token=True,
        encode=pieces.encode,
        decode=pieces.decode,
        unwritten=pieces.unwritten,
        describe=describe,
        files=kept,
    )


def outline(config: Config) -> Outline:
    """As if the training text had as many characters, or subwords, as the config asks for."""
    size = config.task.vocab_size
    problem = tokenizer.refusal(size) if config.task.tokens == "subwords" else None
    return Outline(Shape(config.task.seq_len, size, vocab_size=size), True, (problem,) if problem else ())


def windows(ids_N: np.ndarray, starts_B: np.ndarray, length: int, unknown: int | None = None) -> Batch:
    """Inputs ids[i : i+T] and targets ids[i+1 : i+T+1]; past the end of the text, and where the target is the unknown
    id, the weight is 0."""
    places = starts_B[:, None] + np.arange(length + 1)
    tokens = ids_N[np.minimum(places, len(ids_N) - 1)].astype(np.int32)
    weights = (places[:, 1:] < len(ids_N)).astype(np.float32)
    if unknown is not None:
        weights *= tokens[:, 1:] != unknown
    return {"inputs": tokens[:, :-1], "targets": tokens[:, 1:], "weights": weights}


def _pieces(config: Config, files: Mapping[str, bytes], text, published: bool) -> tuple[Pieces, dict[str, bytes]]:
    """The vocabulary, from a run's files or from the training text, and the files that a run keeps of it.

    The characters of a published text need no file: no other text bears its name.
    """
    if config.task.tokens == "subwords":
        saved = files.get(SUBWORDS)
        codec = (
            tokenizer.load(saved) if saved else tokenizer.train(text("train").splitlines(True), config.task.vocab_size)
        )
        return Subwords(codec), {SUBWORDS: codec.json}
    saved = files.get(CHARACTERS)
    symbols = json.loads(saved)["characters"] if saved else "".join(sorted(set(text("train"))))
    codec = Characters(symbols, unknown=not published)
    return codec, {} if published else {CHARACTERS: codec.json}
