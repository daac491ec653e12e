"""Series to forecast: windows of all channels, scaled by the training part, their last steps the answer."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Any

import numpy as np

from transformer_jax.config import Config, ConfigError, Shape, TaskConfig
from transformer_jax.tasks import objectives, place, sets, stream
from transformer_jax.tasks.task import SPLITS, Batch, Files, Outline, Split, Task, check_split

ETT_TEXT = "ETTh1: seven hourly measurements of an electricity transformer, to forecast (Zhou et al. 2021)."
FILE = "series.json"
Load = Callable[[Split], np.ndarray]
"""The values (N, C) of a part of the series, in the order of time."""


def build(config: Config, files: Files = ()) -> Task:
    """Windows of `task.seq_len` steps of a prepared series, answered by the `task.horizon` steps after them.

    A run keeps the names of the columns and the SHA-256 of their source as series.json: with another series its
    parameters mean nothing.

    Raises:
      ConfigError: a part of the series is shorter than a window.
      MissingData: the set is not prepared.
    """
    del files  # the values are in the set alone
    name = config.task.name
    builder = sets.open_set(name, place.data_dir(config.task))
    metadata = builder.info.metadata or {}
    counts = {split: builder.info.splits[split].num_examples for split in SPLITS}
    columns = metadata["columns"]

    def load(split: Split) -> np.ndarray:
        return np.stack([record["values"] for record in sets.records(builder, split)])

    kept = {"columns": columns, "counts": counts, "sha256": dict(metadata["sha256"])}
    files = {FILE: (json.dumps(kept, indent=1) + "\n").encode()}
    describe = partial(sets.describe, builder, counts)
    return around(config, load, counts, columns, lambda: describe() | {"columns": list(columns)}, files)


def around(
    config: Config,
    load: Load,
    counts: Mapping[str, int],
    columns: Sequence[str],
    describe: Callable[[], dict[str, Any]],
    files: dict[str, bytes] | None = None,
) -> Task:
    """The task around a series whose parts follow each other in time; the test part is loaded when it is asked for.

    Each channel is scaled to mean 0 and deviation 1 over the training part. A window of the training split lies in its
    part; one of another split begins up to seq_len steps before it, so that each of its steps is answered (Zhou et al.
    2021). Windows begin at every step.

    Raises:
      ConfigError: a part is shorter than a window.
    """
    task, load_once = config.task, cache(load)
    if reason := refusal(task, counts):
        raise ConfigError(reason)
    mean_C, deviation_C = load_once("train").mean(0), load_once("train").std(0)

    @cache
    def scaled(split: Split) -> np.ndarray:
        """(N, C) float32: the part, and before it as much as its first window reads."""
        before = SPLITS[: SPLITS.index(split)]
        values = np.concatenate([load_once(one) for one in (*before, split)])
        wanted = counts[split] + (task.seq_len if before else 0)
        return ((values[-wanted:] - mean_C) / deviation_C).astype(np.float32)

    def gather(values_NxC: np.ndarray, starts: np.ndarray) -> Batch:
        windows = values_NxC[starts[:, None] + np.arange(task.seq_len + task.horizon)]
        inputs, targets = windows[:, : task.seq_len], windows[:, task.seq_len :]
        return {"inputs": inputs, "targets": targets, "weights": np.ones(targets.shape[:2], np.float32)}

    def windows_of(split: Split) -> tuple[int, Callable[[np.ndarray], Batch]]:
        values_NxC = scaled(split)
        return len(values_NxC) - task.seq_len - task.horizon + 1, partial(gather, values_NxC)

    def evaluate(split: str) -> Iterator[Batch]:
        check_split(task.name, split)
        return stream.one_pass(*windows_of(split), task.batch_size)

    def train(seed: int) -> Iterator[Batch]:
        return stream.shuffled(*windows_of("train"), task.batch_size, seed, task.workers)

    return Task(
        name=task.name,
        shape=_shape(task, len(columns)),
        objective=objectives.forecast_error(),
        train=train,
        evaluate=evaluate,
        describe=describe,
        files=files or {},
    )


def refusal(task: TaskConfig, counts: Mapping[str, int]) -> str | None:
    """Why parts of so many steps have no such window; None: they have."""
    window = task.seq_len + task.horizon
    asked = f"task.seq_len={task.seq_len} and task.horizon={task.horizon}"
    if counts["train"] < window:
        return (
            f"{asked} make windows of {window} steps, and the training part of {task.name} has {counts['train']}: the"
            " series is shorter than a window; make them smaller"
        )
    for split in SPLITS[1:]:
        if counts[split] < task.horizon:
            return (
                f"task.horizon={task.horizon}: the {split} part of {task.name} has {counts[split]} steps, and at least"
                f" so many are answered at once; {min(counts.values())} is the most"
            )
    return None


def outline(config: Config, channels: int = 1) -> Outline:
    """As if the series had so many channels, on which no parameter depends."""
    smoothing = config.train.label_smoothing
    problem = f"train.label_smoothing={smoothing} smooths classes, and a forecast has none" if smoothing else None
    return Outline(_shape(config.task, channels), problems=(problem,) if problem else ())


def _shape(task: TaskConfig, channels: int) -> Shape:
    return Shape(task.seq_len, channels, input_dim=channels, horizon=task.horizon)
