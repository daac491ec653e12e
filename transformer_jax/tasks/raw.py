"""Original files to records: streamed, never unpacked onto the disk, sizes bounded, links refused."""

import gzip
import io
import json
import lzma
import math
import re
import struct
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from transformer_jax.config import ConfigError

Record = tuple[int | str, dict]  # (key, features), as tensorflow-datasets takes them
Splits = dict[str, Iterable[Record]]

CIFAR_CLASSES = "airplane automobile bird cat deer dog frog horse ship truck".split()
MAX_IMAGE_BYTES = 1 << 16
MAX_REVIEW_BYTES = 1 << 20
IMDB_ARCHIVE = "aclImdb_v1.tar.gz"
MAX_IMDB_BYTES = 1 << 26  # of a file in it: besides the reviews it has counts of their words


class BadSource(ConfigError):
    """An original file that is not what it should be: hostile, cut short, or of another form."""


def shakespeare(folder: Path) -> Splits:
    """input.txt, cut 90/5/5 as the catalogue does."""
    text = (folder / "input.txt").read_text(encoding="utf-8")
    train = int(len(text) * 0.9)
    validation = train + int((len(text) - train) * 0.5)
    parts = {"train": text[:train], "validation": text[train:validation], "test": text[validation:]}
    return {name: [(name, {"text": part})] for name, part in parts.items()}


def mnist(folder: Path) -> Splits:
    """The four IDX files, gzipped."""
    return {
        split: _mnist_split(folder / f"{prefix}-images-idx3-ubyte.gz", folder / f"{prefix}-labels-idx1-ubyte.gz")
        for split, prefix in (("train", "train"), ("test", "t10k"))
    }


def imdb(folder: Path) -> Splits:
    """aclImdb_v1.tar.gz: aclImdb/train/pos/ID_RATING.txt; or else, of the reviews that train alone, train.jsonl.xz: one
    {"id", "rating", "label", "text"} a line."""
    if (folder / IMDB_ARCHIVE).is_file():
        return {split: _archived_reviews(folder / IMDB_ARCHIVE, split) for split in ("train", "test")}
    return {"train": _reviews(folder / "train.jsonl.xz")}


def cifar10(folder: Path) -> Splits:
    """cifar-10-binary.tar.gz: records of one label byte and 3,072 pixel bytes, channels first."""
    batches = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}
    return {split: _cifar_binary(folder / "cifar-10-binary.tar.gz", names, split) for split, names in batches.items()}


def cifar10_jpg_small(folder: Path) -> Splits:
    """cifar10_jpg_small.tar.xz: train/CLASS/NUMBER.jpg."""
    return {"train": _jpegs(folder / "cifar10_jpg_small.tar.xz")}


def idx(path: Path) -> np.ndarray:
    """The uint8 array of one gzipped IDX file (LeCun's format: magic, big-endian sizes, bytes).

    Raises:
      BadSource: another format, or not as many bytes as the header says.
    """
    try:
        with gzip.open(path) as file:
            zero, kind, rank = struct.unpack(">HBB", file.read(4))
            if zero != 0 or kind != 8 or not 1 <= rank <= 4:
                raise BadSource(f"{path.name} is not an IDX file of bytes")
            shape = struct.unpack(f">{rank}I", file.read(4 * rank))
            size = math.prod(shape)
            if size > 1 << 30:
                raise BadSource(f"{path.name} claims {size} bytes")
            data = file.read(size + 1)
    except BadSource:
        raise
    except (EOFError, OSError, struct.error) as error:
        raise BadSource(f"{path.name} is cut short or damaged: {error}") from error
    if len(data) != size:
        raise BadSource(f"{path.name} does not hold the {size} bytes that its header names")
    return np.frombuffer(data, np.uint8).reshape(shape)


