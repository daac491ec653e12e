"""Image sets on disk: MNIST, CIFAR-10, and a small lossy copy of CIFAR-10's training images."""

import io

import numpy as np

from transformer_jax.config import Config
from transformer_jax.tasks import images, place, sets
from transformer_jax.tasks.task import SPLITS, Task

# Set -> the height and width of its images, and one line for people.
SETS = {
    "mnist": (28, "70,000 handwritten digits of 28x28 pixels (LeCun et al. 1998)."),
    "cifar10": (32, "60,000 colour images of 32x32 pixels, ten classes (Krizhevsky 2009)."),
    "cifar10_jpg_small": (32, "5,000 training images of CIFAR-10 after JPEG compression: not CIFAR-10."),
}
# Set -> what of it trains, validates and tests; the order on disk is a fixed shuffle.
PARTS = {
    "mnist": ("train[:55000]", "train[55000:]", "test"),
    "cifar10": ("train[:45000]", "train[45000:]", "test"),
    "cifar10_jpg_small": ("train[:4000]", "train[4000:4500]", "train[4500:]"),
}


def build(config: Config) -> Task:
    """Images as a sequence of patches (`task.patch_size` or `task.patch_rows`); ten classes.

    Raises:
      ConfigError: no patches, or such as do not divide the images.
      MissingData: the set that `task.name` names is not prepared.
    """
    name, parts = config.task.name, dict(zip(SPLITS, PARTS[config.task.name], strict=True))
    builder = sets.open_set(name, place.data_dir(config.task))

    def load(split: str, at_most: int | None) -> tuple[np.ndarray, np.ndarray]:
        import tensorflow_datasets as tfds

        # Its own decoding of the images takes three times as long.
        undecoded = {"image": tfds.decode.SkipDecoding()}
        found = sets.records(builder, parts[split], at_most, decoders=undecoded)
        pixels = np.stack([_decode(record["image"]) for record in found])
        return pixels, np.array([record["label"] for record in found], np.int32)

    def describe() -> dict:
        counts = {split: builder.info.splits[part].num_examples for split, part in parts.items()}
        return sets.describe(builder, counts)

    return images.build(config, load, num_classes=10, describe=describe)


def _decode(png: bytes) -> np.ndarray:
    from PIL import Image

    pixels = np.asarray(Image.open(io.BytesIO(png)))
    return pixels[..., None] if pixels.ndim == 2 else pixels
