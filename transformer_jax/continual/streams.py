"""Streams of tasks: pixels permuted, classes apart, other tokens or another text each time; replay and joint data."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from transformer_jax.config import ConfigError
from transformer_jax.config.continual import ContinualConfig, StreamConfig
from transformer_jax.continual.fisher import FAR
from transformer_jax.tasks import stream
from transformer_jax.tasks.task import Batch, Objective, Task

# B batch, L steps, F width of an input, V answers

APART = 10**6
"""Between the seeds of two tasks' data, so that tasks made of the same examples meet them in orders of their own."""


class Stream(NamedTuple):
    """Tasks in the order in which they are learned, all of one shape and with one objective."""

    tasks: tuple[Task, ...]
    """Each trains on its own data; its validation and test are those of all, told apart by accuracy_0, ..."""
    examples: Callable[[int], Iterable[Batch]]
    """examples(k): the training examples of the k-th task, each once; rows that fill up a batch have no weight."""


class _Kind(NamedTuple):
    """How the data of one task of a stream are drawn."""

    train: Callable[[int, int], Iterator[Batch]]
    """train(task, seed)"""
    evaluate: Callable[[int, str], Iterable[Batch]]
    """evaluate(task, split)"""
    outputs: int
    vocab_size: int | None = None


def build(config: StreamConfig, base: Task, other: Callable[[str], Task] | None = None) -> Stream:
    """The stream of a config around one task: pooled images for permuted and split, generated tokens for vocabularies,
    a text for texts.

    Args:
      other: other(name) -> another text.

    Raises:
      ConfigError: the task is of another kind, or has too few classes.
    """
    continual, batch_size = config.continual, config.task.batch_size
    makers = {"permuted": _permuted, "split": _split, "vocabularies": _vocabularies,
              "texts": partial(_texts, other)}  # fmt: skip
    kind = makers[continual.stream](config, base)
    order, count = continual.tasks, continual.num_tasks
    shape = base.shape._replace(outputs=kind.outputs, vocab_size=kind.vocab_size)
    asked = objective(base.objective, count)

    def named(j: int, k: int, batch: Batch) -> Batch:
        """A batch of the j-th task, as it is while the k-th one is learned, or at its end."""
        found = batch | {"task": np.full(len(batch["weights"]), j, np.int32)}
        if continual.chooses_among_seen:
            found |= _allowed(batch, np.isin(np.arange(kind.outputs) // (kind.outputs // count), order[: k + 1]))
        return found

    def own(j: int, k: int, split: str) -> Iterator[Batch]:
        return (named(j, k, batch) for batch in kind.evaluate(order[j], split))

    def evaluate(k: int, split: str) -> Iterator[Batch]:
        return (batch for j in range(count) for batch in own(j, k, split))

    def draw(j: int, k: int, seed: int) -> Iterator[Batch]:
        return _Changed(kind.train(order[j], seed + APART * j), partial(named, j, k))

    def train(k: int, seed: int) -> Iterator[Batch]:
        if continual.method == "joint":
            return _Together([draw(j, k, seed) for j in range(k + 1)])
        if continual.method == "replay" and k:
            kept = _first([own(j, k, "train") for j in range(k)], max(1, continual.buffer // k))
            old = stream.shuffled(len(kept["weights"]), partial(_rows, kept), batch_size, seed)
            return _Together([draw(k, k, seed), old])
        return draw(k, k, seed)

    tasks = [
        base._replace(
            name=f"{base.name}, {continual.stream} {k}", shape=shape, objective=asked, train=partial(train, k),
            evaluate=partial(evaluate, k), files={}, vectors=None,
        )
        for k in range(count)
    ]  # fmt: skip
    return Stream(tuple(tasks), lambda k: own(k, k, "train"))


@cache  # one object for equal arguments, for which a step is compiled once
def objective(base: Objective, num_tasks: int) -> Objective:
    """The base's, of answers that the task allows, with the accuracy on each task as a metric of its own.

    Batches have `task` (B,): which each row is of; and where not all answers may be given `allowed` (B, 1, V). A row
    whose target is not among them (of a task to come) is wrong, and has no part in the loss and in the accuracy of all.
    """

    def answers(outputs, batch):
        if "allowed" not in batch:
            return outputs, batch
        allowed = batch["allowed"] if outputs.ndim == 3 else batch["allowed"][:, 0]
        possible = jnp.take_along_axis(jnp.broadcast_to(allowed, outputs.shape), batch["targets"][..., None], -1)
        return jnp.where(allowed, outputs, FAR), batch | {"weights": batch["weights"] * possible[..., 0]}

    def with_tasks(terms):
        def of_stream(outputs, batch):
            weights = batch["weights"].astype(jnp.float32)
            outputs, counted = answers(outputs, batch)
            loss, metrics = terms(outputs, counted)
            hits = (outputs.argmax(-1) == batch["targets"]) * weights
            of_rows = batch["task"].reshape(-1, *([1] * (weights.ndim - 1)))
            for k in range(num_tasks):
                mine = (of_rows == k).astype(jnp.float32)
                metrics |= {f"accuracy_{k}": (jnp.sum(hits * mine), jnp.sum(weights * mine))}
            return loss, metrics

        return of_stream

    def finish(means):
        """Without the tasks of which there was nothing."""
        return {name: value for name, value in means.items() if not (name.startswith("accuracy_") and np.isnan(value))}

    return Objective(with_tasks(base.terms), base.trained and with_tasks(base.trained), finish=finish)


def _permuted(config: StreamConfig, base: Task) -> _Kind:
    _require_images(config.continual, base)
    size, classes, scenario = base.shape.seq_len * base.shape.input_dim, base.shape.outputs, config.continual.scenario
    outputs = classes if scenario == "domain" else classes * config.continual.num_tasks
    orders = [np.random.default_rng((k, size)).permutation(size) if k else np.arange(size)
              for k in range(config.continual.num_tasks)]  # fmt: skip

    def permuted(k: int, batch: Batch) -> Batch:
        inputs_BxLxF = batch["inputs"]
        flat = inputs_BxLxF.reshape(len(inputs_BxLxF), -1)[:, orders[k]]
        found = batch | {"inputs": flat.reshape(inputs_BxLxF.shape)}
        if scenario != "domain":
            found["targets"] = batch["targets"] + k * classes
        return found | (_allowed(found, np.arange(outputs) // classes == k) if scenario == "task" else {})

    data = cache(partial(_all, base))  # one copy for all tasks
    return _of_arrays(config, lambda k, split: data(split), outputs, permuted)


def _split(config: StreamConfig, base: Task) -> _Kind:
    continual, classes = config.continual, base.shape.outputs
    _require_images(continual, base)
    each = classes // continual.num_tasks
    if each < 2:
        raise ConfigError(
            f"continual.num_tasks={continual.num_tasks}: a task of the {classes} classes of {base.name} has two or"
            f" more of its own, so that there are at most {classes // 2} tasks"
        )

    whole = cache(partial(_all, base))

    @cache
    def of(k: int, split: str) -> Batch:
        data = whole(split)
        mine = data["targets"] // each == k
        part = {name: array[mine] for name, array in data.items()}
        if continual.scenario == "domain":
            return part | {"targets": part["targets"] % each}
        if continual.scenario == "task":
            return part | _allowed(part, np.arange(classes) // each == k)
        return part

    return _of_arrays(config, of, each if continual.scenario == "domain" else classes)


def _vocabularies(config: StreamConfig, base: Task) -> _Kind:
    own, count = base.shape.vocab_size, config.continual.num_tasks
    if own is None or base.shape.pooled or base.shape.outputs != own or base.shape.source_len is not None:
        raise ConfigError(
            f"continual.stream=vocabularies: {base.name} does not answer with tokens of its input; associative_recall"
            " does"
        )

    def moved(k: int, batch: Batch) -> Batch:
        found = batch | {"inputs": batch["inputs"] + k * own, "targets": batch["targets"] + k * own}
        if config.continual.scenario == "task":
            found |= _allowed(batch, np.arange(count * own) // own == k)
        return found

    return _Kind(
        lambda k, seed: _Changed(base.train(seed), partial(moved, k)),
        lambda k, split: (moved(k, batch) for batch in base.evaluate(split)),
        count * own,
        count * own,
    )


def _texts(other: Callable[[str], Task] | None, config: StreamConfig, base: Task) -> _Kind:
    """One vocabulary for all: every character that any of the texts has."""
    texts = [base, *(other(name) for name in config.continual.texts)]
    for text in texts:
        if text.decode is None or text.shape.outputs != text.shape.vocab_size or config.task.tokens != "characters":
            raise ConfigError(f"continual.stream=texts: {text.name} is no text of characters; number_words is")
    characters = [[text.decode([i]) for i in range(text.shape.outputs)] for text in texts]
    symbols = sorted({one for of_text in characters for one in of_text})
    ids = [np.array([symbols.index(one) for one in of_text], np.int32) for of_text in characters]

    def read(k: int, batch: Batch) -> Batch:
        return batch | {name: ids[k][batch[name]] for name in ("inputs", "targets")}

    return _Kind(
        lambda k, seed: _Changed(texts[k].train(seed), partial(read, k)),
        lambda k, split: (read(k, batch) for batch in texts[k].evaluate(split)),
        len(symbols),
        len(symbols),
    )


def _allowed(batch: Batch, allowed_V: np.ndarray) -> Batch:
    return {"allowed": np.broadcast_to(allowed_V, (len(batch["targets"]), 1, len(allowed_V)))}


def _require_images(continual: ContinualConfig, base: Task) -> None:
    if not base.shape.pooled or base.shape.input_dim is None:
        raise ConfigError(
            f"continual.stream={continual.stream}: {base.name} is no set of images with classes; digits is"
        )


def _of_arrays(
    config: StreamConfig,
    load: Callable[[int, str], Batch],
    outputs: int,
    change: Callable[[int, Batch], Batch] = lambda k, batch: batch,
) -> _Kind:
    """Of tasks whose examples are in memory. change: of a batch, where keeping every task's own would take more."""
    size = config.task.batch_size

    def gather(k: int, split: str) -> tuple[int, Callable[[np.ndarray], Batch]]:
        data = load(k, split)
        return len(data["weights"]), lambda chosen: change(k, _rows(data, chosen))

    return _Kind(
        lambda k, seed: stream.shuffled(*gather(k, "train"), size, seed, config.task.workers),
        lambda k, split: stream.one_pass(*gather(k, split), size),
        outputs,
    )


def _rows(data: Batch, chosen: np.ndarray) -> Batch:
    return {name: array[chosen] for name, array in data.items()}


def _all(base: Task, split: str) -> Batch:
    """Every example of a split, without what fills up its last batch."""
    return _first([base.evaluate(split)], None)


def _first(parts: Sequence[Iterable[Batch]], at_most: int | None) -> Batch:
    """The first so many real examples of each part, together; None: all."""
    found = []
    for batches in parts:
        kept, count = [], 0
        for batch in batches:
            real = batch["weights"].reshape(len(batch["weights"]), -1).any(1)
            kept.append({name: np.array(array[real]) for name, array in batch.items()})
            count += int(real.sum())
            if at_most is not None and count >= at_most:
                break
        found += [{name: np.concatenate([one[name] for one in kept])[:at_most] for name in kept[0]}]
    return {name: np.concatenate([one[name] for one in found]) for name in found[0]}


class _Changed:
    """A stream's batches, each changed."""

    def __init__(self, inner: Iterator[Batch], change: Callable[[Batch], Batch]):
        self._inner, self._change = inner, change

    def __next__(self) -> Batch:
        return self._change(next(self._inner))

    def get_state(self):
        return self._inner.get_state()

    def set_state(self, state) -> None:
        self._inner.set_state(state)


class _Together:
    """Batches of which each stream gives an equal part: rows in the place of its own among the batch's."""

    def __init__(self, streams: Sequence[Iterator[Batch]]):
        self._streams = streams

    def __next__(self) -> Batch:
        drawn, count = [next(one) for one in self._streams], len(self._streams)
        size = len(drawn[0]["weights"])
        ends = [size * i // count for i in range(count + 1)]
        parts = [{name: array[a:b] for name, array in one.items()}
                 for one, a, b in zip(drawn, ends, ends[1:], strict=False)]  # fmt: skip
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def get_state(self):
        return [one.get_state() for one in self._streams]

    def set_state(self, states) -> None:
        for one, state in zip(self._streams, states, strict=True):
            one.set_state(state)
