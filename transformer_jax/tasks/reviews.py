"""The labelled texts that a task's name stands for: reviews of IMDB, sentences of SST-2, or a set of the user's own."""

from collections.abc import Callable

from transformer_jax.config import Config, ConfigError, TaskConfig
from transformer_jax.tasks import imdb, labelled, place, sets, sst2
from transformer_jax.tasks.labelled import Texts
from transformer_jax.tasks.task import Task


def opened(task: TaskConfig) -> tuple[dict[str, str], Callable[[str], Texts]]:
    """(the SHA-256 of the files that the prepared set was made from, read(split) -> its texts).

    Raises:
      MissingData: the set is not prepared.
      ConfigError: the task has no labelled texts.
    """
    name, folder = task.name, place.data_dir(task)
    if name not in ("imdb", sst2.SET) and (place.own(name, folder) or ("",))[0] != "labelled":
        raise ConfigError(
            f"task.name={name}: labelled texts are imdb, sst2, or a set of your own, and {folder} holds none of that"
            " name (python run.py prepare labelled --from FILE.tsv --name NAME)"
        )
    builder = sets.open_set(imdb.SET if name == "imdb" else name, folder)
    read = imdb.read if name == "imdb" else labelled.texts_of
    return sets.digests(builder), lambda split: read(builder, split)


def build(config: Config) -> Task:
    """As `labelled.build`, which raises what it does."""
    return (imdb if config.task.name == "imdb" else labelled).build(config)
