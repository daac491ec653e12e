"""Ten shapes somewhere in a noisy series of 40 numbers, after MNIST-1D."""

from functools import partial

import numpy as np

from transformer_jax.config import Shape, TaskConfig
from transformer_jax.tasks import generated
from transformer_jax.tasks.task import Batch

LENGTH, POINTS = 40, 12
WIDTHS = (8, 14)
"""Steps that a shape takes, the fewest and the most."""
SCALES = (0.6, 1.4)
SLOPE, NOISE, SMOOTHNESS = 0.5, 0.25, 2.0
"""Standard deviations: of the rise over the whole series, of the noise, and of the kernel that smooths it, in steps."""
_x = np.linspace(0, 1, POINTS)
TEMPLATES = np.stack(
    [
        np.sin(np.pi * _x), np.sin(2 * np.pi * _x), np.sin(3 * np.pi * _x), np.sin(4 * np.pi * _x),  # half waves
        _x, 1 - _x, np.abs(2 * _x - 1), 1 - 2 * np.abs(2 * _x - 1),  # ramps, a valley, a peak between two others
        np.sign(0.5 - _x), np.where(np.abs(2 * _x - 1) > 0.5, 1.0, 0.0),  # a step, two blocks
    ]
)  # fmt: skip
"""(10, POINTS), a shape for each class."""


def shapes_1d(random: np.random.Generator, config: TaskConfig) -> Batch:
    """Ten shapes of 12 points somewhere in a noisy series of 40 numbers, after MNIST-1D (arXiv:2011.14439).

    As in Greydanus & Kobak 2020, a template is padded, stretched, shifted and scaled, a line and correlated noise are
    added, and which of the ten it was is asked of the whole series. The templates are others, so that accuracies are
    not those of MNIST-1D. Guessing gives 1/10. No two rows are alike, as their noise is drawn anew for every step of
    every split.
    """
    size, steps_T = config.batch_size, np.arange(LENGTH)
    labels_B = random.integers(0, len(TEMPLATES), size)
    width_Bx1 = random.uniform(*WIDTHS, (size, 1))
    start_Bx1 = random.uniform(0, LENGTH - 1 - width_Bx1)
    # where a step lies on the template, which a zero precedes and follows
    at_BxT = np.clip((steps_T - start_Bx1) / width_Bx1 * (POINTS - 1) + 1, 0, POINTS + 0.999)
    point_BxT = at_BxT.astype(int)
    padded, rest_BxT = np.pad(TEMPLATES, ((0, 0), (1, 1))), at_BxT - point_BxT
    low_BxT, high_BxT = (padded[labels_B[:, None], point_BxT + i] for i in (0, 1))
    shape_BxT = random.uniform(*SCALES, (size, 1)) * (low_BxT + rest_BxT * (high_BxT - low_BxT))
    line_BxT = SLOPE * random.standard_normal((size, 1)) * np.linspace(-0.5, 0.5, LENGTH)
    series_BxT = shape_BxT + line_BxT + _noise(random, size)
    weights_B = np.ones(size, np.float32)
    return {
        "inputs": series_BxT[..., None].astype(np.float32),
        "targets": labels_B.astype(np.int32),
        "weights": weights_B,
    }


def _noise(random: np.random.Generator, rows: int) -> np.ndarray:
    """(rows, LENGTH): white noise smoothed by a Gaussian, of deviation NOISE at every step."""
    reach = round(3 * SMOOTHNESS)
    apart = np.arange(LENGTH + 2 * reach)[:, None] - reach - np.arange(LENGTH)
    kernel = np.exp(-0.5 * (apart / SMOOTHNESS) ** 2)
    return NOISE * random.standard_normal((rows, len(kernel))) @ (kernel / np.sqrt((kernel**2).sum(0)))


def _shape(task: TaskConfig) -> Shape:
    return Shape(LENGTH, outputs=len(TEMPLATES), input_dim=1, pooled=True)


KIND = generated.Kind(shapes_1d, sizes=(), shape=_shape)
build = partial(generated.build, KIND)
