"""run.html: the curves of one run and what it ran on, in one file that needs no network."""

import html
import io
import json
from pathlib import Path

from transformer_jax.train.log import read_metrics


def write(folder: Path) -> Path:
    """Draws the folder's metrics.jsonl; returns the page, replaced whole or not at all."""
    rows = [row for row in read_metrics(folder / "metrics.jsonl") if "split" in row]
    names = list(dict.fromkeys(k for row in rows for k in row if k not in ("step", "split", "lane")))
    launches = (folder / "launches.jsonl").read_text()
    sections = [f"<h2>{html.escape(name)}</h2>{_curve(rows, name)}" for name in names]
    last = [row for row in rows if row["split"] == "validation"]
    said = [f"<p>Last validation: <code>{html.escape(json.dumps(row))}</code></p>" for row in last[-1:]]
    config = html.escape((folder / "config.json").read_text())
    text = (
        f"<!doctype html><meta charset=utf-8><title>{html.escape(folder.name)}</title>"
        "<style>body{font:16px system-ui;max-width:50em;margin:2em auto}svg{max-width:100%}pre{overflow:auto}"
        f"</style><h1>{html.escape(folder.name)}</h1>{''.join(said)}{''.join(sections)}"
        f"<h2>Config</h2><pre>{config}</pre><h2>Launches</h2><pre>{html.escape(launches)}</pre>\n"
    )
    path, part = folder / "run.html", folder / "run.html.part"
    part.write_text(text)
    part.rename(path)
    return path


def _curve(rows: list[dict], name: str) -> str:
    """One figure as SVG: a line for every split and lane that has the metric."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.subplots()
    for split, lane in dict.fromkeys((row["split"], row["lane"]) for row in rows if name in row):
        mine = [row for row in rows if (row["split"], row["lane"]) == (split, lane) and row.get(name) is not None]
        label = split if lane == 0 else f"{split}, lane {lane}"
        marker = "." if split == "validation" else None
        axes.plot([row["step"] for row in mine], [row[name] for row in mine], label=label, marker=marker)
    axes.set_xlabel("step")
    axes.legend()
    axes.grid(alpha=0.3)
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue().partition("<svg")[1] + text.getvalue().partition("<svg")[2]
