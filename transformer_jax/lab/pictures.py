"""Pictures of what stands inside a model: positions, and what a trained one makes of a text.

L positions or tokens, D d_model, N layers, H heads.
"""

from collections.abc import Sequence

import numpy as np

from transformer_jax.lab import alignments
from transformer_jax.ops.positions import sinusoidal
from transformer_jax.report.plots import LOOKS, Figure, whole


def positions(d_model: int, length: int) -> list[Figure]:
    """The sinusoidal table (Vaswani et al. 2017, section 3.5), its wavelengths, and how alike two positions are."""
    table_LxD = np.asarray(sinusoidal(np.arange(length), d_model))

    def draw_table(canvas):
        one = canvas.subplots()
        image = one.imshow(table_LxD, cmap="coolwarm", vmin=-1, vmax=1, aspect="auto", interpolation="nearest")
        one.grid(False)
        one.set(title=f"Sinusoidal positions, d_model {d_model}", xlabel="Embedding Dimension", ylabel="Position")
        whole(one.xaxis, one.yaxis)
        canvas.colorbar(image, ax=one, pad=0.01)

    def draw_wavelengths(canvas):
        one, pairs = canvas.subplots(), np.arange(0, d_model, 2)
        one.plot(pairs, wavelengths(d_model), color=LOOKS[0][0])
        one.axhline(length, color=LOOKS[1][0], linestyle="--", label=f"{length} positions")
        one.set(xlabel="Embedding Dimension", ylabel="wavelength (positions)", yscale="log")
        whole(one.xaxis)
        one.legend()

    return [
        Figure("positions", f"Sinusoidal positions, d_model {d_model}", "", draw_table, (10, 5)),
        Figure("wavelengths", "After how many positions each dimension repeats", "", draw_wavelengths),
        _alike("positions_alike", {"sinusoidal": table_LxD}, "position"),
    ]


def wavelengths(d_model: int, base: float = 10000.0) -> np.ndarray:
    """After how many positions the pair of dimensions (2i, 2i + 1) repeats: 2 pi base**(2i / D), one for each pair."""
    return 2 * np.pi * base ** (np.arange(0, d_model, 2) / d_model)


def learned(table_LxD: np.ndarray) -> Figure:
    """How alike a model's learned positions are, beside sinusoidal ones of the same size: neighbours are, if it learned
    that order matters."""
    length, d_model = table_LxD.shape
    tables = {"learned": table_LxD, "sinusoidal": np.asarray(sinusoidal(np.arange(length), d_model))}
    return _alike("learned_alike", tables, "position")


def attention(weights_NxHxLxL: np.ndarray, tokens: Sequence[str]) -> Figure:
    """What each token of one text looks at, by layer and head."""
    title = "What each token looks at"
    return alignments.figure(weights_NxHxLxL, tokens, tokens, "attention", title, ("looked at", "looks"))


def vectors(vectors_NxLxD: np.ndarray, tokens: Sequence[str]) -> Figure:
    """How alike the tokens' vectors are before the first block, where each stands for itself, and after the last."""
    caption = "Before the first block a vector holds a token and its place; after the last also what stands around it."
    tables = {"before the first block": vectors_NxLxD[0], f"after block {len(vectors_NxLxD) - 1}": vectors_NxLxD[-1]}
    return _alike("vectors", tables, "", tokens, caption)


def cosines(rows_LxD: np.ndarray) -> np.ndarray:
    """(L, L): the cosine between any two rows; 0 where one of them is zeros."""
    lengths_L = np.linalg.norm(rows_LxD, axis=-1, keepdims=True)
    unit_LxD = rows_LxD / np.where(lengths_L > 0, lengths_L, 1)
    return unit_LxD @ unit_LxD.T


def _alike(
    name: str, tables: dict[str, np.ndarray], what: str, tokens: Sequence[str] = (), caption: str = ""
) -> Figure:
    """The cosines between the rows of each table, one panel each."""

    def draw(canvas):
        canvas.set_layout_engine("compressed")  # "constrained" leaves the titles of square panels no room
        panels = canvas.subplots(1, len(tables), squeeze=False)[0]
        for one, (title, rows_LxD) in zip(panels, tables.items(), strict=True):
            image = one.imshow(cosines(rows_LxD), cmap="coolwarm", vmin=-1, vmax=1, interpolation="nearest")
            one.grid(False)
            one.set(title=title, xlabel=what, ylabel=what)
            if tokens:
                one.set_xticks(range(len(tokens)), alignments.labels(tokens), rotation=90)
                one.set_yticks(range(len(tokens)), alignments.labels(tokens))
            else:
                whole(one.xaxis, one.yaxis)
        canvas.colorbar(image, ax=list(panels), label="cosine", pad=0.01)

    return Figure(name, f"How alike {'tokens' if tokens else 'positions'} are", caption, draw, (5.2 * len(tables), 4.6))
