"""What generated tasks share: every batch is a pure function of (seed, split, step), nothing to download."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from transformer_jax.config import Config, ConfigError, Shape, TaskConfig
from transformer_jax.tasks import objectives, stream
from transformer_jax.tasks.task import SPLITS, Batch, Objective, Outline, Split, Task, check_split

EVALUATE_BATCHES = 16
EVALUATE_SEED = 0
PARTS = {"train": (0.0, 0.5), "validation": (0.5, 0.75), "test": (0.75, 1.0)}
"""Which hashes each split has, where rows are held out by their hash; hashes are even in [0, 1)."""
FEWEST = 1000
"""Rows of one length that there must be for some of them to be held out."""


def tokens(task: TaskConfig) -> Shape:
    """A token of `task.vocab_size` for each one."""
    return Shape(task.seq_len, task.vocab_size, vocab_size=task.vocab_size)


def classes(config: Config) -> Objective:
    """Cross-entropy and accuracy."""
    return objectives.cross_entropy(config.train.label_smoothing)


class Kind(NamedTuple):
    """A generated task: how its rows are drawn, what a model reads and what it answers."""

    draw: Callable[[np.random.Generator, TaskConfig], Batch]
    """`task.batch_size` rows; its docstring's first line is for people. Raises ConfigError: sizes that cannot be."""
    sizes: tuple[str, ...]
    """The keys of TaskConfig from which the rows are made; `min_len` where they may differ in length."""
    shape: Callable[[TaskConfig], Shape] = tokens
    objective: Callable[[Config], Objective] = classes
    next_token: bool = False
    symbols: Callable[[], str] | None = None
    """Of a text: the character of each id."""
    apart_from: int | None = None
    """No row of so many tokens or more is in two splits: a hash of its content says in which it is. Of shorter ones
    there are less than FEWEST, which all splits have. None: rows are drawn without regard to the split; where there
    are few, as of copy_memory with two symbols, those of the test have been trained on."""


def build(kind: Kind, config: Config) -> Task:
    """The task of that kind, copy_memory's say.

    Raises:
      ConfigError: sizes that the task cannot have (at once, not at the first step).
    """
    task, objective = config.task, kind.objective(config)
    rows = stream.process_rows(task.batch_size)
    kind.draw(np.random.default_rng(0), replace(task, batch_size=1))

    def batch(split: Split, seed: int, step: int) -> Batch:
        random = np.random.default_rng((seed, SPLITS.index(split), step))
        made = kind.draw(random, task) if kind.apart_from is None else _of_split(kind, split, random, task)
        return {name: array[rows] for name, array in made.items()}

    def evaluate(split: str) -> Iterator[Batch]:
        check_split(task.name, split)
        return (batch(split, EVALUATE_SEED, step) for step in range(EVALUATE_BATCHES))

    def describe() -> dict:
        apart = {} if kind.apart_from is None else {"apart_from": kind.apart_from}
        return {"source": kind.draw.__doc__.splitlines()[0], "generated": True} | apart

    return Task(
        name=task.name,
        shape=kind.shape(task),
        objective=objective,
        train=lambda seed: stream.steps(partial(batch, "train", seed), task.workers),
        evaluate=evaluate,
        describe=describe,
        next_token=kind.next_token,
        decode=kind.symbols and (lambda ids: "".join(kind.symbols()[i] for i in ids)),
    )


def outline(kind: Kind, config: Config) -> Outline:
    """Of a task of that kind: the shape, and why the task cannot have these sizes."""
    found = Outline(kind.shape(config.task), next_token=kind.next_token)
    try:
        build(kind, config)
    except ConfigError as error:
        return found._replace(problems=(str(error),))
    return found


def lengths(random: np.random.Generator, task: TaskConfig, least: int = 1) -> np.ndarray:
    """int64 (B,): uniform in task.min_len .. task.seq_len; without min_len all are task.seq_len.

    Raises:
      ConfigError: a row might have less than `least` tokens.
    """
    name = "seq_len" if task.min_len is None else "min_len"
    shortest = getattr(task, name)
    if shortest < least:
        raise ConfigError(f"task.{name}={shortest}: the shortest sequence of {task.name} has {least} tokens")
    return random.integers(shortest, task.seq_len + 1, task.batch_size)


def asked(
    inputs_BxT: np.ndarray, answers_BxT: np.ndarray, lengths_B: np.ndarray, task: TaskConfig, last: bool = False
) -> Batch:
    """The batch that asks for the answer at every step before the end of a row, or at the last of them alone.

    What follows the end is 0 and has no weight. Rows that may differ in length come with `lengths`.
    """
    steps_T, ends_Bx1 = np.arange(inputs_BxT.shape[1]), lengths_B[:, None]
    real_BxT = steps_T < ends_Bx1
    asked_BxT = steps_T == ends_Bx1 - 1 if last else real_BxT
    batch = {
        "inputs": np.where(real_BxT, inputs_BxT, 0).astype(np.int32),
        "targets": np.where(asked_BxT, answers_BxT, 0).astype(np.int32),
        "weights": asked_BxT.astype(np.float32),
    }
    return batch if task.min_len is None else batch | {"lengths": lengths_B.astype(np.int32)}


def _of_split(kind: Kind, split: Split, random: np.random.Generator, task: TaskConfig) -> Batch:
    """The first rows of the split, as many as a batch has, of those that are drawn.

    A row that is too short to be held out is left out as often as another, so that lengths stay as they are drawn.
    """
    (low, high), count, found = PARTS[split], task.batch_size, []
    more = replace(task, batch_size=math.ceil(1.2 * count / (high - low)) + 8)  # nearly always enough at once
    while sum(len(batch["inputs"]) for batch in found) < count:
        made = kind.draw(random, more)
        lengths_B = made.get("lengths", np.full(more.batch_size, task.seq_len))
        place_B = np.where(
            lengths_B >= kind.apart_from, hashes(made["inputs"], lengths_B), random.random(more.batch_size)
        )
        kept_B = (low <= place_B) & (place_B < high)
        found.append({name: array[kept_B] for name, array in made.items()})
    return {name: np.concatenate([batch[name] for batch in found])[:count] for name in found[0]}


def hashes(inputs_BxT: np.ndarray, lengths_B: np.ndarray) -> np.ndarray:
    """float64 (B,), even in [0, 1): a hash of the tokens before the end of each row, and of nothing else."""
    steps_T = np.arange(inputs_BxT.shape[1])
    tokens_BxT = np.where(steps_T < lengths_B[:, None], inputs_BxT.astype(np.uint64) + np.uint64(1), np.uint64(0))
    sums_B = np.sum(tokens_BxT * _mixed(steps_T.astype(np.uint64)), axis=1)  # modulo 2**64
    return (_mixed(sums_B) >> np.uint64(11)) * 2.0**-53


def _mixed(x: np.ndarray) -> np.ndarray:
    """splitmix64 (Steele et al. 2014): uint64 to uint64 that look random."""
    x = (x + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
