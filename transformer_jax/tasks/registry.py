"""Tasks by name: the one file that imports all of them."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from transformer_jax.config import Config, ConfigError, Shape, TaskConfig, misfits, nearest
from transformer_jax.tasks import (
    associative_recall,
    copy_memory,
    digits,
    generated,
    images,
    imdb,
    random_tokens,
    sets,
    shakespeare,
    vision,
)
from transformer_jax.tasks.task import Outline, Task, chosen_by, looks_ahead


class Entry(NamedTuple):
    """A task by its name."""

    build: Callable[[Config], Task]
    outline: Callable[[Config], Outline]
    text: str
    """One line for people."""
    reads: bool = True
    """Its data are a prepared set, in the folder that `task.data_dir` names."""
    words: bool = False
    """Its inputs are ids of words, whose vectors `task.vectors` may give."""


def _of_text(config: Config, outputs: int | None = None) -> Outline:
    """Of texts as ids; outputs: the classes of a whole text, None for the next id at every step."""
    length, size = config.task.seq_len, config.task.vocab_size
    return Outline(Shape(length, outputs or size, vocab_size=size, pooled=outputs is not None), outputs is None)


# Made from their sizes alone: with other sizes they are other tasks.
GENERATED = {"random_tokens": random_tokens, "copy_memory": copy_memory, "associative_recall": associative_recall}
TASKS: dict[str, Entry] = {
    **{
        name: Entry(task.build, partial(generated.outline, task.build), task.__doc__, reads=False)
        for name, task in GENERATED.items()
    },
    "digits": Entry(digits.build, partial(images.outline, height=8, width=8), digits.__doc__, reads=False),
    **{
        name: Entry(vision.build, partial(images.outline, height=side, width=side), text)
        for name, (side, text) in vision.SETS.items()
    },
    "imdb": Entry(imdb.build, partial(_of_text, outputs=2), imdb.__doc__, words=True),
    "shakespeare_char": Entry(shakespeare.build, _of_text, shakespeare.__doc__),
}


def build(config: Config) -> Task:
    """The task that `config.task.name` names.

    Raises:
      ConfigError: no such task (the nearest names are given), or what `needs` finds, all of it.
      MissingData: a real set that is not in the data folder; the message has the command that prepares it.
    """
    problems = needs(config)
    try:
        task = TASKS[config.task.name].build(config)
        chosen_by(task.objective, config.train.best)
    except sets.MissingData as error:
        raise sets.MissingData("\n".join([*problems, str(error)])) from None
    except ConfigError:
        if not problems:
            raise
    if problems:
        raise ConfigError("\n  and: ".join(problems))
    return task


def needs(config: Config) -> list[str]:
    """What must be another in a config so that its model can be trained on its task: a sentence for each option.

    Nothing is read from a disk: what only the data can tell is found out later.

    Raises:
      ConfigError: no such task.
    """
    name = config.task.name
    if name not in TASKS:
        raise ConfigError(f"unknown task.name={name!r}{nearest(name, TASKS)}")
    shape, next_token, problems = TASKS[name].outline(config)
    if config.task.vectors is not None and not TASKS[name].words:
        able = ", ".join(other for other, entry in TASKS.items() if entry.words)
        problems = (*problems, f"task.vectors={config.task.vectors}: {name} has no vocabulary of words; {able} has one")
    return [*problems, *misfits(config.model, shape), *looks_ahead(name, next_token, config.model)]


def identity(task: TaskConfig) -> str:
    """Names a task so that what was measured on equal names can be compared: the generated ones with their sizes."""
    sizes = (f"{key} {getattr(task, key)}" for key in ("seq_len", "vocab_size", "num_items"))
    return f"{task.name} ({', '.join(sizes)})" if task.name in GENERATED else task.name
