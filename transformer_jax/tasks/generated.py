"""What generated tasks share: every batch is a pure function of (seed, split, step), nothing to download."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from transformer_jax.config import Config, ConfigError, Shape, TaskConfig
from transformer_jax.tasks import objectives, stream
from transformer_jax.tasks.task import SPLITS, Batch, Outline, Task, check_split

EVALUATE_BATCHES = 16
EVALUATE_SEED = 0


def build(make_batch: Callable[[np.random.Generator, TaskConfig], Batch], config: Config) -> Task:
    """The task around a function that makes a batch, `random_tokens.random_tokens` say.

    Raises:
      ConfigError: sizes that the task cannot have (at once, not at the first step).
    """
    task = config.task

    rows = stream.process_rows(task.batch_size)

    def batch(split: str, seed: int, step: int) -> Batch:
        made = make_batch(np.random.default_rng((seed, SPLITS.index(split), step)), task)
        return {name: array[rows] for name, array in made.items()}

    def evaluate(split: str) -> Iterator[Batch]:
        check_split(task.name, split)
        return (batch(split, EVALUATE_SEED, step) for step in range(EVALUATE_BATCHES))

    batch("train", 0, 0)
    return Task(
        name=task.name,
        shape=_shape(task),
        objective=objectives.cross_entropy(config.train.label_smoothing),
        train=lambda seed: stream.steps(partial(batch, "train", seed), task.workers),
        evaluate=evaluate,
        describe=lambda: {"source": make_batch.__doc__.splitlines()[0], "generated": True},
        next_token=True,
    )


def outline(build: Callable[[Config], Task], config: Config) -> Outline:
    """Of one of these tasks, by its `build`: the shape, and why the task cannot have these sizes."""
    try:
        build(config)
    except ConfigError as error:
        return Outline(_shape(config.task), next_token=True, problems=(str(error),))
    return Outline(_shape(config.task), next_token=True)


def _shape(task: TaskConfig) -> Shape:
    return Shape(task.seq_len, task.vocab_size, vocab_size=task.vocab_size)
