"""What the image tasks share: one decoded copy, scaled by training statistics, cut into patches."""

import hashlib
import math
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import numpy as np

from transformer_jax.config import Config, ConfigError, Shape, TaskConfig
from transformer_jax.tasks import objectives, stream
from transformer_jax.tasks.task import Batch, Outline, Task, check_split

FITTED_ON = 5_000  # training images that give the statistics: three digits of the mean without decoding a whole set

Load = Callable[[str, int | None], tuple[np.ndarray, np.ndarray]]
"""(split, at most this many) -> uint8 pixels (N, H, W, C) and int32 labels (N,)."""


def build(config: Config, load: Load, num_classes: int, describe: Callable[[], dict[str, Any]]) -> Task:
    """The task around a set's `load`, which is called for a split at its first use: never for an unused test split.

    Decoding 128 images of MNIST takes 37 ms, more than a small model's step: they are decoded once and kept as bytes.

    Raises:
      ConfigError: no patches, or such as do not divide the images.
    """
    task, load_once = config.task, cache(partial(_padded, load, config.task.pad))
    pixels, _ = _padded(load, task.pad, "train", FITTED_ON)
    if reason := refusal(task, *pixels.shape[1:3]):
        raise ConfigError(reason)
    mean, std = statistics(pixels) if task.pixels == "standardised" else (np.float32(0), np.float32(pixels.max()))
    sides = patch_sides(task, pixels.shape[2])
    order = reading_order(math.prod(pixels.shape[1:3]) // math.prod(sides), task.permute_patches)

    def as_inputs(pixels: np.ndarray) -> np.ndarray:
        return patches(standardise(pixels, mean, std), *sides)[..., order, :]

    def gather(pixels: np.ndarray, labels: np.ndarray, chosen: np.ndarray) -> Batch:
        weights = np.ones(len(chosen), np.float32)
        return {"inputs": as_inputs(pixels[chosen]), "targets": labels[chosen], "weights": weights}

    def train(seed: int) -> Iterator[Batch]:
        pixels, labels = load_once("train", None)
        return stream.shuffled(len(labels), partial(gather, pixels, labels), task.batch_size, seed, task.workers)

    def evaluate(split: str) -> Iterator[Batch]:
        check_split(task.name, split)
        pixels, labels = load_once(split, None)
        return stream.one_pass(len(labels), partial(gather, pixels, labels), task.batch_size)

    count, width = as_inputs(pixels[:1]).shape[1:]
    return Task(
        name=task.name,
        shape=Shape(count, num_classes, input_dim=width, pooled=True),
        objective=objectives.cross_entropy(config.train.label_smoothing),
        train=train,
        evaluate=evaluate,
        describe=describe,
    )


def _padded(load: Load, pad: int, split: str, at_most: int | None) -> tuple[np.ndarray, np.ndarray]:
    """What `load` gives, with so many black pixels on each side of an image."""
    pixels, labels = load(split, at_most)
    return np.pad(pixels, ((0, 0), (pad, pad), (pad, pad), (0, 0))) if pad else pixels, labels


def refusal(task: TaskConfig, height: int, width: int) -> str | None:
    """Why images of that size cannot be cut into the config's patches; None: they can."""
    side, rows = task.patch_size, task.patch_rows
    if side is None and rows is None:
        return (
            f"task {task.name} has images of {height}x{width}, and a model reads them as a sequence of patches:"
            f" set task.patch_size, to {_fitting(height, width)} for example, or task.patch_rows=1 for whole rows"
        )
    if rows is not None:
        return None if height % rows == 0 else f"task.patch_rows={rows} does not divide images of {height} rows"
    return (
        f"task.patch_size={side} does not divide images of {height}x{width}" if height % side or width % side else None
    )


def patch_sides(task: TaskConfig, width: int) -> tuple[int, int]:
    """(height, width) of the config's patches in images of that width."""
    return (task.patch_size, task.patch_size) if task.patch_rows is None else (task.patch_rows, width)


def outline(config: Config, height: int, width: int) -> Outline:
    """Of a task of such images, of one channel; where they cannot be cut, the shape is that of an example.

    height, width: before they are padded.
    """
    height, width = (length + 2 * config.task.pad for length in (height, width))
    reason = refusal(config.task, height, width)
    side = _fitting(height, width)
    size = math.prod((side, side) if reason else patch_sides(config.task, width))
    shape = Shape(height * width // size, 10, input_dim=size, pooled=True)
    return Outline(shape, problems=(reason,) if reason else ())


def reading_order(count: int, seed: int | None) -> np.ndarray:
    """int64 (count,): which patch is read at each step; None: 0, 1, ... as they stand.

    Patches are ordered by the SHA-256 of "seed/patch", which, unlike a shuffle, depends on no library's generator.
    """
    if seed is None:
        return np.arange(count)
    keys = [hashlib.sha256(f"{seed}/{patch}".encode()).hexdigest() for patch in range(count)]
    return np.argsort(np.array(keys, dtype="U64"), kind="stable")


def _fitting(height: int, width: int) -> int:
    """The largest side of patches that cuts each side of an image into at least four; 1 if none does."""
    common = math.gcd(height, width)
    return next((side for side in range(common // 4, 1, -1) if common % side == 0), 1)


def statistics(images_NxHxWxC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(mean, standard deviation) of each channel, float32 (C,); give it training images only."""
    axes = (0, 1, 2)
    mean_C = images_NxHxWxC.mean(axes, dtype=np.float64)
    std_C = images_NxHxWxC.std(axes, dtype=np.float64)
    return mean_C.astype(np.float32), std_C.astype(np.float32)


def standardise(images_xHxWxC: np.ndarray, mean_C: np.ndarray, std_C: np.ndarray) -> np.ndarray:
    """float32 images of mean 0 and deviation 1 over the training images."""
    return ((images_xHxWxC - mean_C) / std_C).astype(np.float32)


def patches(images_xHxWxC: np.ndarray, height: int, width: int | None = None) -> np.ndarray:
    """(..., H, W, C) to (..., number of patches, height*width*C): the patches row by row, as a sequence.

    height and width are a patch's sides, which divide H and W; None: a square.
    """
    width = height if width is None else width
    *lead, H, W, channels = images_xHxWxC.shape
    grid = images_xHxWxC.reshape(*lead, H // height, height, W // width, width, channels)
    return np.moveaxis(grid, -3, -4).reshape(*lead, -1, height * width * channels)
