"""1,797 real handwritten digits of 8x8 pixels that come with scikit-learn: nothing to download."""

import hashlib
from collections.abc import Iterator

import numpy as np

from transformer_jax.config import Config, TaskConfig
from transformer_jax.tasks import images, stream
from transformer_jax.tasks.task import Batch, Task, check_split

SHARES = {"test": 0.2, "validation": 0.1}  # of each class; the rest trains


def build(config: Config) -> Task:
    """Digits as images (8, 8, 1), or as a sequence of patches where `task.patch_size` is set; ten classes."""
    task = config.task
    splits, source = _load(task)

    def batch(seed: int, step: int) -> Batch:
        """The rows of one step: epoch after epoch, each a permutation drawn from (seed, epoch)."""
        inputs, labels = splits["train"]
        epochs, places = np.divmod(np.arange(task.batch_size) + step * task.batch_size, len(labels))
        orders = {
            e: np.random.default_rng((seed, e)).permutation(len(labels)) for e in np.unique(epochs).tolist()
        }
        return _batch(
            inputs, labels, np.array([orders[e][p] for e, p in zip(epochs.tolist(), places, strict=True)])
        )

    def evaluate(split: str) -> Iterator[Batch]:
        check_split(task.name, split)
        inputs, labels = splits[split]
        rows = stream.process_rows()
        for start in range(0, len(labels), task.batch_size):
            found = _batch(inputs, labels, np.arange(start, min(start + task.batch_size, len(labels))))
            yield stream.take_rows(stream.pad_batch(found, task.batch_size), rows)

    return Task(
        name=task.name,
        kind="classification",
        vocab_size=None,
        num_classes=10,
        input_shape=splits["train"][0].shape[1:],
        dtype=np.float32,
        train=lambda seed: stream.steps(batch, seed, task.workers),
        evaluate=evaluate,
        describe=lambda: source,
    )


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


def _load(task: TaskConfig):
    from sklearn.datasets import load_digits  # takes a second, which other tasks need not pay

    raw = load_digits()
    pixels = raw.images[..., None].astype(np.uint8)
    labels = raw.target.astype(np.int32)
    indices = split_by_content(pixels, labels)
    mean, std = images.statistics(pixels[indices["train"]])
    inputs = images.standardise(pixels, mean, std)
    if task.patch_size is not None:
        inputs = images.patches(inputs, task.patch_size)
    splits = {name: (inputs[found], labels[found]) for name, found in indices.items()}
    source = {
        "source": "scikit-learn load_digits (UCI Optical Recognition of Handwritten Digits, CC BY 4.0)",
        "generated": False,
        "counts": {name: len(found) for name, found in indices.items()},
        "sha256": {"pixels and labels": hashlib.sha256(pixels.tobytes() + labels.tobytes()).hexdigest()},
    }
    return splits, source


def _batch(inputs: np.ndarray, labels: np.ndarray, chosen: np.ndarray) -> Batch:
    return {"inputs": inputs[chosen], "targets": labels[chosen], "weights": np.ones(len(chosen), np.float32)}
