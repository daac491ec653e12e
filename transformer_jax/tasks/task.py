"""What a task is to the training loop: its shape, its objective, streams of batches, and what to record."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import jax
import numpy as np

from transformer_jax.config import MIXERS, ConfigError, ModelConfig, Shape, nearest

Batch = dict[str, np.ndarray]
Split = Literal["train", "validation", "test"]
SPLITS = ("train", "validation", "test")

Pair = tuple[jax.Array, jax.Array]
"""(sum, weight), two scalars: added across batches, divided once."""
Terms = Callable[[jax.Array, Any], tuple[Pair, dict[str, Pair]]]
"""(outputs, batch) -> (the loss, the other metrics by name); outputs (B, L, outputs), or (B, outputs) if pooled."""


def unchanged(means: dict[str, float]) -> dict[str, float]:
    """The `finish` of an objective whose metrics are all means."""
    return means


Files = tuple[tuple[str, bytes], ...]
"""(name, content) of each file that a run keeps beside its config."""


class Decoding(NamedTuple):
    """How an answer is written one token after another."""

    begin: int
    """The id that stands before the first token."""
    end: int
    """The id after the last one."""
    max_len: int
    """The most tokens of an answer, its end included."""
    unwritten: tuple[int, ...] = ()
    """Ids that stand for no text, which no answer holds."""


Write = Callable[[Batch], np.ndarray]
"""A batch with a source -> int32 ids (B, N) that a model writes for it, likeliest first (greedy); after a row's `end`
there is nothing but `end`."""


class Objective(NamedTuple):
    """What a task asks of a model's outputs: what is minimised, what is reported, which checkpoint is best."""

    terms: Terms
    """What is reported of a split; also what training minimises, unless `trained` is given."""
    trained: Terms | None = None
    """What training minimises where that is not what is reported (label smoothing); it names the same metrics."""
    finish: Callable[[dict[str, float]], dict[str, float]] = unchanged
    """Means of a whole split -> what is reported, for metrics that are no means; names that it does not know stay."""
    best: tuple[str, Literal["min", "max"]] = ("loss", "min")
    """The validation metric, as finished, that chooses the best checkpoint, and whether low or high is good."""
    choices: tuple[tuple[str, Literal["min", "max"]], ...] = (("loss", "min"), ("accuracy", "max"))
    """The validation metrics by which `train.best` may choose instead, and whether low or high is good."""
    judge: Callable[[Write, Sequence[Batch]], dict[str, float]] | None = None
    """judge(write, batches) -> metrics of a whole split that need decoded outputs."""
    decoding: Decoding | None = None
    """How those outputs are written."""
    signature: str = ""
    """How the judge counts, in the words of its library (sacrebleu's signature)."""

    @property
    def minimised(self) -> Terms:
        """The terms that training minimises."""
        return self.trained or self.terms


def chosen_by(objective: Objective, name: str | None) -> tuple[str, Literal["min", "max"]]:
    """The metric that chooses the best checkpoint, and whether low or high is good: `train.best`, None: the task's own.

    Raises:
      ConfigError: the objective has no such choice; the nearest is named.
    """
    known = dict([*objective.choices, objective.best])
    if name is not None and name not in known:
        raise ConfigError(f"train.best={name!r} is no metric by which this task's best is chosen{nearest(name, known)}")
    return objective.best if name is None else (name, known[name])


class Translation(NamedTuple):
    """How a task of two texts turns them into ids and back."""

    encode_source: Callable[[str], np.ndarray]
    """Text to int32 ids, the end included. Raises ValueError: the text is empty, or has more than source_len ids."""
    decode_target: Callable[[Iterable[int]], str]
    """Ids to text, up to the first `end`."""
    source_tokens: Callable[[Iterable[int]], list[str]]
    """Ids to the text of each, for the axis of a picture."""
    target_tokens: Callable[[Iterable[int]], list[str]]
    pairs: Callable[[Split], list[tuple[str, str]]]
    """(source, target) texts of a split, in the order of a batch's `index`."""


