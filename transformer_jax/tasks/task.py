"""What a task is to the training loop: streams of batches, one pass over a split, and what to record."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np

Batch = dict[str, np.ndarray]
Split = Literal["train", "validation", "test"]
SPLITS = ("train", "validation", "test")


class Task(NamedTuple):
    """Data behind one signature, whatever it comes from.

    A batch is a dict of NumPy arrays; B is this process' share of `task.batch_size`.
      language_model: inputs, targets int32 (B, T); weights float32 (B, T), 0 where nothing is asked.
      classification: inputs (B, *input_shape); targets int32 (B,); weights float32 (B,), 0 on filled-up rows;
        texts also carry lengths int32 (B,), the number of tokens before the padding, and T may be any of
        `task.bucket_lengths`.
    """

    name: str
    kind: Literal["language_model", "classification"]
    vocab_size: int | None
    """Number of token ids; None where the inputs are vectors."""
    num_classes: int | None
    input_shape: tuple[int, ...]
    """Of one example."""
    dtype: type[np.generic]
    """Of the inputs."""
    train: Callable[[int], Iterator[Batch]]
    """train(seed): endless and shuffled; get_state() gives JSON, set_state(state) goes on exactly there."""
    evaluate: Callable[[Split], Iterable[Batch]]
    """evaluate(split): every example once in a fixed order, the last batch filled up with weight 0.

    The only way to the test split. Raises ValueError for a split that the task does not have.
    """
    describe: Callable[[], dict[str, Any]]
    """For the run's record: source, generated, counts, sha256."""
    encode: Callable[[str], np.ndarray] | None = None
    """Text to ids (int32); None where the task has no text."""
    decode: Callable[[Iterable[int]], str] | None = None


def check_split(name: str, split: str, known: Iterable[str] = SPLITS) -> None:
    """Raises ValueError when the task has no such split."""
    if split not in known:
        raise ValueError(f"task {name!r} has no split {split!r}; it has: {', '.join(known)}")
