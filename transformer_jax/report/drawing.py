"""Draws figures to SVG and PNG in one style: no screen, no LaTeX, legible in grey, safe inside a page."""

import io
import re

from transformer_jax.report.content import Figure

# Okabe and Ito's palette, which the common colour-blindnesses keep apart, in an order of falling darkness.
PALETTE = {
    "black": "#000000",
    "blue": "#0072B2",
    "vermilion": "#D55E00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "orange": "#E69F00",
    "sky": "#56B4E9",
}

STYLE = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titley": 1.0,  # a fixed height: looking for a free one costs a fifth of the drawing
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.4,
    "lines.markersize": 5,
    "svg.fonttype": "none",  # text stays text: it can be searched, read aloud and printed sharply
    "text.parse_math": False,  # a name with a dollar in it is a name
}


def render(figure: Figure) -> tuple[str, bytes]:
    """The figure as SVG text and PNG bytes; equal figures give equal bytes."""
    import matplotlib  # here, since listing the experiments should not wait for it
    from matplotlib.figure import Figure as Canvas

    with matplotlib.rc_context(STYLE | {"svg.hashsalt": figure.name}):
        canvas = Canvas(figsize=figure.size)
        figure.draw(canvas)
        svg, png = io.StringIO(), io.BytesIO()
        canvas.savefig(svg, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
        canvas.savefig(png, format="png", dpi=110, metadata={"Software": None})
    return svg.getvalue(), png.getvalue()


def inline(svg: str, name: str, title: str) -> str:
    """An SVG file's text made fit to stand inside an HTML page which holds several of them.

    The prolog and the namespace addresses go (HTML knows them), ids get the figure's name in front, so that
    no two figures share one, and the size is left to the page. `title` must already be escaped.
    """
    svg = svg[svg.index("<svg") :]
    head, body = svg.split(">", 1)
    view = re.search(r'viewBox="[^"]*"', head).group()
    body = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", body)
    return f'<svg {view} role="img" aria-label="{title}">{body}'