class Vectors(Protocol):
    """Vectors that others trained, for the ids of the inputs (`tasks/vectors.py`).

    Their file is read when it is first asked for; ConfigError: it is not there, or breaks a rule.
    """

    path: Path
    frozen: bool
    """Training leaves them as they are."""
    table_VxW: np.ndarray
    """float32, a row for each id."""
    sha256: str
    """Of the file."""

    def text(self) -> str:
        """One line for people: how many of the words were found."""


class Task(NamedTuple):
    """Data behind one signature, whatever it comes from.

    A batch is a dict of NumPy arrays; B is this process' share of `task.batch_size`.
      inputs: int32 (B, L) tokens, or float32 (B, L, input_dim) vectors; L is `shape.seq_len`, or for texts that are
        bucketed any of `task.bucket_lengths`.
      targets: what the objective takes, of any dtype: int32 (B, L), or (B,) if the shape is pooled, for classes.
      weights: float32 (B, L), or (B,) if pooled; 0 where nothing is asked and on rows that fill up a batch.
      lengths: int32 (B,), for rows that are padded: the number of tokens before the padding.
      asked: int32 (B, N), where a task asks at N steps of each row and at no other: which they are. Targets and weights
        are then (B, N), and a model answers there alone: of a large vocabulary the head is most of the work.
    Where the shape has a source, targets are its answer, and inputs the answer shifted right: `decoding.begin` first,
    then the right tokens (teacher forcing), whatever the model writes. The batch then also has
      source: int32 (B, S) tokens; S is `shape.source_len` or any of `task.bucket_lengths`.
      source_lengths: int32 (B,): the number of source tokens before the padding.
      index: int32 (B,): which pair of its split each row is; -1 on rows that fill up a batch.
    """

    name: str
    shape: Shape
    """What a model reads and answers."""
    objective: Objective
    train: Callable[[int], Iterator[Batch]]
    """train(seed): endless and shuffled; get_state() gives JSON, set_state(state) goes on exactly there."""
    evaluate: Callable[[Split], Iterable[Batch]]
    """evaluate(split): every example once in a fixed order, the last batch filled up with weight 0.

    The only way to the test split. Raises ValueError for a split that the task does not have.
    """
    describe: Callable[[], dict[str, Any]]
    """For the run's record: source, generated, counts, sha256."""
    next_token: bool = False
    """What a step is asked for stands among later inputs, so that a model must not look ahead."""
    encode: Callable[[str], np.ndarray] | None = None
    """Text to ids (int32); None where the task has no text."""
    decode: Callable[[Iterable[int]], str] | None = None
    unwritten: tuple[int, ...] = ()
    """Ids that stand for no text (unknown, padding): a model that continues a text does not write them."""
    translation: Translation | None = None
    """Where the shape has a source of text."""
    files: dict[str, bytes] = {}
    """What a run keeps beside its config because its parameters mean nothing without it: a trained tokeniser."""
    vectors: Vectors | None = None
    """Where the inputs are words: the vectors from which their embedding starts; None: it starts at random."""
    examples: Callable[[], tuple[list[Batch], list[Batch]]] | None = None
    """A batch of every shape that training draws, and one of every shape that evaluation has; None: all are alike."""


class Outline(NamedTuple):
    """What is known of a task before its data are read: its fields of these names, and what it cannot be."""

    shape: Shape
    """As far as the data do not decide it."""
    next_token: bool = False
    problems: tuple[str, ...] = ()
    """What of the config's own task keys cannot be, a sentence each."""


def looks_ahead(name: str, next_token: bool, model: ModelConfig) -> list[str]:
    """What keeps a model from such a task, a sentence: it would read the answers; none: it may."""
    if not (next_token and model.looks_ahead):
        return []
    key, who = "model.bidirectional=True", "a recurrence that also reads from the end"
    if "causal" in MIXERS[model.mixer].reads:
        key, who = "model.causal=False", "attention that is not causal"
    return [f"{key}: {name} asks every step for what comes next, and {who} would read it from the later steps"]


def check_split(name: str, split: str, known: Iterable[str] = SPLITS) -> None:
    """Raises ValueError when the task has no such split."""
    if split not in known:
        raise ValueError(f"task {name!r} has no split {split!r}; it has: {', '.join(known)}")
