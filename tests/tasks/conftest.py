"""Small made-up originals, and the folder of real ones where the machine has it."""

import gzip
import json
import lzma
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from transformer_jax.config import Config, with_overrides
from transformer_jax.tasks import originals, prepare, vision

REAL = "TRANSFORMER_JAX_RAW_DATA"
"""The environment variable that names a folder of real original files, a folder for each set."""


@pytest.fixture
def real():
    """folder(name) -> the folder of real original files, or a skip."""

    def folder(name: str) -> Path:
        if REAL not in os.environ:
            pytest.skip(f"{REAL} is not set: it names the folder of original files")
        found = Path(os.environ[REAL]) / name
        if not found.is_dir():
            pytest.skip(f"{found} is not there: {REAL} names a folder without this set")
        return found

    return folder


@pytest.fixture
def config_of(tmp_path):
    def make(name: str, **fields) -> Config:
        fields = {"name": name, "data_dir": str(tmp_path / "data"), **fields}
        return with_overrides(Config(), {f"task.{key}": value for key, value in fields.items()})

    return make


@pytest.fixture
def made(tmp_path, monkeypatch):
    """made(name, folder of originals) -> the data folder, with that set prepared."""

    def make(name: str, folder: Path, **counts: int) -> Path:
        original = originals.ORIGINALS[name]
        monkeypatch.setitem(originals.ORIGINALS, name, original._replace(counts=original.counts | counts, published={}))
        prepare.prepare(name, folder, tmp_path / "data")
        return tmp_path / "data"

    return make


TEXT = "".join(f"{n} times {n} is {n * n}, says the clerk.\n" for n in range(100, 160))


@pytest.fixture
def shakespeare_files(tmp_path):
    folder = tmp_path / "text"
    folder.mkdir()
    (folder / "input.txt").write_text(TEXT)
    return folder


def write_idx(path: Path, array: np.ndarray) -> None:
    header = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes()))


@pytest.fixture
def mnist_files(tmp_path, monkeypatch):
    """50 training and 10 test images of noise, cut 40/10/10."""
    folder = tmp_path / "idx"
    folder.mkdir()
    random = np.random.default_rng(0)
    for prefix, count in (("train", 50), ("t10k", 10)):
        write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", random.integers(0, 256, (count, 28, 28), np.uint8))
        write_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", np.arange(count, dtype=np.uint8) % 10)
    monkeypatch.setitem(vision.PARTS, "mnist", ("train[:40]", "train[40:]", "test"))
    return folder


REVIEWS = [f"{'Good' if n % 2 else 'bad'} film<br />number {n}, {'very ' * (n % 7)}long!" for n in range(60)]


@pytest.fixture
def imdb_files(tmp_path):
    """60 training reviews, the last ten a second time."""
    folder = tmp_path / "reviews"
    folder.mkdir()
    texts = REVIEWS + REVIEWS[-10:]
    lines = [json.dumps({"id": i, "rating": 1, "label": i % 2, "text": t}) + "\n" for i, t in enumerate(texts)]
    (folder / "train.jsonl.xz").write_bytes(lzma.compress("".join(lines).encode()))
    return folder


@pytest.fixture
def digests():
    """digests(batches) -> the set of the inputs' bytes, filled-up rows left out."""

    def found(batches) -> set[bytes]:
        return {row.tobytes() for b in batches for row, w in zip(b["inputs"], b["weights"], strict=True) if w}

    return found
