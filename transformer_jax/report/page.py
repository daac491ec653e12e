"""Writes pages: a report's folder, and any other that is made of findings, figures, tables and facts."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2
from markupsafe import Markup, escape

from transformer_jax.host.folders import write_whole
from transformer_jax.host.provenance import without_private
from transformer_jax.report import plots
from transformer_jax.report.findings import Report, digest
from transformer_jax.report.points import Rows, merge
from transformer_jax.report.tables import Table, shown

FAILURE = ("message", "traceback", "requested_bytes")
NOT_SHOWN = ("header", "kind", "_min", "_q25", "_q75")


def write(folder: Path, report: Report, headers: Sequence[dict], rows: Rows) -> None:
    """Writes `folder`/report.html, rows.csv and figures/*.svg|png, each whole or not at all; old figures go.

    Args:
      headers: the header rows of the launches: shown as provenance, and what they recorded of the rules is compared.
      rows: one row per cell and round, failures included.
    """
    folder, lines = Path(folder), [without_private(line) for line in merge(rows)]
    drawn = {figure.name: plots.render(figure) for figure in report.figures}
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    for name, (svg, png) in drawn.items():
        write_whole(folder / "figures" / f"{name}.svg", svg)
        write_whole(folder / "figures" / f"{name}.png", png)
    for old in (folder / "figures").iterdir():  # a picture that this report did not draw would contradict it
        if old.suffix in (".svg", ".png") and old.stem not in drawn:
            old.unlink()
    write_whole(folder / "rows.csv", _csv(lines))
    measured = {row.get("header") for row in rows}
    cells, same = every_cell(lines)
    failed = [line for line in lines if line["status"] != "ok"]
    facts = [(f"{x['status']}: {_name(x, cells)}", {c: x[c] for c in FAILURE if x.get(c)}) for x in failed]
    facts += [("Columns that are equal in all cells", same)] if same else []
    facts += [(f"Launch {header.get('id', '')}", _flat(header)) for header in without_private(list(headers))]
    warnings = _changed_rules(report, [header for header in headers if header.get("id") in measured])
    svgs = {name: svg for name, (svg, _) in drawn.items()}
    write_page(folder / "report.html", report, warnings, [cells], facts, svgs)


def write_page(path: Path, report: Report, warnings: Sequence[str] = (), details: Sequence[Table] = (),
               facts: Sequence[tuple[str, Mapping]] = (), svgs: Mapping[str, str] | None = None) -> Path:  # fmt: skip
    """One self-contained file, everything escaped: the question and its answers, figures, and the rest folded away.

    Args:
      warnings: stand above the answers.
      facts: (title, what is known by name), each folded; an empty mapping is a title alone.
      svgs: the report's figures where they are drawn already.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["shown"] = shown
    svgs = svgs or {figure.name: plots.render(figure)[0] for figure in report.figures}
    figures = [(f, Markup(_inline(svgs[f.name], f.name, escape(f.title)))) for f in report.figures]
    tables = [*report.tables, *details]
    template = environment.get_template("page.html.jinja")
    return write_whole(
        path, template.render(report=report, warnings=warnings, tables=tables, facts=facts, figures=figures)
    )


def every_cell(lines: list[dict]) -> tuple[Table, dict]:
    """All cells as a table of the columns in which they differ, and the columns in which they do not."""
    columns = [c for c in dict.fromkeys(c for line in lines for c in line) if not c.endswith((*FAILURE, *NOT_SHOWN))]
    columns.sort(key=lambda c: (c != "status", "." not in c))
    found = {c: [line.get(c) for line in lines] for c in columns}
    same = {c: v[0] for c, v in found.items() if len(lines) > 1 and c != "status" and all(x == v[0] for x in v)}
    columns = [c for c in columns if c not in same]
    rows = tuple(tuple(line.get(c) for c in columns) for line in lines)
    table = Table(f"Every cell ({len(lines)})", tuple(columns), rows, "rows.csv holds the same with all digits.")
    return table, {c: v for c, v in same.items() if v is not None}


def _name(line: dict, cells: Table) -> str:
    varied = (c for c in cells.columns if "." in c and line.get(c) is not None)
    return " ".join(f"{c.rpartition('.')[2]}={line[c]}" for c in varied) or str(line.get("key"))


def _flat(header: dict) -> dict:
    """A header as one level of text: mappings opened up, sweeps and studies counted."""
    flat: dict = {}
    for key, value in header.items():
        if key in ("sweep", "studies"):
            studies = value if isinstance(value, dict) else {"sweep": value}
            flat |= {f"overrides of {name}": len(overrides) for name, overrides in studies.items()}
        elif isinstance(value, dict):
            flat |= {f"{key}: {inner}": v for inner, v in value.items()}
        else:
            flat[key] = value
    return flat


def _changed_rules(report: Report, headers: Sequence[dict]) -> list[str]:
    """The rules that a launch which measured rows did not record as they are now."""
    return [
        f"The rule of “{finding.question}” was changed after the first row was measured."
        for finding in report.answers
        if finding.rule and any(digest(finding.rule) not in h["rules"].values() for h in headers if "rules" in h)
    ]


def _inline(svg: str, name: str, title: str) -> str:
    """An SVG file's text made fit to stand in an HTML page beside others: no prolog, no two ids alike, no own size."""
    head, body = svg[svg.index("<svg") :].split(">", 1)
    view = re.search(r'viewBox="[^"]*"', head).group()
    body = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", body)
    return f'<svg {view} role="img" aria-label="{title}">{body}'


def _csv(lines: list[dict]) -> str:
    text = io.StringIO()
    columns = list(dict.fromkeys(column for line in lines for column in line))
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()
