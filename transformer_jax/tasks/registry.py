"""Tasks by name: the one file that imports all of them."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from transformer_jax.config import Config, ConfigError, TaskConfig, misfits, nearest
from transformer_jax.tasks import (
    adding,
    associative_recall,
    copy_memory,
    cycle_navigation,
    digits,
    even_pairs,
    generated,
    images,
    imdb,
    keys,
    labelled,
    listops,
    number_words,
    number_words_fr,
    numbers_en_fr,
    own,
    parity,
    parity_end,
    place,
    random_tokens,
    reversal,
    s5_words,
    selective_copying,
    series,
    sets,
    shakespeare,
    shapes_1d,
    sine_trend,
    sst2,
    text,
    translation,
    vision,
)
from transformer_jax.tasks.task import Files, Outline, Task, chosen_by, looks_ahead


class Entry(NamedTuple):
    """A task by its name."""

    build: Callable[..., Task]
    """build(config), or build(config, files) where a run keeps files of such a task."""
    outline: Callable[[Config], Outline]
    text: str
    """One line for people."""
    keys: tuple[str, ...] = ()
    """The optional keys of TaskConfig that it reads (`tasks/keys.py`)."""
    sizes: tuple[str, ...] = ()
    """The keys of TaskConfig from which alone it is made: with other sizes it is another task."""


GENERATED = {
    module.KIND.draw.__name__: module.KIND
    for module in (
        random_tokens, copy_memory, selective_copying, associative_recall, adding, parity, parity_end, even_pairs,
        cycle_navigation, s5_words, listops, shapes_1d, number_words, number_words_fr,
    )
}  # fmt: skip
LANGUAGES = {"en": "English", "fr": "French", "de": "German"}
HORIZON = ("horizon",)
_TASKS = {
    **{
        name: Entry(
            partial(generated.build, kind),
            partial(generated.outline, kind),
            kind.draw.__doc__.partition("\n")[0],
            sizes=kind.sizes,
        )
        for name, kind in GENERATED.items()
    },
    "reversal": Entry(reversal.build, reversal.outline, reversal.__doc__, sizes=("seq_len", "vocab_size")),
    "numbers_en_fr": Entry(numbers_en_fr.build, numbers_en_fr.outline, numbers_en_fr.__doc__),
    "sine_trend": Entry(sine_trend.build, sine_trend.outline, sine_trend.__doc__, sizes=HORIZON),
    "ett_h1": Entry(series.build, series.outline, series.ETT_TEXT, sizes=HORIZON),
    "digits": Entry(digits.build, partial(images.outline, height=8, width=8), digits.__doc__),
    **{
        name: Entry(vision.build, partial(images.outline, height=side, width=side), text)
        for name, (side, text) in vision.SETS.items()
    },
    "imdb": Entry(imdb.build, labelled.outline, imdb.__doc__),
    "sst2": Entry(sst2.build, labelled.outline, sst2.__doc__),
    "shakespeare_char": Entry(shakespeare.build, text.outline, shakespeare.__doc__),
    **{
        name: Entry(
            partial(translation.build, name="multi30k", columns=columns),
            translation.outline,
            f"Descriptions of pictures, {' to '.join(LANGUAGES[c] for c in columns)} (Multi30k; Elliott et al. 2016).",
        )
        for name, columns in translation.MULTI30K.items()
    },
}
TASKS: dict[str, Entry] = {name: one._replace(keys=keys.TASKS[name]) for name, one in _TASKS.items()}
_OWN = {
    "parallel": Entry(translation.build, translation.outline, own.KINDS["parallel"].text),
    "text": Entry(text.build, text.outline, own.KINDS["text"].text),
    "labelled": Entry(labelled.build, labelled.outline, own.KINDS["labelled"].text),
    "series": Entry(series.build, series.outline, own.KINDS["series"].text),
}
OWN = {kind: one._replace(keys=keys.KINDS[kind]) for kind, one in _OWN.items()}
"""Any set that `prepare KIND` made is a task of its name: the task by its kind."""
KEPT = {
    translation.FILE: "parallel",
    text.CHARACTERS: "text",
    text.SUBWORDS: "text",
    labelled.FILE: "labelled",
    series.FILE: "series",
}
"""The kind of a set by the file that a run on it keeps."""


def entry(task: TaskConfig, files: Files = ()) -> Entry:
    """The task that a config names; one whose run keeps its files needs no set to be there.

    Raises:
      ConfigError: no such task, and no such set of the user's own in the data folder; the nearest names are given.
    """
    if task.name in TASKS:
        return TASKS[task.name]
    folder = place.data_dir(task)
    kind = next((KEPT[name] for name, _ in files if name in KEPT), None) or (place.own(task.name, folder) or (None,))[0]
    if kind in OWN:
        return OWN[kind]
    known = nearest(task.name, [*TASKS, *sets.own_names(folder)])
    raise ConfigError(
        f"unknown task.name={task.name!r}{known}\n  data of your own, once prepared, are a task too: none of that"
        f" name in {folder} (python run.py prepare {' or '.join(OWN)} --from FILES --name NAME)"
    )


def build(config: Config, files: Files = ()) -> Task:
    """The task that `config.task.name` names; `files` are those that its run keeps (`Task.files`), where there is one.

    Raises:
      ConfigError: no such task (the nearest names are given), or what `needs` finds, all of it.
      MissingData: a real set that is not in the data folder; the message has the command that prepares it.
    """
    problems = needs(config, files)
    try:
        task = entry(config.task, files).build(config, *([files] if files else []))
        chosen_by(task.objective, config.train.best)
    except sets.MissingData as error:
        raise sets.MissingData(*("\n".join([*problems, text]) for text in (str(error), error.of_run))) from None
    except ConfigError:
        if not problems:
            raise
    if problems:
        raise ConfigError("\n  and: ".join(problems))
    return task


def needs(config: Config, files: Files = ()) -> list[str]:
    """What must be another in a config so that its model can be trained on its task: a sentence for each option.

    Of the disk is only asked whether there is a set of that name: what only the data can tell is found out later.

    Raises:
      ConfigError: no such task.
    """
    name, found = config.task.name, entry(config.task, files)
    shape, next_token, problems = found.outline(config)
    if config.task.vectors is not None and "vectors" not in found.keys:
        able = " or ".join(other for other, one in TASKS.items() if "vectors" in one.keys)
        problems = (*problems, f"task.vectors={config.task.vectors}: {name} has no vocabulary of words; {able} has one")
    if config.task.min_len is not None and "min_len" not in found.keys:
        able = ", ".join(other for other, one in TASKS.items() if "min_len" in one.keys)
        problems = (*problems, f"task.min_len={config.task.min_len}: {name} draws no lengths; these tasks do: {able}")
    return [*problems, *misfits(config.model, shape), *looks_ahead(name, next_token, config.model)]


def identity(task: TaskConfig) -> str:
    """Names a task so that what was measured on equal names can be compared: one made from sizes alone with them, a
    forecast with its horizon (of the user's own series, whose kind only the disk knows, with another than the usual),
    a text that is cut into subwords with their number.
    """
    usual = task.horizon == TaskConfig.horizon
    sizes = TASKS[task.name].sizes if task.name in TASKS else () if usual else HORIZON
    if task.tokens != TaskConfig.tokens and task.name not in {*TASKS} - {"shakespeare_char"}:
        sizes = (*sizes, "tokens", "vocab_size")  # a loss by subwords is none by characters
    named = ", ".join(f"{key} {value}" for key in sizes if (value := getattr(task, key)) is not None)
    return f"{task.name} ({named})" if named else task.name
