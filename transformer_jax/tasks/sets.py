"""Real sets on disk in the layout of tensorflow-datasets: found, checked for completeness, opened."""

import os
from collections.abc import Sequence
from pathlib import Path

from transformer_jax.config import TaskConfig

# A generated task of the same kind, for who has no copy of the set.
ALTERNATIVE = {
    "tiny_shakespeare": "--task.name associative_recall",
    "imdb_reviews": "--task.name associative_recall",
}


class MissingData(FileNotFoundError):
    """A set that is not there, or only in part; the message says what to run."""


def data_dir(config: TaskConfig) -> Path:
    """The folder of prepared sets: task.data_dir, else $TFDS_DATA_DIR, else ~/.cache/transformer_jax/data."""
    named = config.data_dir or os.environ.get("TFDS_DATA_DIR") or "~/.cache/transformer_jax/data"
    return Path(named).expanduser()


def open_set(name: str, folder: Path):
    """The read-only builder of a prepared set, newest version, after checking that all its files are there.

    Raises:
      MissingData: no such set in the folder, or one whose preparation or copy broke off.
    """
    import tensorflow_datasets as tfds  # takes half a second, which generated tasks need not pay

    found = sorted(path.parent for path in (folder / name).glob("**/dataset_info.json"))
    found = [path for path in found if "incomplete" not in path.name]
    if not found:
        raise MissingData(_how_to_get(name, f"no prepared set {name!r} in {folder}"))
    builder = tfds.builder_from_directory(found[-1])
    for split, info in builder.info.splits.items():
        for path in map(Path, info.filepaths):
            if not path.is_file() or path.stat().st_size == 0:
                raise MissingData(_how_to_get(name, f"{name!r} is incomplete: split {split} lacks {path}"))
    return builder


def open_split(builder, split: str, **options) -> Sequence:
    """One split (or a slice such as 'train[:90%]') as a random-access source of dicts.

    Raises:
      MissingData: its files cannot be read in full.
    """
    if (whole := split.partition("[")[0]) not in builder.info.splits:
        what = f"{builder.name!r} in {builder.data_path} was prepared without the {whole} split"
        raise MissingData(_how_to_get(builder.name, what))
    try:
        source = builder.as_data_source(split=split, **options)
        source[0], source[len(source) - 1]
    except Exception as error:  # array_record raises by the kind of damage: RuntimeError, ValueError, IndexError
        what = f"{builder.name!r} cannot be read in {builder.data_path}, split {split}: {error}"
        raise MissingData(_how_to_get(builder.name, what)) from error
    return source


def _how_to_get(name: str, what: str) -> str:
    instead = ALTERNATIVE.get(name, "--task.name digits")
    return (
        f"{what}\n  to prepare it from its original files: python run.py prepare {name} --from FOLDER"
        f"\n  to train on data that need no file: {instead}"
    )


def describe(builder, counts: dict[str, int]) -> dict:
    """For the run's record: the set, its version, what was counted, and its sources' SHA-256 where known."""
    metadata = builder.info.metadata or {}
    return {
        "source": builder.info.full_name,
        "generated": False,
        "counts": counts,
        "sha256": dict(metadata.get("sha256", {})),
    }
