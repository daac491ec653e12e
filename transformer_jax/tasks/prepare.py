"""`prepare NAME --from FOLDER`: original local files into the on-disk layout of tensorflow-datasets."""

import contextlib
import hashlib
import io
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from transformer_jax.config import ConfigError, nearest
from transformer_jax.tasks import raw, sets

HELD = 8  # names of what a folder holds, in a message


def prepare(name: str, folder: str | Path, data_dir: str | Path) -> Path:
    """Writes the set once, whole or not at all, and returns its folder.

    tensorflow-datasets writes beside the goal and renames; what a killed call left is removed. The set's
    metadata.json records the SHA-256 of every source; a set made from the same sources is left as it is.

    Raises:
      ConfigError: an unknown name.
      FileNotFoundError: files that are missing in the folder; the message has their address.
      FileExistsError: the set is already there, made from other sources.
      sets.MissingData: the set is already there, but incomplete.
      raw.BadSource: damaged, hostile or incomplete sources.
    """
    if name not in raw.ORIGINALS:
        raise ConfigError(f"unknown set {name!r}{nearest(name, raw.ORIGINALS)}")
    original, folder, data_dir = raw.ORIGINALS[name], Path(folder), Path(data_dir)
    if any(not (folder / file).is_file() for file in original.files):
        raise FileNotFoundError(f"{_lacking(folder, original.files)}\n  published at {original.address}")
    present = [file for file in original.files + original.optional if (folder / file).is_file()]
    sha256 = {file: _sha256(folder / file) for file in present}
    for file, (size, digest) in original.published.items():
        if sha256[file] != digest:
            found = (folder / file).stat().st_size
            differs = f"{found} bytes, not {size}" if found != size else f"SHA-256 {sha256[file]}, not {digest}"
            raise raw.BadSource(f"{file} is not the published one: it has {differs}; published at {original.address}")
    if sets.folders(name, data_dir):
        return _same_or_refuse(name, data_dir, sha256)
    splits = {s: counted(name, s, found, original.counts[s]) for s, found in original.read(folder).items()}

    from transformer_jax.tasks import builders  # tensorflow-datasets takes half a second to import

    builder = builders.from_splits(name, splits, sha256)(data_dir=data_dir, file_format="array_record")
    goal = Path(builder.data_dir)
    if goal.exists():
        raise FileExistsError(f"{goal} is there, but is no set; remove it to prepare the set")
    for left in goal.parent.glob("incomplete.*"):
        shutil.rmtree(left)
    builders.tfds.disable_progress_bar()  # it draws a hundred bars for a set of one file
    with contextlib.redirect_stdout(io.StringIO()):  # it prints that it downloads
        builder.download_and_prepare()
    return goal


def _lacking(folder: Path, files: Sequence[str]) -> str:
    """What was expected in a folder, what is there instead, and the folder nearby that has it all."""

    def whole(place: Path) -> bool:
        return all((place / file).is_file() for file in files)

    if not folder.is_dir():
        text = f"{folder} {'is a file' if folder.exists() else 'does not exist'}: name a folder with {', '.join(files)}"
    else:
        inside = sorted(path.name for path in folder.iterdir())
        more = f" and {len(inside) - HELD} more" if len(inside) > HELD else ""
        missing = [file for file in files if not (folder / file).is_file()]
        text = f"{folder} lacks {', '.join(missing)}; it holds {', '.join(inside[:HELD]) or 'nothing'}{more}"
    near = [folder.parent, *(sorted(filter(Path.is_dir, folder.iterdir())) if folder.is_dir() else ())]
    return text + next((f"; did you mean {place}?" for place in near if whole(place)), "")


def counted(name: str, split: str, records: Iterable[raw.Record], expected: int) -> Iterator[raw.Record]:
    """The records, and BadSource at their end if there were not as many as the set has."""
    number = 0
    for record in records:
        number += 1
        yield record
    if number != expected:
        raise raw.BadSource(f"{name}: the {split} split has {number} examples in these files; it must have {expected}")


def _same_or_refuse(name: str, data_dir: Path, sha256: dict[str, str]) -> Path:
    builder = sets.open_set(name, data_dir)
    if sets.describe(builder, {})["sha256"] != sha256:
        raise FileExistsError(f"{builder.data_dir} was made from other sources; remove it to prepare it anew")
    return Path(builder.data_dir)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
