"""Associative recall: values are looked up by their keys."""

from functools import partial

import numpy as np

from transformer_jax.config import Config, ConfigError, Shape, TaskConfig
from transformer_jax.tasks import generated, objectives
from transformer_jax.tasks.task import Batch, Objective


def associative_recall(random: np.random.Generator, config: TaskConfig) -> Batch:
    """Multi-query associative recall: look up each key's value (MQAR; Arora et al. 2023, arXiv:2312.04927).

    A row is: N distinct key-value pairs, then the N keys once more in places drawn without replacement with
    probability ~ place^-0.99 (most near, some far), among random tokens. Keys come from the lower half of the
    vocabulary, values from the upper. A repeated key is asked for its value, and nothing else is asked. `distances` are
    the tokens from a key to where it comes again; the accuracy of each octave of them is a metric.
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
    inputs_BxT[:, 0 : 2 * n : 2] = keys_BxN
    inputs_BxT[:, 1 : 2 * n : 2] = values_BxN
    np.put_along_axis(inputs_BxT, places_BxN, keys_BxN, axis=1)
    distances_BxN = (places_BxN - 2 * np.arange(n)).astype(np.int32)
    weights_BxN = np.ones((size, n), np.float32)
    found = {"inputs": inputs_BxT, "asked": places_BxN, "targets": values_BxN, "weights": weights_BxN}
    return found | {"distances": distances_BxN}


def _distinct(random: np.random.Generator, log_odds_K: np.ndarray, rows: int, n: int) -> np.ndarray:
    """(rows, n) int32 draws from 0 .. K-1 without replacement within a row, by the Gumbel top-n trick."""
    noisy = log_odds_K + random.gumbel(size=(rows, len(log_odds_K)))
    return np.argsort(-noisy, axis=1)[:, :n].astype(np.int32)


def _shape(task: TaskConfig) -> Shape:
    return generated.tokens(task)._replace(asked=task.num_items)


def _objective(config: Config) -> Objective:
    longest = max(2, config.task.seq_len // 2 * 2 - 2)  # from the first key to the last place
    return objectives.cross_entropy(config.train.label_smoothing, objectives.octaves(2, longest))


SIZES = ("seq_len", "vocab_size", "num_items")
KIND = generated.Kind(associative_recall, SIZES, _shape, _objective)
build = partial(generated.build, KIND)
