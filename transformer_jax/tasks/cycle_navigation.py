"""Cycle navigation: where steps along a circle of five places lead."""

from functools import partial

import numpy as np

from transformer_jax.config import Shape, TaskConfig
from transformer_jax.tasks import generated
from transformer_jax.tasks.task import Batch

PLACES = 5


def cycle_navigation(random: np.random.Generator, config: TaskConfig) -> Batch:
    """Cycle navigation: where on a circle of 5 places do moves end? (Delétang et al. 2022, arXiv:2207.02098)

    A row is moves: 0 stays, 1 goes one place on, 2 one back. It begins at place 0; the target at the last step is the
    place reached (0 .. 4); only this step has weight. Guessing gives 1/5, for rows of every length: moves are drawn
    alike, then two of them, in random places, anew so that they lead to a place drawn beforehand. One move reaches
    three places only, so that a row has at least 2. Rows of less than 7 are in all splits.
    """
    size, length = config.batch_size, config.seq_len
    lengths_B, rows_B = generated.lengths(random, config, least=2), np.arange(size)
    moves_BxT = random.integers(-1, 2, (size, length))
    first_B = random.integers(0, lengths_B)
    second_B = (first_B + random.integers(1, lengths_B)) % lengths_B
    moves_BxT[rows_B, first_B] = moves_BxT[rows_B, second_B] = 0
    reached_B = moves_BxT.cumsum(1)[rows_B, lengths_B - 1]
    lacking_B = (random.integers(0, PLACES, size) - reached_B + 2) % PLACES - 2  # -2 .. 2
    # what the first of both moves may be, so that the second is a move as well
    moves_BxT[rows_B, first_B] = random.integers(np.maximum(lacking_B - 1, -1), np.minimum(lacking_B + 1, 1) + 1)
    moves_BxT[rows_B, second_B] = lacking_B - moves_BxT[rows_B, first_B]
    return generated.asked(moves_BxT % 3, moves_BxT.cumsum(1) % PLACES, lengths_B, config, last=True)


def _shape(task: TaskConfig) -> Shape:
    return Shape(task.seq_len, outputs=PLACES, vocab_size=3)


KIND = generated.Kind(cycle_navigation, sizes=("seq_len", "min_len"), shape=_shape, apart_from=7)  # 3**7 rows
build = partial(generated.build, KIND)
