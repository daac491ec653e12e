"""Even pairs: whether a row of bits changes an even number of times, which is whether it ends as it began."""

from functools import partial

import numpy as np

from transformer_jax.config import TaskConfig
from transformer_jax.tasks import generated, parity
from transformer_jax.tasks.task import Batch


def even_pairs(random: np.random.Generator, config: TaskConfig) -> Batch:
    """Even pairs: is the number of 01 and 10 in a row of bits even? (Delétang et al. 2022, arXiv:2207.02098)

    A row is bits, each 0 or 1 alike. The target at the last step is 1 if the neighbours that differ are even in
    number, which they are if the last bit is the first, else 0; only this step has weight. Guessing gives 1/2. One bit
    would always be even, so that a row has at least 2. Rows of less than 10 are in all splits.
    """
    lengths_B = generated.lengths(random, config, least=2)
    bits_BxT = random.integers(0, 2, (config.batch_size, config.seq_len))
    return generated.asked(bits_BxT, bits_BxT == bits_BxT[:, :1], lengths_B, config, last=True)


KIND = parity.KIND._replace(draw=even_pairs)
build = partial(generated.build, KIND)
