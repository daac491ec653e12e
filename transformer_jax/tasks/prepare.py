"""`prepare NAME --from FOLDER`: original local files into the on-disk layout of tensorflow-datasets."""

import contextlib
import hashlib
import io
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from transformer_jax.config import ConfigError, nearest
from transformer_jax.host.folders import FolderError
from transformer_jax.tasks import own, place, raw, sets
from transformer_jax.tasks.originals import ORIGINALS


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
    require_known(name)
    original, folder, data_dir = ORIGINALS[name], Path(folder), Path(data_dir)
    files = (original.archive,) if original.archive and (folder / original.archive).is_file() else original.files
    try:
        own.require_files(folder, files)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}\n  published at {original.address}") from None
    sha256 = {file: _sha256(folder / file) for file in files}
    for file in files:
        size, digest = original.published.get(file, (0, sha256[file]))
        if sha256[file] != digest:
            found = (folder / file).stat().st_size
            differs = f"{found} bytes, not {size}" if found != size else f"SHA-256 {sha256[file]}, not {digest}"
            mine = own.KINDS[original.own].example if original.own else ""
            raise raw.BadSource(
                f"{file} is not the published one: it has {differs}; published at {original.address}"
                + (f"\n  for a file of your own: prepare {original.own} {mine}" if mine else "")
            )
    metadata = {"sha256": sha256, **original.metadata}
    if place.folders(name, data_dir):
        return _same_or_refuse(name, data_dir, metadata)
    splits = {s: counted(name, s, found, original.counts[s]) for s, found in original.read(folder).items()}
    return _write(name, splits, metadata, data_dir)


def require_known(name: str) -> None:
    """Raises ConfigError for a name that is neither a published set's nor a kind of the user's own."""
    if name not in {*ORIGINALS, *own.KINDS}:
        raise ConfigError(f"unknown set {name!r}{nearest(name, [*ORIGINALS, *own.KINDS])}")


def prepare_own(kind: str, name: str, path: str | Path, data_dir: str | Path, **options: str) -> Path:
    """Writes a set of the user's own under a name, as `prepare` does, and returns its folder.

    All files are read and checked before the first byte is written.

    Args:
      kind: a key of own.KINDS.
      path: what `prepare --from` names.
      options: those that the kind needs, and perhaps those that it takes.

    Raises:
      ConfigError: a name that is none, or not free.
      FileNotFoundError, FolderError, sets.MissingData, raw.BadSource: as `prepare`.
    """
    _check_name(name)
    data_dir, found = Path(data_dir), own.KINDS[kind].find(Path(path), **options)
    sha256 = {file: _sha256(found.folder / file) for columns in found.files.values() for file in columns.values()}
    metadata = {"kind": kind, "files": found.files, "sha256": sha256, "split_by": found.split_by, **found.metadata}
    if place.folders(name, data_dir):
        return _same_or_refuse(name, data_dir, metadata)
    splits, counts = found.read()
    splits = {split: counted(name, split, records, counts[split]) for split, records in splits.items()}
    return _write(name, splits, metadata | {"counts": counts}, data_dir)


def _check_name(name: str) -> None:
    if not place.is_name(name):
        raise ConfigError(f"--name {name}: a name is small letters, digits and _, begins with a letter, at most 40")
    from transformer_jax.tasks import registry  # imports JAX and all tasks, which the other sets need not

    if name in {*registry.TASKS, *ORIGINALS, *own.KINDS, "downloads"}:  # the last one is tensorflow-datasets'
        raise ConfigError(f"--name {name} is taken by a task or a set that is built in: choose another name")


def _write(name: str, splits: raw.Splits, metadata: dict, data_dir: Path) -> Path:
    """The set on disk, whole or not at all."""
    from transformer_jax.tasks import builders  # tensorflow-datasets takes half a second to import

    parent = builders.OF_KIND[metadata["kind"]] if "kind" in metadata else builders.parent_of(name)
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
    decides = {key: value for key, value in metadata.items() if key != "split_by"}  # words, which may be put better
    if any(found.get(key) != value for key, value in decides.items()):
        before, now = found.get("sha256", {}), metadata["sha256"]
        changed = [file for file in now if before.get(file, now[file]) != now[file]]
        which = f" ({', '.join(changed)} {'have' if len(changed) > 1 else 'has'} changed)" if changed else ""
        raise FolderError(f"{builder.data_dir} was made from other sources{which}; remove it to prepare it anew")
    return Path(builder.data_dir)


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise raw.BadSource(f"{path} cannot be read: {error.strerror}") from None
