"""Copy memory: the first symbols once more after a long blank."""

from functools import partial

import numpy as np

from transformer_jax.config import ConfigError, TaskConfig
from transformer_jax.tasks import generated
from transformer_jax.tasks.task import Batch


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


KIND = generated.Kind(copy_memory, sizes=("seq_len", "vocab_size", "num_items"))
build = partial(generated.build, KIND)
