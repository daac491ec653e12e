"""Sets of the user's own: the kinds that there are, what each is made from, and which config trains on it."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from transformer_jax.config import ConfigError
from transformer_jax.tasks import raw, sentences, series_files, table_file, text_file

HELD = 8  # names of what a folder holds, in a message
ALIKE = 0.7  # of a file's name, for a hint: train.en and corpus_train.en.gz are more alike, train.en and latin.fr less


class Found(NamedTuple):
    """A user's own files, found and not yet read through."""

    folder: Path
    files: dict[str, dict[str, str]]
    """Split -> column -> the name of its file in the folder."""
    read: Callable[[], tuple[raw.Splits, dict[str, int]]]
    """read() -> the records of each split, and how many these are; all of them have been read and checked once. Raises
    BadSource: a file that is not what it should be."""
    split_by: str
    """How examples of a split without files of its own are chosen, in words."""
    metadata: Mapping = {}
    """What else decides the set."""


class Kind(NamedTuple):
    """What `prepare KIND --from PATH --name NAME` makes."""

    text: str
    """One line for people."""
    find: Callable[..., Found]
    """find(path, **options) -> Found; path: what --from names; options: those that were given, by name. Raises
    FileNotFoundError, BadSource."""
    needs: tuple[str, ...]
    """Options of the command without which it cannot be."""
    takes: tuple[str, ...]
    """Options that it can do without."""
    example: str
    """The options of a command."""
    config: str
    """A config that trains on such a set."""
    about: Callable[[Mapping[str, Sequence[Mapping]]], list[str]] | None = None
    """about({split: its records}) -> what is said of a set once it is prepared, a line each; None: how many examples
    its splits have."""


def _parallel(folder: Path, source: str, target: str) -> Found:
    require_files(folder, (source, target))
    files = sentences.of_splits(folder, source, target)
    return Found(folder, files, lambda: sentences.parallel(folder, files), "a hash of the source sentence")


def _text(path: Path) -> Found:
    _require_file(path)
    return Found(path.parent, {"train": {"text": path.name}}, lambda: text_file.splits(path), text_file.SPLIT_BY)


def _about_text(parts: Mapping[str, Sequence[Mapping]]) -> list[str]:
    return text_file.about({split: "".join(one["text"].decode() for one in found) for split, found in parts.items()})


def _labelled(path: Path, text_column: str = "text", label_column: str = "label") -> Found:
    _require_file(path)
    files, columns = table_file.of_splits(path), (text_column, label_column)
    if text_column == label_column:
        raise raw.BadSource(f"--text-column and --label-column both name {text_column!r}: they are two columns")
    return Found(
        path.parent,
        files,
        lambda: table_file.labelled(path.parent, files, columns),
        "a hash of the text",
        {"columns": dict(zip(table_file.COLUMNS, columns, strict=True))},
    )


def _series(path: Path, time_column: str | None = None, columns: str | None = None) -> Found:
    _require_file(path)
    layout = series_files.layout(path, time_column, None if columns is None else columns.split(","))
    files = {"train": {"series": path.name}}
    return Found(path.parent, files, lambda: series_files.cut(path, layout), series_files.SPLIT_BY, layout.metadata)


KINDS = {
    "parallel": Kind(
        "sentence pairs, line i of one file meaning what line i of the other does",
        _parallel,
        needs=("source", "target"),
        takes=(),
        example="--from FOLDER --source a.en --target a.fr --name mine",
        config="multi30k_en_fr",
    ),
    "text": Kind(
        "one text, to be continued",
        _text,
        needs=(),
        takes=(),
        example="--from FILE.txt --name mine",
        config="shakespeare_char",
        about=_about_text,
    ),
    "labelled": Kind(
        "texts with a label each, in a table with a line of column names",
        _labelled,
        needs=(),
        takes=("text_column", "label_column"),
        example="--from FILE.tsv --name mine",
        config="imdb_encoder",
    ),
    "series": Kind(
        "a series, a CSV file with a column of times and columns of numbers",
        _series,
        needs=(),
        takes=("time_column", "columns"),
        example="--from FILE.csv --name meter",
        config="etth1_patch",
    ),
}


def check(kind: str, given: Mapping[str, str | None]) -> None:
    """Checks the options of `prepare` against what a kind, or a published set, takes.

    Args:
      kind: a key of KINDS, or the name of a published set, which takes none of them.
      given: all options of the command by name, --name among them; None: not given.

    Raises:
      ConfigError: one that it needs is absent, or it has no use for one.
    """
    named = {option for option, value in given.items() if value is not None}
    if kind not in KINDS:
        fit = [name for name, one in KINDS.items() if named & {*one.needs, *one.takes}] or list(KINDS)
        if named:
            raise ConfigError(f"prepare {kind} has no use for {_options(given, named)}: {_examples(fit)}")
        return
    needs, takes = {"name", *KINDS[kind].needs}, KINDS[kind].takes
    if absent := needs - named:
        raise ConfigError(f"prepare {kind} needs {_options(given, absent)}: {_examples([kind])}")
    if useless := named - needs - {*takes}:
        raise ConfigError(f"prepare {kind} has no use for {_options(given, useless)}: {_examples([kind])}")


def require_files(folder: Path, files: Sequence[str]) -> None:
    """Raises FileNotFoundError where a folder lacks one: with what it holds, and what was meant."""
    if any(not (folder / file).is_file() for file in files):
        raise FileNotFoundError(_lacking(folder, files))


def _require_file(path: Path) -> None:
    """Raises FileNotFoundError for what is no file: with what it holds, or what was meant."""
    if path.is_dir():
        held = sorted(one.name for one in path.iterdir() if one.is_file())
        more = f" and {len(held) - HELD} more" if len(held) > HELD else ""
        raise FileNotFoundError(
            f"{path} is a folder: --from takes the file itself; it holds {', '.join(held[:HELD]) or 'no file'}{more}"
        )
    require_files(path.parent, (path.name,))


def _lacking(folder: Path, files: Sequence[str]) -> str:
    """What was expected in a folder, what is there instead, and the folder or file nearby that was meant."""

    def whole(place: Path) -> bool:
        return all((place / file).is_file() for file in files)

    inside, missing = [], []
    if not folder.is_dir():
        text = f"{folder} {'is a file' if folder.exists() else 'does not exist'}: name a folder with {', '.join(files)}"
    else:
        inside = sorted(path.name for path in folder.iterdir())
        more = f" and {len(inside) - HELD} more" if len(inside) > HELD else ""
        missing = [file for file in files if not (folder / file).is_file()]
        text = f"{folder} lacks {', '.join(missing)}; it holds {', '.join(inside[:HELD]) or 'nothing'}{more}"
    near = [folder.parent, *(sorted(filter(Path.is_dir, folder.iterdir())) if folder.is_dir() else ())]
    meant = [str(place) for place in near if whole(place)] or [
        name for file in missing for name in difflib.get_close_matches(Path(file).name, inside, 1, ALIKE)
    ]
    return text + (f"; did you mean {meant[0]}?" if meant else "")


def _options(order: Mapping, names: set[str]) -> str:
    return " and ".join(f"--{name.replace('_', '-')}" for name in order if name in names)


def _examples(kinds: list[str]) -> str:
    return "; ".join(f"{KINDS[kind].text}: prepare {kind} {KINDS[kind].example}" for kind in kinds)
