"""A picture of what each written token looked at: the mean of all heads, then every head of every layer."""

from collections.abc import Sequence
from math import ceil
from pathlib import Path

import numpy as np

from transformer_jax.config import ConfigError
from transformer_jax.host.folders import require_writable, write_whole
from transformer_jax.report.plots import Figure, png

ACROSS = 4
"""Heads beside each other; more stand in further rows."""
TOKEN_INCHES, WIDTH = 0.175, 10.9
BLANKS = str.maketrans({" ": "␣", "\n": "↵", "\t": "⇥"})


def check(path: Path) -> None:
    """Raises ConfigError or FolderError where no picture can be written."""
    if path.suffix.lower() != ".png":
        raise ConfigError(f"--alignment {path}: the picture is a PNG, name a file that ends in .png")
    require_writable(path, "--alignment")


def write(path: Path, weights_NxHxLxS: np.ndarray, source: Sequence[str], target: Sequence[str]) -> Path:
    """Draws weights by layer and head, tokens of the source from left to right, written ones downwards."""
    return write_whole(path, png(figure(weights_NxHxLxS, source, target)))


def figure(
    weights_NxHxLxS: np.ndarray,
    source: Sequence[str],
    target: Sequence[str],
    name: str = "alignment",
    title: str = "What each written token looked at",
    axes: tuple[str, str] = ("source", "written"),
) -> Figure:
    """The picture; rows of `weights` are those who look and sum to 1; axes: what is looked at, and who looks."""
    layers, heads = weights_NxHxLxS.shape[:2]
    source, target = labels(source), labels(target)
    across, below = min(heads, ACROSS), ceil(heads / ACROSS)
    several = layers * heads > 1
    longest = (max(map(len, tokens)) * 0.075 for tokens in (source, target))
    up, left = (0.3 + min(each, 1.5) for each in longest)
    small_width = max(len(source) * 0.11, (WIDTH - left) / ACROSS) if several else 0
    small_height = len(target) * TOKEN_INCHES * 0.75 + up * 0.8 + 0.25
    large_height = len(target) * TOKEN_INCHES * 1.25 + up + 0.6
    width = max(WIDTH, left + small_width * across)
    size = (width, large_height + (layers * below * small_height if several else 0))

    def draw(canvas):
        parts = [large_height] + [small_height] * (layers * below if several else 0)
        grid = canvas.add_gridspec(len(parts), across if several else 1, height_ratios=parts)
        mean = f"mean of {layers} {'layers' if layers > 1 else 'layer'} and {heads} {'heads' if heads > 1 else 'head'}"
        one = canvas.add_subplot(grid[0, :])
        image = _panel(one, weights_NxHxLxS.mean((0, 1)), source, target, 9, f"{mean}; dots: most looked at")
        one.set(xlabel=axes[0], ylabel=axes[1])
        canvas.colorbar(image, ax=one, shrink=0.8, label="attention weight", pad=0.01)
        for layer, head in np.ndindex(*((layers, heads) if several else (0, 0))):
            one = canvas.add_subplot(grid[1 + layer * below + head // across, head % across])
            title = f"layer {layer + 1}, head {head + 1}"
            _panel(one, weights_NxHxLxS[layer, head], source, () if head % across else target, 7, title)

    return Figure(name, title, "", draw, size)


def labels(tokens: Sequence[str]) -> list[str]:
    """What stands for each token at an axis: for one that would leave it blank, a space say, a mark."""
    return [token.translate(BLANKS) if token.isspace() else token for token in tokens]


def _panel(one, weights_LxS, source, target, font: float, title: str):
    image = one.imshow(weights_LxS, cmap="Greys", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    one.grid(False)
    rows = range(len(weights_LxS))
    one.scatter(weights_LxS.argmax(-1), rows, s=font * 1.6, facecolors="white", edgecolors="black", linewidths=0.8)
    one.set_xticks(range(len(source)), source, rotation=90, fontsize=font)
    one.set_yticks(rows if target else (), target or (), fontsize=font)
    one.tick_params(length=0)
    one.spines[:].set_visible(True)
    one.set_title(title)
    return image
