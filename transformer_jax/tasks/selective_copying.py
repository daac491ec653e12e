"""Selective copying: symbols among blanks are written once more, without the blanks."""

import math
from functools import partial

import numpy as np

from transformer_jax.config import ConfigError, TaskConfig
from transformer_jax.tasks import generated
from transformer_jax.tasks.task import Batch


def selective_copying(random: np.random.Generator, config: TaskConfig) -> Batch:
    """Selective copying: repeat symbols that stand anywhere among blanks (Gu & Dao 2023, arXiv:2312.00752).

    A row is: N = num_items symbols (2 .. vocab_size - 1) at random places among blanks (0), one signal (1), N - 1
    blanks. The targets from the signal on are the symbols in order; only these have weight, as in copy_memory, where
    the symbols come first. After Jing et al. 2019 (arXiv:1706.02761). Guessing costs log(vocab_size - 2).
    """
    n, size, length = config.num_items, config.batch_size, config.seq_len
    if length < 2 * n:
        raise ConfigError(f"task.seq_len={length}: copying task.num_items={n} symbols takes at least {2 * n}")
    if config.vocab_size < 4:
        raise ConfigError(f"task.vocab_size={config.vocab_size}: a blank, a signal and two symbols make at least 4")
    if (rows := math.comb(length - n, n) * (config.vocab_size - 2) ** n) < generated.FEWEST:
        raise ConfigError(
            f"task.seq_len={length}, task.num_items={n}, task.vocab_size={config.vocab_size}: there are {rows} such"
            f" sequences, too few to train on some and test on others; it takes {generated.FEWEST}"
        )
    symbols_BxN = random.integers(2, config.vocab_size, (size, n), np.int32)
    places_BxN = np.sort(np.argpartition(random.random((size, length - n)), n - 1, axis=1)[:, :n], axis=1)
    inputs_BxT, targets_BxT = np.zeros((2, size, length), np.int32)
    weights_BxT = np.zeros((size, length), np.float32)
    np.put_along_axis(inputs_BxT, places_BxN, symbols_BxN, axis=1)
    inputs_BxT[:, length - n] = 1
    targets_BxT[:, length - n :] = symbols_BxN
    weights_BxT[:, length - n :] = 1
    return {"inputs": inputs_BxT, "targets": targets_BxT, "weights": weights_BxT}


KIND = generated.Kind(selective_copying, sizes=("seq_len", "vocab_size", "num_items"), apart_from=0)
build = partial(generated.build, KIND)
