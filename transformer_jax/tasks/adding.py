"""Adding: two marked numbers of a long series are summed."""

from functools import partial

import numpy as np

from transformer_jax.config import Config, ConfigError, Shape, TaskConfig
from transformer_jax.tasks import generated, objectives
from transformer_jax.tasks.task import Batch, Objective


def adding(random: np.random.Generator, config: TaskConfig) -> Batch:
    """Adding: the sum of the two marked numbers of a series (Hochreiter & Schmidhuber 1997).

    A step is a number, uniform in [0, 1), and its mark, 0 or 1. One mark is in the first half and one in the second,
    as in Le et al. 2015 (arXiv:1504.00941). The target at the last step is the sum of both numbers; only this step has
    weight. Always to answer 1 costs 1/6, a mean squared error of 0.167.

    No two rows are alike, as their numbers are drawn anew for every step of every split.
    """
    size, length = config.batch_size, config.seq_len
    if length < 2:
        raise ConfigError(f"task.seq_len={length}: two numbers to add make at least 2")
    rows_Bx1 = np.arange(size)[:, None]
    places_Bx2 = random.integers((0, length // 2), (length // 2, length), (size, 2))
    inputs_BxTx2 = np.zeros((size, length, 2), np.float32)
    inputs_BxTx2[:, :, 0] = random.random((size, length), np.float32)
    inputs_BxTx2[rows_Bx1, places_Bx2, 1] = 1
    targets_BxTx1, weights_BxT = np.zeros((size, length, 1), np.float32), np.zeros((size, length), np.float32)
    targets_BxTx1[:, -1, 0] = inputs_BxTx2[rows_Bx1, places_Bx2, 0].sum(1)
    weights_BxT[:, -1] = 1
    return {"inputs": inputs_BxTx2, "targets": targets_BxTx1, "weights": weights_BxT}


def _shape(task: TaskConfig) -> Shape:
    return Shape(task.seq_len, outputs=1, input_dim=2)


def _objective(config: Config) -> Objective:
    smoothing = config.train.label_smoothing
    if smoothing:
        raise ConfigError(f"train.label_smoothing={smoothing} smooths classes, and a sum has none")
    return objectives.squared_error()


KIND = generated.Kind(adding, sizes=("seq_len",), shape=_shape, objective=_objective)
build = partial(generated.build, KIND)
