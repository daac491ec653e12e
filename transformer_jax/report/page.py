"""Writes a report's folder: report.html (self-contained, escaped), rows.csv, figures as SVG and PNG."""

import csv
import io
import json
import os
from pathlib import Path

import jinja2
from markupsafe import Markup, escape

from transformer_jax.report import cells, drawing
from transformer_jax.report.content import Report, Table
from transformer_jax.lab.rows import refuse_mix, without_private

FAILURE = ("message", "traceback", "requested_bytes")


def write(folder, report: Report, headers, rows) -> None:
    """Writes `folder`/report.html, rows.csv and figures/*.svg|png, each written aside and then renamed.

    Args:
      headers: the header rows of the launches: shown as provenance.
      rows: one row per cell and round, as the runner appended them, failures included.

    Raises:
      FolderError: rows whose launches differ in device, threads or precision (nothing is written then).
    """
    headers, rows = list(headers), list(rows)
    launches = {row.get("header") for row in rows}
    used = [header for header in headers if header.get("id") in launches]
    for header in used[1:]:
        refuse_mix(used[0], header)
    folder = Path(folder)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    merged = cells.merge(rows)
    lines = [without_private(cells.flat(cell)) for cell in merged]
    drawn = {figure.name: drawing.render(figure) for figure in report.figures}
    for name, (svg, png) in drawn.items():
        _replace(folder / "figures" / f"{name}.svg", svg.encode())
        _replace(folder / "figures" / f"{name}.png", png)
    for old in (folder / "figures").iterdir():  # a picture that this report did not draw would contradict it
        if old.suffix in (".svg", ".png") and old.stem not in drawn:
            old.unlink()
    _replace(folder / "rows.csv", _csv(lines).encode())
    svgs = {name: svg for name, (svg, _) in drawn.items()}
    _replace(folder / "report.html", html(report, headers, lines, svgs).encode())


def html(report: Report, headers: list[dict], lines: list[dict], svgs: dict[str, str]) -> str:
    """The page as text; `lines` are flat cells, `svgs` the drawn figures by name."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shown"] = shown
    figures = [(f, Markup(drawing.inline(svgs[f.name], f.name, escape(f.title)))) for f in report.figures]
    table, constant = every_cell(lines)
    swept = [column for column in table.columns if "." in column]
    environment.filters["named"] = lambda line: " ".join(
        f"{column.rpartition('.')[2]}={line[column]}" for column in swept if line.get(column) is not None
    )
    return environment.get_template("page.html.jinja").render(
        report=report,
        figures=figures,
        cells=table,
        constant=constant,
        counts=_counts(lines),
        failures=[line for line in lines if line["status"] != "ok"],
        headers=[_provenance(header) for header in headers],
    )


def every_cell(lines: list[dict]) -> tuple[Table, dict]:
    """All cells as a table of the columns in which they differ, and the columns in which they do not."""
    columns = [c for c in dict.fromkeys(c for line in lines for c in line) if c not in (*FAILURE, "header")]
    columns.sort(key=lambda c: (c != "status", "." not in c))
    values = {c: [line.get(c) for line in lines] for c in columns}
    same = {c: v[0] for c, v in values.items() if len(lines) > 1 and c != "status" and all(x == v[0] for x in v)}
    columns = [c for c in columns if c not in same]
    rows = tuple(tuple(line.get(c) for c in columns) for line in lines)
    title = f"Every cell ({len(lines)})"
    return Table(title, tuple(columns), rows), {c: v for c, v in same.items() if v is not None}


def shown(value) -> str:
    """A value as a reader wants it: four significant digits, thousands apart, a dash for nothing."""
    if value is None or value != value:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        if abs(value) >= 10**7:
            return f"{value:.4g}"
        return f"{value:,}".replace(",", "\u202f") if abs(value) >= 10**4 else str(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _counts(lines: list[dict]) -> str:
    statuses = [line["status"] for line in lines]
    order = sorted(set(statuses), key=lambda s: (s != "ok", s))
    return ", ".join(f"{statuses.count(status)} {status}" for status in order)


def _provenance(header: dict) -> dict:
    """A header as one level of text: `versions` opened up, the sweep counted, the base config apart."""
    header = without_private(header)
    flat: dict = {}
    for key, value in header.items():
        if key in ("kind", "base"):
            continue
        if key == "sweep" and isinstance(value, list):
            flat["cells in the sweep"] = len(value)
        elif isinstance(value, dict):
            flat |= {f"{key}: {inner}": v for inner, v in value.items()}
        else:
            flat[key] = value
    return {"id": header.get("id", ""), "entries": flat, "base": header.get("base") or {}}


def _csv(lines: list[dict]) -> str:
    text = io.StringIO()
    columns = list(dict.fromkeys(column for line in lines for column in line))
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _replace(path: Path, content: bytes) -> None:
    """An interruption leaves the old file or the new one, never half of one."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_bytes(content)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
