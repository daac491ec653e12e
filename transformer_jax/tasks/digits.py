"""1,797 real handwritten digits of 8x8 pixels that come with scikit-learn: nothing to download."""

import gzip
import hashlib
from importlib import util
from pathlib import Path

import numpy as np

from transformer_jax.config import Config
from transformer_jax.tasks import images
from transformer_jax.tasks.task import Task

SHARES = {"test": 0.2, "validation": 0.1}  # of each class; the rest trains


def build(config: Config) -> Task:
    """Digits of 8x8 pixels as a sequence of patches (`task.patch_size` or `task.patch_rows`); ten classes.

    Raises:
      ConfigError: no patches, or such as do not divide the images.
    """
    pixels, labels = read()
    indices = split_by_content(pixels, labels)

    def load(split: str, at_most: int | None) -> tuple[np.ndarray, np.ndarray]:
        chosen = indices[split][:at_most]
        return pixels[chosen], labels[chosen]

    def describe() -> dict:
        return {
            "source": "scikit-learn load_digits (UCI Optical Recognition of Handwritten Digits, CC BY 4.0)",
            "generated": False,
            "counts": {name: len(found) for name, found in indices.items()},
            "sha256": {"pixels, labels": hashlib.sha256(pixels.tobytes() + labels.tobytes()).hexdigest()},
        }

    return images.build(config, load, num_classes=10, describe=describe)


def read() -> tuple[np.ndarray, np.ndarray]:
    """uint8 pixels (1797, 8, 8, 1) and int32 labels (1797,): those of `sklearn.datasets.load_digits`.

    The file is read where scikit-learn lies: to import it takes longer than all else that a small training imports.

    Raises:
      ModuleNotFoundError: scikit-learn is not installed.
    """
    found = util.find_spec("sklearn")
    if found is None:
        raise ModuleNotFoundError("the task digits reads a file of scikit-learn, which is not installed")
    with gzip.open(Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz", "rt") as file:
        rows_Nx65 = np.loadtxt(file, delimiter=",", dtype=np.int32)
    return rows_Nx65[:, :-1].astype(np.uint8).reshape(-1, 8, 8, 1), rows_Nx65[:, -1]


def split_by_content(images_NxHxWxC: np.ndarray, labels_N: np.ndarray) -> dict[str, np.ndarray]:
    """Split name -> indices: each class ordered by its images' SHA-256, then cut in three.

    Hashes, unlike a shuffle, depend on no library's generator and on no order of the file.
    """
    keys = np.array([hashlib.sha256(image.tobytes()).hexdigest() for image in images_NxHxWxC])
    parts: dict[str, list[np.ndarray]] = {"train": [], "validation": [], "test": []}
    for label in np.unique(labels_N):
        members = np.flatnonzero(labels_N == label)
        members = members[np.argsort(keys[members])]
        first = 0
        for name, share in SHARES.items():
            last = first + round(share * len(members))
            parts[name].append(members[first:last])
            first = last
        parts["train"].append(members[first:])
    return {name: np.sort(np.concatenate(found)) for name, found in parts.items()}
