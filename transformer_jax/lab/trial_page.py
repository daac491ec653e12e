"""run.html: the curves of one run and what it ran on, in one file that needs no network."""

import json
from pathlib import Path

from transformer_jax.report import Finding, Report, lines
from transformer_jax.report.page import write_page
from transformer_jax.report.tables import shown
from transformer_jax.train.log import read_metrics

NO_METRIC = ("step", "split", "lane")


def write(folder: Path) -> Path:
    """Draws the folder's metrics.jsonl; returns the page, replaced whole or not at all."""
    rows = [row | {"curve": _curve(row)} for row in read_metrics(folder / "metrics.jsonl") if "split" in row]
    names = list(dict.fromkeys(name for row in rows for name in row if name not in (*NO_METRIC, "curve")))
    last = [row for row in rows if row["split"] == "validation"]
    last = [row for row in last if row["step"] == last[-1]["step"]]
    answers = [
        Finding(
            f"Last validation, step {row['step']}, lane {row['lane']}",
            ", ".join(f"{name} {shown(row[name])}" for name in names if name in row),
        )
        for row in last
    ]
    figures = [
        lines(rows, "step", name, "curve", pair="curve", log="", name=f"metric_{i}", title=name, y_label=name)
        for i, name in enumerate(names)
    ]
    launches = [json.loads(line) for line in (folder / "launches.jsonl").read_text().splitlines()]
    facts = [("Config", json.loads((folder / "config.json").read_text()))]
    facts += [(f"{launch.get('kind', 'launch')} {launch.get('time', '')}", launch) for launch in launches]
    return write_page(folder / "run.html", Report(folder.name, answers, figures), facts=facts)


def _curve(row: dict) -> str:
    return row["split"] if row["lane"] == 0 else f"{row['split']}, lane {row['lane']}"