def members(path: Path, max_bytes: int) -> Iterator[tuple[str, bytes]]:
    """(name, content) of a tar archive's regular files, in the archive's order, nothing written to disk.

    Raises:
      BadSource: a link or device, a path that leaves the folder, a member above max_bytes, a damaged archive.
    """
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                if name.is_absolute() or ".." in name.parts or "\\" in member.name:
                    raise BadSource(f"{path.name}: the path {member.name!r} leaves its folder")
                if member.isdir():
                    continue
                if not member.isreg():
                    raise BadSource(f"{path.name}: {member.name!r} is neither a file nor a folder")
                if member.size > max_bytes:
                    raise BadSource(f"{path.name}: {member.name!r} has {member.size} bytes, more than {max_bytes}")
                yield str(name), archive.extractfile(member).read()
    except BadSource:
        raise
    except (tarfile.TarError, lzma.LZMAError, EOFError, OSError) as error:
        raise BadSource(f"{path.name} is cut short or damaged: {error}") from error


def png(image_HxWxC: np.ndarray) -> io.BytesIO:
    """The image as PNG (tensorflow-datasets itself encodes arrays with TensorFlow only)."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image_HxWxC.squeeze(-1) if image_HxWxC.shape[-1] == 1 else image_HxWxC).save(file, "png")
    file.seek(0)
    return file


def _mnist_split(images: Path, labels: Path) -> Iterator[Record]:
    pixels, digits = idx(images), idx(labels)
    if pixels.shape[1:] != (28, 28) or digits.shape != pixels.shape[:1]:
        raise BadSource(f"{images.name} and {labels.name} do not fit: {pixels.shape} and {digits.shape}")
    for i, (image, label) in enumerate(zip(pixels, digits.tolist(), strict=True)):
        yield i, {"image": png(image[..., None]), "label": label}


def _reviews(path: Path) -> Iterator[Record]:
    try:
        with lzma.open(path) as file:
            while line := file.readline(MAX_REVIEW_BYTES):
                record = json.loads(line)
                name = ("neg", "pos")[record["label"]]
                yield f"{name}/{record['id']}_{record['rating']}", {"text": record["text"], "label": name}
    except (lzma.LZMAError, EOFError, ValueError, KeyError, IndexError, TypeError) as error:
        raise BadSource(f"{path.name} is cut short, damaged or of another form: {error!r}") from error


def _archived_reviews(path: Path, split: str) -> Iterator[Record]:
    for name, content in members(path, MAX_IMDB_BYTES):
        if not (found := re.fullmatch(rf"aclImdb/{split}/((neg|pos)/\d+_\d+)\.txt", name)):
            continue
        try:
            yield found[1], {"text": content.decode(), "label": found[2]}
        except UnicodeDecodeError as error:
            raise BadSource(f"{path.name}: {name} is not UTF-8: {error}") from error


def _cifar_binary(path: Path, names: list[str], split: str) -> Iterator[Record]:
    index = 0
    for name, content in members(path, 10_000 * 3073):
        if PurePosixPath(name).name not in names:
            continue
        if len(content) % 3073:
            raise BadSource(f"{path.name}: {name} is not made of records of 3,073 bytes")
        for row in np.frombuffer(content, np.uint8).reshape(-1, 3073):
            image = row[1:].reshape(3, 32, 32).transpose(1, 2, 0)
            features = {"id": f"{split}_{index:05d}", "image": png(image), "label": int(row[0])}
            yield index, features
            index += 1


def _jpegs(path: Path) -> Iterator[Record]:
    from PIL import Image, UnidentifiedImageError

    for name, content in members(path, MAX_IMAGE_BYTES):
        parts = PurePosixPath(name).with_suffix("").parts
        if len(parts) != 3 or parts[1] not in CIFAR_CLASSES:
            raise BadSource(f"{path.name}: {name!r} is not of the form train/CLASS/NUMBER.jpg")
        _, label, number = parts
        try:
            image = Image.open(io.BytesIO(content), formats=["JPEG"])
            pixels = np.asarray(image.convert("RGB")) if image.size == (32, 32) else None
        except (UnidentifiedImageError, OSError) as error:
            raise BadSource(f"{path.name}: {name} is not a whole JPEG image: {error}") from error
        if pixels is None:
            raise BadSource(f"{path.name}: {name} is not of 32x32 pixels")
        yield name, {"id": f"{label}_{number}", "image": png(pixels), "label": label}
