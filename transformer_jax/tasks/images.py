"""What the image tasks share: one decoded copy, standardised by training statistics, cut into patches."""

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
      ConfigError: no patch_size, or one that does not divide the images.
    """
    task, load_once = config.task, cache(load)
    pixels, _ = load("train", FITTED_ON)
    if reason := refusal(task, *pixels.shape[1:3]):
        raise ConfigError(reason)
    mean, std = statistics(pixels)

    def as_inputs(pixels: np.ndarray) -> np.ndarray:
        return patches(standardise(pixels, mean, std), task.patch_size)

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


def refusal(task: TaskConfig, height: int, width: int) -> str | None:
    """Why images of that size cannot be cut into the config's patches; None: they can."""
    side = task.patch_size
    if side is None:
        return (
            f"task {task.name} has images of {height}x{width}, and a model reads them as a sequence of square patches:"
            f" set task.patch_size, to {_fitting(height, width)} for example"
        )
    return (
        f"task.patch_size={side} does not divide images of {height}x{width}" if height % side or width % side else None
    )


def outline(config: Config, height: int, width: int) -> Outline:
    """Of a task of such images, of one channel; where they cannot be cut, the shape is that of an example."""
    reason = refusal(config.task, height, width)
    side = _fitting(height, width) if reason else config.task.patch_size
    shape = Shape(height * width // side**2, 10, input_dim=side**2, pooled=True)
    return Outline(shape, problems=(reason,) if reason else ())


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


def patches(images_xHxWxC: np.ndarray, side: int) -> np.ndarray:
    """(..., H, W, C) to (..., H*W/side^2, side*side*C): the patches row by row, as a sequence; side divides both."""
    *lead, height, width, channels = images_xHxWxC.shape
    grid = images_xHxWxC.reshape(*lead, height // side, side, width // side, side, channels)
    return np.moveaxis(grid, -3, -4).reshape(*lead, -1, side * side * channels)
