"""`prepare NAME --from FOLDER`: original local files into the on-disk layout of tensorflow-datasets."""

import contextlib
import difflib
import hashlib
import io
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from transformer_jax.config import ConfigError, nearest
from transformer_jax.host.folders import FolderError
from transformer_jax.tasks import raw, sentences, sets
from transformer_jax.tasks.originals import ORIGINALS

HELD = 8  # names of what a folder holds, in a message


def prepare(name: str, folder: str | Path, data_dir: str | Path) -> Path:
    """Writes the set once, whole or not at all, and returns its folder.

    tensorflow-datasets writes beside the goal and renames; what a killed call left is removed. The set's
    metadata.json records the SHA-256 of every source; a set made from the same sources is left as it is.

    Raises:
      ConfigError: an unknown name.
      FileNotFoundError: files that are missing in the folder; the message has their address.
      FolderError: the set is already there, made from other sources, or cannot be written.
      sets.MissingData: the set is already there, but incomplete.
      raw.BadSource: damaged, hostile or incomplete sources.
    """
    if name not in ORIGINALS:
        raise ConfigError(f"unknown set {name!r}{nearest(name, [*ORIGINALS, sets.PARALLEL])}")
    original, folder, data_dir = ORIGINALS[name], Path(folder), Path(data_dir)
    if any(not (folder / file).is_file() for file in original.files):
        raise FileNotFoundError(f"{_lacking(folder, original.files)}\n  published at {original.address}")
    present = [file for file in original.files + original.optional if (folder / file).is_file()]
    sha256 = {file: _sha256(folder / file) for file in present}
    for file, (size, digest) in original.published.items():
        if sha256[file] != digest:
            found = (folder / file).stat().st_size
            differs = f"{found} bytes, not {size}" if found != size else f"SHA-256 {sha256[file]}, not {digest}"
            raise raw.BadSource(f"{file} is not the published one: it has {differs}; published at {original.address}")
    metadata = {"sha256": sha256}
    if sets.folders(name, data_dir):
        return _same_or_refuse(name, data_dir, metadata)
    splits = {s: counted(name, s, found, original.counts[s]) for s, found in original.read(folder).items()}
    return _write(name, splits, metadata, data_dir)


def prepare_parallel(name: str, folder: str | Path, source: str, target: str, data_dir: str | Path) -> Path:
    """Writes sentence pairs of the user's own as the set `name`, as `prepare` does, and returns its folder.

    Which files become which split: `sentences.of_splits`, `sentences.parallel`. All of them are read and checked
    before the first byte is written.

    Args:
      source, target: files in the folder, line i of one meaning what line i of the other does.

    Raises:
      ConfigError: a name that is none, or not free.
      FileNotFoundError, FolderError, sets.MissingData, raw.BadSource: as `prepare`.
    """
    _check_name(name)
    folder, data_dir = Path(folder), Path(data_dir)
    if any(not (folder / file).is_file() for file in (source, target)):
        raise FileNotFoundError(_lacking(folder, (source, target)))
    files = sentences.of_splits(folder, source, target)
    sha256 = {file: _sha256(folder / file) for pair in files.values() for file in pair.values()}
    metadata = {"kind": sets.PARALLEL, "files": files, "sha256": sha256}
    if sets.folders(name, data_dir):
        return _same_or_refuse(name, data_dir, metadata)
    splits, counts = sentences.parallel(folder, files)
    splits = {split: counted(name, split, found, counts[split]) for split, found in splits.items()}
    return _write(name, splits, metadata | {"counts": counts}, data_dir)


def _check_name(name: str) -> None:
    if not sets.is_name(name):
        raise ConfigError(f"--name {name}: a name is small letters, digits and _, begins with a letter, at most 40")
    from transformer_jax.tasks import registry  # imports JAX and all tasks, which the other sets need not

    if name in {*registry.TASKS, *ORIGINALS, sets.PARALLEL, "downloads"}:  # the last one is tensorflow-datasets'
        raise ConfigError(f"--name {name} is taken by a task or a set that is built in: choose another name")


def _write(name: str, splits: raw.Splits, metadata: dict, data_dir: Path) -> Path:
    """The set on disk, whole or not at all."""
    from transformer_jax.tasks import builders  # tensorflow-datasets takes half a second to import

    parent = builders.Parallel if metadata.get("kind") == sets.PARALLEL else builders.parent_of(name)
    made = builders.from_splits(name, parent, splits, metadata)
    try:
        builder = made(data_dir=data_dir, file_format="array_record")
        goal = Path(builder.data_dir)
        if goal.exists():
            raise FolderError(f"{goal} is there, but is no set; remove it to prepare the set")
        goal.parent.mkdir(parents=True, exist_ok=True)
        for left in goal.parent.glob("incomplete.*"):
            shutil.rmtree(left)
        builders.tfds.disable_progress_bar()  # it draws a hundred bars for a set of one file
        with contextlib.redirect_stdout(io.StringIO()):  # it prints that it downloads
            builder.download_and_prepare()
    except OSError as error:
        raise FolderError(f"{data_dir} cannot take the set: {error}; choose another --data-dir") from None
    return goal


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
        name for file in missing for name in difflib.get_close_matches(Path(file).name, inside, 1)
    ]
    return text + (f"; did you mean {meant[0]}?" if meant else "")


def counted(name: str, split: str, records: Iterable[raw.Record], expected: int) -> Iterator[raw.Record]:
    """The records, and BadSource at their end if there were not as many as the set has."""
    number = 0
    for record in records:
        number += 1
        yield record
    if number != expected:
        raise raw.BadSource(f"{name}: the {split} split has {number} examples in these files; it must have {expected}")


def _same_or_refuse(name: str, data_dir: Path, metadata: dict) -> Path:
    """The folder of a set that is there already.

    Raises:
      FolderError: it was made from something else.
    """
    builder = sets.open_set(name, data_dir)
    found = builder.info.metadata or {}
    if any(found.get(key) != value for key, value in metadata.items()):
        raise FolderError(f"{builder.data_dir} was made from other sources; remove it to prepare it anew")
    return Path(builder.data_dir)


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise raw.BadSource(f"{path} cannot be read: {error.strerror}") from None
