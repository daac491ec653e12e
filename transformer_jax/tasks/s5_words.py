"""Words of S5: permutations of five things, one after another."""

from functools import cache, partial
from itertools import permutations

import numpy as np

from transformer_jax.config import Shape, TaskConfig
from transformer_jax.tasks import generated
from transformer_jax.tasks.task import Batch

SIZE = 120


def s5_words(random: np.random.Generator, config: TaskConfig) -> Batch:
    """Words of S5: the product of permutations, asked at every step (Merrill et al. 2024, arXiv:2404.08819).

    A row is elements of the group of permutations of five things, each of the 120 alike, numbered in lexicographic
    order, so that 0 changes nothing. The target at a step is the element that does what those up to it do one after
    another, the first one first. It is each of the 120 alike, so that guessing gives 1/120 at every step. Rows of one
    element are in all splits.
    """
    lengths_B = generated.lengths(random, config)
    elements_BxT = random.integers(0, SIZE, (config.batch_size, config.seq_len))
    products_BxT = elements_BxT.copy()
    for step in range(1, config.seq_len):
        products_BxT[:, step] = _products()[products_BxT[:, step - 1], elements_BxT[:, step]]
    return generated.asked(elements_BxT, products_BxT, lengths_B, config)


@cache
def _products() -> np.ndarray:
    """[a, b]: the element that does what a does and then b; an element p puts the thing at place p[i] to place i."""
    elements = list(permutations(range(5)))
    number = {element: i for i, element in enumerate(elements)}
    return np.array([[number[tuple(a[i] for i in b)] for b in elements] for a in elements])


def _shape(task: TaskConfig) -> Shape:
    return Shape(task.seq_len, outputs=SIZE, vocab_size=SIZE)


KIND = generated.Kind(s5_words, sizes=("seq_len", "min_len"), shape=_shape, apart_from=2)  # 120**2 rows
build = partial(generated.build, KIND)
