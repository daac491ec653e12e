"""ListOps: nested operations on lists of digits, to be worked out."""

from dataclasses import replace
from functools import partial

import numpy as np

from transformer_jax.config import Shape, TaskConfig
from transformer_jax.tasks import generated
from transformer_jax.tasks.task import Batch

TOKENS = (*"0123456789", "[MIN", "[MAX", "[MED", "[SM", "]")
"""The texts of the ids: [MED is the median, rounded down, [SM the sum modulo 10."""
ARGUMENTS = 5
LEAST = 4  # tokens of the shortest operation, that of two digits


def listops(random: np.random.Generator, config: TaskConfig) -> Batch:
    """ListOps: the value of nested MIN, MAX, MED and SM (Nangia & Bowman 2018, arXiv:1804.06028; Long Range Arena).

    A row is an operation as Long Range Arena (arXiv:2011.04006) writes it: "[MAX 2 9 [MIN 4 7 ] 0 ]", of exactly
    its length in tokens, with 2 to 5 arguments each of which is a digit or an operation. The depth grows as the
    logarithm of the length: some 3 at 32 tokens, 8 at 256, 13 at 2,000. The target at the last step, the last
    bracket, is the value, 0 .. 9; only this step has weight. Values are drawn beforehand, each alike, and rows until
    there is one for each, so that a constant answer gives 1/10; who reads the first token alone gets 0.21. Rows of 4
    tokens are in all splits.
    """
    size, length = config.batch_size, config.seq_len
    tokens_BxT, lengths_B = np.zeros((size, length), np.int64), np.zeros(size, np.int64)
    values_B, missing = random.integers(0, 10, size), np.arange(size)
    while len(missing):
        drawn_N = generated.lengths(random, replace(config, batch_size=2 * len(missing) + 20), least=LEAST)
        tokens_NxT, values_N = expressions(random, drawn_N, length)
        for value in range(10):
            wanting = missing[values_B[missing] == value]
            having = np.flatnonzero(values_N == value)[: len(wanting)]
            wanting = wanting[: len(having)]
            tokens_BxT[wanting], lengths_B[wanting] = tokens_NxT[having], drawn_N[having]
        missing = np.flatnonzero(lengths_B == 0)
    return generated.asked(tokens_BxT, values_B[:, None], lengths_B, config, last=True)


def expressions(random: np.random.Generator, lengths_N: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Operations of those lengths, int64 (N, width) with 0 after their end, and their values (N,).

    All of one depth are made at once, from the outermost to the digits; then values go the other way.
    """
    tokens_NxT = np.zeros((len(lengths_N), width), np.int64)
    row, start, size, levels = np.arange(len(lengths_N)), np.zeros_like(lengths_N), lengths_N, []
    while len(row):
        values, inner = random.integers(0, 10, len(row)), np.flatnonzero(size > 1)
        operation = random.integers(0, 4, len(inner))
        tokens_NxT[row, start] = values
        row, start, size = row[inner], start[inner], size[inner]
        tokens_NxT[row, start] = 10 + operation
        tokens_NxT[row, start + size - 1] = len(TOKENS) - 1
        sizes = _arguments(random, size)
        there, starts = sizes > 0, start[:, None] + 1 + sizes.cumsum(1) - sizes
        levels.append((values, inner, operation, there))
        row, start, size = np.broadcast_to(row[:, None], there.shape)[there], starts[there], sizes[there]
    below = np.zeros(0, np.int64)
    for values, inner, operation, there in reversed(levels):
        values[inner] = _values(operation, there, below)
        below = values
    return tokens_NxT, below


def _arguments(random: np.random.Generator, sizes_I: np.ndarray) -> np.ndarray:
    """(I, ARGUMENTS): how long the arguments of operations of those lengths are, 1 or from LEAST on; 0: there is none.

    A random number of arguments; of those a random number are operations, which share at random what there is.
    """
    count_I, columns = len(sizes_I), np.arange(ARGUMENTS)
    drawn_I = random.integers(2, ARGUMENTS + 1, count_I)
    # What two brackets and the arguments leave is 0 or enough for one operation in the place of a digit.
    many_I = np.where(sizes_I <= ARGUMENTS + 2, sizes_I - 2, np.minimum(drawn_I, sizes_I - 2 - (LEAST - 1)))
    left_I = sizes_I - 2 - many_I
    nested_I = np.minimum(random.integers(2, many_I + 1), left_I // (LEAST - 1))
    spare_Ix1 = (left_I - (LEAST - 1) * nested_I)[:, None]
    cuts = random.integers(0, spare_Ix1 + 1, (count_I, ARGUMENTS))
    cuts = np.sort(np.where(columns < nested_I[:, None] - 1, cuts, spare_Ix1), axis=1)
    longer = np.diff(cuts, axis=1, prepend=0) + (LEAST - 1)
    order = np.argsort(np.where(columns < many_I[:, None], random.random((count_I, ARGUMENTS)), 1), axis=1)
    found = np.empty_like(order)
    np.put_along_axis(found, order, 1 + np.where(columns < nested_I[:, None], longer, 0), axis=1)
    return np.where(columns < many_I[:, None], found, 0)


def _values(operation_I: np.ndarray, there_IxA: np.ndarray, arguments: np.ndarray) -> np.ndarray:
    """What the operations make of their arguments, which stand one after another in the places that are there."""
    last, count_I = len(TOKENS), there_IxA.sum(1)
    found = np.full(there_IxA.shape, last)
    found[there_IxA] = arguments
    found, rows = np.sort(found, axis=1), np.arange(len(operation_I))
    middle_I = (found[rows, (count_I - 1) // 2] + found[rows, count_I // 2]) // 2
    sum_I = np.where(found < last, found, 0).sum(1) % 10
    return np.choose(operation_I, [found[:, 0], found[rows, count_I - 1], middle_I, sum_I])


def _shape(task: TaskConfig) -> Shape:
    return Shape(task.seq_len, outputs=10, vocab_size=len(TOKENS))


KIND = generated.Kind(listops, sizes=("seq_len", "min_len"), shape=_shape, apart_from=5)
build = partial(generated.build, KIND)
