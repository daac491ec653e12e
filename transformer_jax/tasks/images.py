"""What the image tasks share: standardising by training statistics and cutting into patches."""

import numpy as np


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
    """(..., H, W, C) to (..., H*W/side^2, side*side*C): the patches row by row, as a sequence.

    Raises:
      ValueError: side does not divide the height and the width.
    """
    *lead, height, width, channels = images_xHxWxC.shape
    if height % side or width % side:
        raise ValueError(f"task.patch_size={side} does not divide images of {height}x{width}")
    grid = images_xHxWxC.reshape(*lead, height // side, side, width // side, side, channels)
    return np.moveaxis(grid, -3, -4).reshape(*lead, -1, side * side * channels)
