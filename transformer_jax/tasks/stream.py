"""Examples to batches through Grain: endless, sharded by process, with a state that resumes exactly."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import grain
import jax
import numpy as np

from transformer_jax.config import ConfigError
from transformer_jax.tasks.task import Batch

FOREVER = 2**62  # steps; Grain wants a length


def steps(make_batch: Callable[[int, int], Batch], seed: int, workers: int = 0) -> grain.DatasetIterator:
    """Batches that are a pure function of (seed, step); the iterator's state is the step.

    Args:
      make_batch: (seed, step) -> the global batch; each process keeps its rows of it.
    """
    rows = process_rows()
    steps = grain.MapDataset.range(FOREVER)
    return _iterate(steps.map(lambda step: take_rows(make_batch(seed, step), rows)), workers)


def examples(
    source: Sequence, to_example: Callable[[Any], Batch], batch_size: int, seed: int, workers: int = 0
) -> grain.DatasetIterator:
    """Batches of a random-access source, globally shuffled anew each epoch.

    The processes' shares of an epoch are disjoint.

    Args:
      source: as `len(source)` and `source[i]`.
      to_example: one element of the source -> one example, without the batch axis.
      batch_size: over all processes.
    """
    return _iterate(_shuffled(source, to_example, batch_size, seed).repeat(), workers)


def bucketed(
    sources: Sequence[Sequence],
    to_examples: Sequence[Callable[[Any], Batch]],
    batch_size: int,
    seed: int,
    workers: int = 0,
) -> grain.DatasetIterator:
    """As `examples`, each batch from one bucket only; all processes meet the same bucket at the same step.

    What does not fill a batch of its bucket waits for the next epoch, which is shuffled differently.
    """
    buckets = [
        _shuffled(source, to_example, batch_size, seed)
        for source, to_example in zip(sources, to_examples, strict=True)
        if len(source) >= batch_size
    ]
    if not buckets:
        raise ConfigError(f"task.batch_size={batch_size}: no bucket of texts holds that many")
    return _iterate(grain.MapDataset.concatenate(buckets).seed(seed).shuffle().repeat(), workers)


def one_pass(source: Sequence, to_example: Callable[[Any], Batch], batch_size: int) -> Iterator[Batch]:
    """Each example once, in order; the last batch is filled up with its first example at weight 0."""
    rows = process_rows()
    for start in range(0, len(source), batch_size):
        found = [to_example(source[i]) for i in range(start, min(start + batch_size, len(source)))]
        yield take_rows(pad_batch(_stack(found), batch_size), rows)


def pad_batch(batch: Batch, batch_size: int) -> Batch:
    """The batch with rows of weight 0 added up to batch_size."""
    missing = batch_size - len(batch["weights"])
    if missing == 0:
        return batch
    full = {k: np.concatenate([v, np.repeat(v[:1], missing, axis=0)]) for k, v in batch.items()}
    full["weights"][-missing:] = 0
    return full


def process_rows() -> slice:
    """Which rows of a global batch belong to this process."""
    return slice(jax.process_index(), None, jax.process_count())


def take_rows(batch: Batch, rows: slice) -> Batch:
    """This process' rows.

    Raises:
      ConfigError: the processes cannot share the batch equally.
    """
    size = len(batch["weights"])
    _check_share(size, rows.step)
    return batch if rows.step == 1 else {k: v[rows] for k, v in batch.items()}


def _shuffled(source, to_example, batch_size: int, seed: int) -> grain.MapDataset:
    rows = process_rows()
    _check_share(batch_size, rows.step)
    whole = len(source) // rows.step * rows.step  # so that every process has equally many
    if whole < batch_size:
        raise ConfigError(f"task.batch_size={batch_size}: the training split holds {len(source)} examples")
    dataset = grain.MapDataset.source(source).seed(seed).shuffle()[:whole][rows]
    return dataset.map(to_example).batch(batch_size // rows.step, drop_remainder=True)


def _check_share(batch_size: int, processes: int) -> None:
    if batch_size % processes:
        raise ConfigError(
            f"task.batch_size={batch_size} is not divisible by the {processes} processes that share it"
        )


def _stack(found: list[Batch]) -> Batch:
    return {k: np.stack([example[k] for example in found]) for k in found[0]}


def _iterate(dataset: grain.MapDataset, workers: int) -> grain.DatasetIterator:
    # Grain's own default keeps 500 batches ahead, read by 16 threads.
    ahead = grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)
    iterable = dataset.to_iter_dataset(ahead)
    if workers:
        from absl import flags

        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()  # Grain's workers read absl flags, which only absl's own main parses
        iterable = iterable.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers))
    return iter(iterable)
