"""Generated tasks: every batch is a pure function of (seed, split, step), nothing to download."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from transformer_jax.config import Config, ConfigError, Shape, TaskConfig
from transformer_jax.tasks import objectives, stream
from transformer_jax.tasks.task import SPLITS, Batch, Task, check_split

EVALUATE_BATCHES = 16
EVALUATE_SEED = 0


def random_tokens(random: np.random.Generator, config: TaskConfig) -> Batch:
    """Uniform tokens and the next one as target: nothing can be learnt, the best loss is log(vocab_size)."""
    tokens_BxT1 = random.integers(0, config.vocab_size, (config.batch_size, config.seq_len + 1), np.int32)
    weights_BxT = np.ones((config.batch_size, config.seq_len), np.float32)
    return {"inputs": tokens_BxT1[:, :-1], "targets": tokens_BxT1[:, 1:], "weights": weights_BxT}


def copy_memory(random: np.random.Generator, config: TaskConfig) -> Batch:
    """Copy memory: repeat the first symbols at the end (Arjovsky et al. 2016, arXiv:1511.06464).

    A row is: N symbols (2 .. vocab_size - 1), blanks (0), one signal (1), N - 1 blanks. The targets from the
    signal on are the N = num_items symbols in order; only these have weight.
    Guessing costs log(vocab_size - 2).
    """
    n, size, length = config.num_items, config.batch_size, config.seq_len
    if length < 2 * n:
        raise ConfigError(f"task.seq_len={length}: copying task.num_items={n} symbols takes at least {2 * n}")
    if config.vocab_size < 4:
        raise ConfigError(f"task.vocab_size={config.vocab_size}: a blank, a signal and two symbols make at least 4")
    symbols_BxN = random.integers(2, config.vocab_size, (size, n), np.int32)
    inputs_BxT, targets_BxT = np.zeros((2, size, length), np.int32)
    weights_BxT = np.zeros((size, length), np.float32)
    inputs_BxT[:, :n] = symbols_BxN
    inputs_BxT[:, length - n] = 1
    targets_BxT[:, length - n :] = symbols_BxN
    weights_BxT[:, length - n :] = 1
    return {"inputs": inputs_BxT, "targets": targets_BxT, "weights": weights_BxT}


def associative_recall(random: np.random.Generator, config: TaskConfig) -> Batch:
    """Multi-query associative recall: look up each key's value (MQAR; Arora et al. 2023, arXiv:2312.04927).

    A row is: N distinct key-value pairs, then the N keys once more in places drawn without replacement with
    probability ~ place^-0.99 (most near, some far), among random tokens. Keys come from the lower half of the
    vocabulary, values from the upper. The target at a repeated key is its value; only these have weight.
    """
    n, size, length, half = config.num_items, config.batch_size, config.seq_len, config.vocab_size // 2
    if length < 4 * n:
        raise ConfigError(f"task.seq_len={length}: recalling task.num_items={n} pairs takes at least {4 * n}")
    if half < n:
        raise ConfigError(f"task.vocab_size={config.vocab_size}: {n} distinct keys and values take at least {2 * n}")
    keys_BxN = _distinct(random, np.zeros(half), size, n)
    values_BxN = half + _distinct(random, np.zeros(config.vocab_size - half), size, n)
    space = (length - 2 * n) // 2  # every other token after the pairs may be a query
    places_BxN = 2 * n + 2 * _distinct(random, -0.99 * np.log(np.arange(1, space + 1)), size, n)
    inputs_BxT = random.integers(0, config.vocab_size, (size, length), np.int32)
    targets_BxT, weights_BxT = np.zeros((size, length), np.int32), np.zeros((size, length), np.float32)
    inputs_BxT[:, 0 : 2 * n : 2] = keys_BxN
    inputs_BxT[:, 1 : 2 * n : 2] = values_BxN
    np.put_along_axis(inputs_BxT, places_BxN, keys_BxN, axis=1)
    np.put_along_axis(targets_BxT, places_BxN, values_BxN, axis=1)
    np.put_along_axis(weights_BxT, places_BxN, 1, axis=1)
    return {"inputs": inputs_BxT, "targets": targets_BxT, "weights": weights_BxT}


def _distinct(random: np.random.Generator, log_odds_K: np.ndarray, rows: int, n: int) -> np.ndarray:
    """(rows, n) int32 draws from 0 .. K-1 without replacement within a row, by the Gumbel top-n trick."""
    noisy = log_odds_K + random.gumbel(size=(rows, len(log_odds_K)))
    return np.argsort(-noisy, axis=1)[:, :n].astype(np.int32)


def outline(make_batch: Callable, task: TaskConfig) -> tuple[Shape, list[str]]:
    """The task's shape, and why it cannot have these sizes."""
    shape = Shape(task.seq_len, task.vocab_size, vocab_size=task.vocab_size)
    try:
        make_batch(np.random.default_rng(0), task)
    except ConfigError as error:
        return shape, [str(error)]
    return shape, []


def build(make_batch: Callable[[np.random.Generator, TaskConfig], Batch], config: Config) -> Task:
    """The task around one of the functions above.

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
        shape=Shape(task.seq_len, task.vocab_size, vocab_size=task.vocab_size),
        objective=objectives.cross_entropy(config.train.label_smoothing),
        train=lambda seed: stream.steps(partial(batch, "train", seed), task.workers),
        evaluate=evaluate,
        describe=lambda: {"source": make_batch.__doc__.splitlines()[0], "generated": True},
    )
