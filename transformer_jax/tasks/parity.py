"""Parity: whether the ones so far are odd, asked at every step."""

from functools import partial

import numpy as np

from transformer_jax.config import Shape, TaskConfig
from transformer_jax.tasks import generated
from transformer_jax.tasks.task import Batch


def parity(random: np.random.Generator, config: TaskConfig, last: bool = False) -> Batch:
    """Parity, asked at every step: are the ones up to here odd? (the group Z2; Merrill et al. 2024, arXiv:2404.08819)

    A row is bits, each 0 or 1 alike. The target at a step is 1 if the ones up to it are odd, else 0; `last`: only the
    last step is asked. Guessing gives 1/2. Rows of less than 10 bits are in all splits.
    """
    lengths_B = generated.lengths(random, config)
    bits_BxT = random.integers(0, 2, (config.batch_size, config.seq_len))
    return generated.asked(bits_BxT, bits_BxT.cumsum(1) % 2, lengths_B, config, last)


def shape(task: TaskConfig) -> Shape:
    """Bits to one of two answers."""
    return Shape(task.seq_len, outputs=2, vocab_size=2)


KIND = generated.Kind(parity, sizes=("seq_len", "min_len"), shape=shape, apart_from=10)  # 2**10 rows are 1000
build = partial(generated.build, KIND)
