"""Batches as pure functions of (seed, step), run ahead by Grain, shared by the processes, resumed exactly.

Grain's own shuffle and batch handle one example at a time in Python, 45 us each. Here a step's indices are drawn at
once and its examples taken at once; Grain keeps the state, the threads and the worker processes.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import grain
import jax
import numpy as np

from transformer_jax.config import ConfigError
from transformer_jax.tasks.task import Batch

FOREVER = 2**62  # steps; Grain wants a length

Gather = Callable[[np.ndarray], Batch]
"""Indices (B,) -> the batch of those examples."""


def steps(make_batch: Callable[[int], Batch], workers: int = 0) -> grain.DatasetIterator:
    """make_batch(0), make_batch(1), ... without end; the state is the step, whatever the number of workers.

    Args:
      make_batch: pure; gives this process' rows only.
      workers: processes that call it; 0: two threads of this one.
    """
    # Grain's default keeps 500 batches ahead, made by 16 threads.
    ahead = grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)
    dataset = grain.MapDataset.range(FOREVER).map(make_batch).to_iter_dataset(ahead)
    if workers:
        from absl import flags

        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()  # Grain's workers read absl flags, which only absl's own main parses
        dataset = dataset.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers), _begin_worker)
    return iter(dataset)


def _begin_worker(index: int, count: int) -> None:
    """Lets a worker ignore signals, and end with its parent: who is asked to stop needs a few more batches."""
    del index, count
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def shuffled(length: int, gather: Gather, batch_size: int, seed: int, workers: int = 0) -> Iterator[Batch]:
    """Epoch after epoch of `length` examples, each in an order of its own; no example is left out."""
    rows = process_rows(batch_size)
    return steps(lambda step: gather(shuffled_indices(length, batch_size, seed, step)[rows]), workers)


def by_length(lengths_N: Sequence[int], bounds: Sequence[int]) -> list[np.ndarray]:
    """For each bound the indices whose length fits it and no smaller one; bounds rise. What fits none is left out."""
    fits_N = np.searchsorted(bounds, lengths_N)
    return [np.flatnonzero(fits_N == i) for i in range(len(bounds))]


def bucketed(
    buckets: Sequence[np.ndarray],
    gathers: Sequence[Gather],
    batch_size: int | Sequence[int],
    seed: int,
    workers: int = 0,
) -> Iterator[Batch]:
    """As `shuffled`, each batch from one bucket; all processes and all seeds meet the same bucket at the same step.

    What does not fill a batch of its bucket is left out of that epoch; each epoch leaves out others.

    Args:
      buckets: indices of the examples in each bucket.
      gathers: how each bucket makes its batch.
      batch_size: one for all buckets, or one for each.
    """
    sizes = [batch_size] * len(buckets) if isinstance(batch_size, int) else list(batch_size)
    rows = [process_rows(size) for size in sizes]
    counts = np.array([len(b) // size for b, size in zip(buckets, sizes, strict=True)])  # batches of each in an epoch
    if not counts.any():
        raise ConfigError(f"task.batch_size={batch_size}: no bucket holds that many examples")

    def make_batch(step: int) -> Batch:
        epoch, place = divmod(step, int(counts.sum()))
        # Lanes, which have a seed each, step together: their batches must be of one shape.
        drawn = _order(int(counts.sum()), 0, epoch)[place]
        bucket = int(np.searchsorted(counts.cumsum(), drawn, side="right"))
        first = (drawn - counts[:bucket].sum()) * sizes[bucket]
        order = _order(len(buckets[bucket]), seed, epoch)
        return gathers[bucket](buckets[bucket][order[first : first + sizes[bucket]][rows[bucket]]])

    return steps(make_batch, workers)


def one_pass(length: int, gather: Gather, batch_size: int) -> Iterator[Batch]:
    """Each example once, in order; the last batch is filled up with the last example at weight 0."""
    rows = process_rows(batch_size)
    for start in range(0, length, batch_size):
        places = np.arange(start, start + batch_size)[rows]
        batch = gather(np.minimum(places, length - 1))
        batch["weights"][places >= length] = 0
        yield batch


def process_rows(batch_size: int) -> slice:
    """Which rows of a global batch belong to this process.

    Raises:
      ConfigError: the processes cannot share the batch equally.
    """
    processes = jax.process_count()
    if batch_size % processes:
        raise ConfigError(f"task.batch_size={batch_size}: {processes} processes cannot share it equally")
    return slice(jax.process_index(), None, processes)


def shuffled_indices(length: int, batch_size: int, seed: int, step: int) -> np.ndarray:
    """(batch_size,) indices of one step; consecutive steps walk through a new permutation in each epoch."""
    epochs, places = np.divmod(np.arange(batch_size) + step * batch_size, length)
    return np.concatenate([_order(length, seed, e)[places[epochs == e]] for e in np.unique(epochs).tolist()])


@lru_cache(maxsize=8)  # a step needs the orders of one or two epochs; sorting 60,000 anew takes longer than its batch
def _order(length: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(length)
