"""Tasks by name: the one file that imports all of them."""

from collections.abc import Callable

from transformer_jax.config import Config, ConfigError, nearest
from transformer_jax.tasks import associative_recall, copy_memory, digits, imdb, random_tokens, shakespeare, vision
from transformer_jax.tasks.task import Task

TASKS: dict[str, Callable[[Config], Task]] = {
    "random_tokens": random_tokens.build,
    "copy_memory": copy_memory.build,
    "associative_recall": associative_recall.build,
    "digits": digits.build,
    **dict.fromkeys(vision.PARTS, vision.build),
    "imdb": imdb.build,
    "shakespeare_char": shakespeare.build,
}


def build(config: Config) -> Task:
    """The task that `config.task.name` names.

    Raises:
      ConfigError: no such task (the nearest names are given), or sizes that it cannot have.
      MissingData: a real set that is not in the data folder; the message has the command that prepares it.
    """
    name = config.task.name
    if name not in TASKS:
        raise ConfigError(f"unknown task.name={name!r}{nearest(name, TASKS)}")
    return TASKS[name](config)
