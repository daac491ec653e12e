"""What a task is to the training loop: its shape, its objective, streams of batches, and what to record."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from transformer_jax.config import ModelConfig, Shape

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
    judge: Callable[[Any, Any, Sequence[Batch]], dict[str, float]] | None = None
    """judge(model, params, batches) -> metrics of a whole split that need decoded outputs."""

    @property
    def minimised(self) -> Terms:
        """The terms that training minimises."""
        return self.trained or self.terms


class Task(NamedTuple):
    """Data behind one signature, whatever it comes from.

    A batch is a dict of NumPy arrays; B is this process' share of `task.batch_size`.
      inputs: int32 (B, L) tokens, or float32 (B, L, input_dim) vectors; L is `shape.seq_len`, or for texts that are
        bucketed any of `task.bucket_lengths`.
      targets: what the objective takes, of any dtype: int32 (B, L), or (B,) if the shape is pooled, for classes.
      weights: float32 (B, L), or (B,) if pooled; 0 where nothing is asked and on rows that fill up a batch.
      lengths: int32 (B,), for texts that are padded: the number of tokens before the padding.
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
    return [
        f"model.causal=False: {name} asks every step for what comes next, and attention that is not causal"
        " would read it from the later steps"
    ]


def check_split(name: str, split: str, known: Iterable[str] = SPLITS) -> None:
    """Raises ValueError when the task has no such split."""
    if split not in known:
        raise ValueError(f"task {name!r} has no split {split!r}; it has: {', '.join(known)}")
