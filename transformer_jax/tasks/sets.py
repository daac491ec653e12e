"""Real sets on disk in the layout of tensorflow-datasets: found, checked for completeness, opened."""

import shlex
from pathlib import Path

from transformer_jax.config import TaskConfig
from transformer_jax.tasks.originals import ORIGINALS
from transformer_jax.tasks.place import data_dir, folders, own

# A generated task of the same kind, for who has no copy of the set.
ALTERNATIVE = {
    "tiny_shakespeare": "--task.name number_words",
    "imdb_reviews": "--task.name associative_recall",
    "sst2": "--task.name associative_recall",
    "multi30k": "--task.name numbers_en_fr",
    "ett_h1": "--task.name sine_trend",
}


class MissingData(FileNotFoundError):
    """A set that is not there, or only in part; the message says what to run, to who wants to train."""

    def __init__(self, message: str, of_run: str | None = None):
        """of_run: the same to who has trained on it; None: the message."""
        super().__init__(message)
        self.of_run = of_run or message


def own_names(folder: Path) -> list[str]:
    """The sets that `own` knows there, by alphabet."""
    names = sorted({path.parents[1].name for path in folder.glob("*/*/metadata.json")})
    return [name for name in names if own(name, folder)]


def open_set(name: str, folder: Path):
    """The read-only builder of a prepared set, newest version, after checking that all its files are there.

    Raises:
      MissingData: no such set in the folder, or one whose preparation or copy broke off.
    """
    import tensorflow_datasets as tfds  # takes half a second, which generated tasks need not pay

    found = folders(name, folder)
    if not found:
        raise _missing(name, f"no prepared set {name!r} in {folder}{_instead(folder)}", folder)
    try:
        builder = tfds.builder_from_directory(found[-1])
        sizes = (builder.info.metadata or {}).get("bytes", {})
        paths = [Path(path) for split in builder.info.splits.values() for path in split.filepaths]
    except Exception as error:  # json, protobuf and tensorflow-datasets each have their own
        raise _missing(name, f"{found[-1]} cannot be opened, remove it: {error}", folder) from error
    for path in paths:
        size = path.stat().st_size if path.is_file() else 0
        if size == 0 or size != sizes.get(path.name, size):
            whole = f" of {sizes[path.name]}" if path.name in sizes else ""
            what = f"{found[-1]} is incomplete, remove it: {path.name} has {size}{whole} bytes"
            raise _missing(name, what, folder)
    return builder


def records(builder, split: str, at_most: int | None = None, **options) -> list[dict]:
    """The first records, or all, of one split or of a slice of it such as 'train[:90%]'.

    Read at once: one by one a record takes ten times as long.

    Args:
      options: for `as_data_source` of tensorflow-datasets, e.g. decoders.

    Raises:
      MissingData: the set has no such split, or its files cannot be read in full.
    """
    if (whole := split.partition("[")[0]) not in builder.info.splits:
        what = f"{builder.name!r} in {builder.data_path} was prepared without the {whole} split"
        raise _missing(builder.name, what, _home(builder))
    try:
        source = builder.as_data_source(split=split, **options)
        return source.__getitems__(list(range(len(source)))[:at_most])
    except Exception as error:  # array_record raises by the kind of damage: RuntimeError, ValueError, IndexError
        what = f"{builder.name!r} cannot be read in {builder.data_path}, split {split}: {error}"
        raise _missing(builder.name, what, _home(builder)) from error


def digests(builder) -> dict[str, str]:
    """The SHA-256 of the files that the set was made from, by name; {} where they are not known."""
    return dict((builder.info.metadata or {}).get("sha256", {}))


def describe(builder, counts: dict[str, int]) -> dict:
    """For the run's record: the set, its version, what was counted, and its sources' SHA-256 where known."""
    metadata = builder.info.metadata or {}
    return {
        "source": builder.info.full_name,
        "generated": False,
        "counts": counts,
        "sha256": dict(metadata.get("sha256", {})),
    }


def _home(builder) -> Path:
    """The folder of prepared sets that a set lies in."""
    return next(path.parent for path in Path(builder.data_path).parents if path.name == builder.name)


def _instead(folder: Path) -> str:
    """What is there where a set was looked for."""
    if not folder.is_dir():
        return ", which is a file" if folder.exists() else ", which does not exist"
    held = sorted({path.parents[1].name for path in folder.glob("*/*/dataset_info.json")})
    return f", which holds {', '.join(held)}" if held else ""


def _missing(name: str, what: str, folder: Path) -> MissingData:
    instead = ALTERNATIVE.get(name, "--task.name digits")
    where = "" if folder == data_dir(TaskConfig()) else f" --data-dir {shlex.quote(str(folder))}"
    published, command = "", f"KIND --from FILES --name {name}{where} (prepare --help has the kinds)"
    if name in ORIGINALS:
        published, command = f"\n  its original files: {ORIGINALS[name].address}", f"{name} --from FOLDER{where}"
    return MissingData(
        f"{what}{published}"
        f"\n  to prepare it from them: python run.py prepare {command}"
        f"\n  to train on data that need no file: {instead}",
        of_run=f"{what}{published}\n  to prepare it again: python run.py prepare {command}",
    )
