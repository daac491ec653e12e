"""Tasks by name: the one file that imports all of them."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from transformer_jax.config import Config, ConfigError, Shape, TaskConfig, misfits, nearest
from transformer_jax.tasks import digits, generated, images, imdb, sets, shakespeare, vision
from transformer_jax.tasks.task import Task, looks_ahead


class Entry(NamedTuple):
    """What is known of a task before its data are read."""

    build: Callable[[Config], Task]
    text: str
    """One line for people."""
    outline: Callable[[TaskConfig], tuple[Shape, list[str]]]
    """Its shape, as far as the data do not decide it, and what of the task's own config cannot be, a sentence each."""
    generated: bool = False
    """It is made from its sizes alone: with other sizes it is another task."""


def _generated(make_batch) -> Entry:
    text = make_batch.__doc__.splitlines()[0]
    return Entry(partial(generated.build, make_batch), text, partial(generated.outline, make_batch), generated=True)


def _text(build, module, outputs: int | None = None) -> Entry:
    """Of texts as ids; outputs: the classes of a whole text, None for the next id at every step."""

    def outline(task: TaskConfig) -> tuple[Shape, list[str]]:
        size = task.vocab_size
        return Shape(task.seq_len, outputs or size, vocab_size=size, pooled=outputs is not None), []

    return Entry(build, module.__doc__.splitlines()[0], outline)


TASKS: dict[str, Entry] = {
    "random_tokens": _generated(generated.random_tokens),
    "copy_memory": _generated(generated.copy_memory),
    "associative_recall": _generated(generated.associative_recall),
    "digits": Entry(digits.build, digits.__doc__, partial(images.outline, height=8, width=8)),
    **{
        name: Entry(vision.build, text, partial(images.outline, height=side, width=side))
        for name, (side, text) in vision.SETS.items()
    },
    "imdb": _text(imdb.build, imdb, outputs=2),
    "shakespeare_char": _text(shakespeare.build, shakespeare),
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
    shape, problems = TASKS[name].outline(config.task)
    ahead = looks_ahead(name, shape, config.model)
    return problems + misfits(config.model, shape) + ([ahead] if ahead else [])


def identity(task: TaskConfig) -> str:
    """Names a task so that what was measured on equal names can be compared: the generated ones with their sizes."""
    sizes = (f"{key} {getattr(task, key)}" for key in ("seq_len", "vocab_size", "num_items"))
    return f"{task.name} ({', '.join(sizes)})" if task.name in TASKS and TASKS[task.name].generated else task.name
