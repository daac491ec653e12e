"""Parity, asked at the end: whether the ones of a row are odd."""

from functools import partial

import numpy as np

from transformer_jax.config import TaskConfig
from transformer_jax.tasks import generated
from transformer_jax.tasks.parity import KIND as EVERY_STEP
from transformer_jax.tasks.parity import parity
from transformer_jax.tasks.task import Batch


def parity_end(random: np.random.Generator, config: TaskConfig) -> Batch:
    """Parity, asked at the last step alone: are the ones odd? (Delétang et al. 2022, arXiv:2207.02098)

    As the task parity, but nothing is asked on the way. Guessing gives 1/2.
    """
    return parity(random, config, last=True)


KIND = EVERY_STEP._replace(draw=parity_end)
build = partial(generated.build, KIND)
