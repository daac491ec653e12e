"""Writes pages: a report's folder, and any other that is made of findings, figures, tables and facts."""

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2
from markupsafe import Markup, escape

from transformer_jax.config import SAMPLING
from transformer_jax.host.folders import write_whole
from transformer_jax.host.provenance import without_private
from transformer_jax.report import plots
from transformer_jax.report.findings import Report
from transformer_jax.report.points import Rows, is_number, merge, shared
from transformer_jax.report.rules import digest
from transformer_jax.report.tables import Table, shown

FAILURE = ("message", "traceback", "requested_bytes")
NOT_IN_TABLE = (*FAILURE, "header", "kind", "_min", "_q25", "_q75")
NOT_IN_PROVENANCE = ("kind", "studies", "sweep")


def write(folder: Path, report: Report, headers: Sequence[dict], rows: Rows) -> None:
    """Writes `folder`/report.html, rows.csv and figures/*.svg|png, each whole or not at all; old figures go.

    Args:
      headers: the header rows of the launches: shown as provenance; the rules that they recorded are compared, and the
        cells that they planned are counted.
      rows: one row per cell and round, failures included.
    """
    folder, cells = Path(folder), [without_private(cell) for cell in merge(rows)]
    drawn = {figure.name: plots.render(figure) for figure in filter(None, report.figures)}
    svgs = {figure.name: _svgs(figure, drawn[figure.name][0]) for figure in filter(None, report.figures)}
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    for name, (svg, png) in drawn.items():
        write_whole(folder / "figures" / f"{name}.svg", svg)
        write_whole(folder / "figures" / f"{name}.png", png)
    for old in (folder / "figures").iterdir():  # a picture that this report did not draw would contradict it
        if old.suffix in (".svg", ".png") and old.stem not in drawn:
            old.unlink()
    write_whole(folder / "rows.csv", _csv(cells))
    every, same = _every_cell(cells), shared(cells)
    failed = [cell for cell in cells if cell["status"] != "ok"]
    facts = [(_named(cell, every), {c: cell[c] for c in FAILURE if cell.get(c)} | _not_finite(cell, rows))
             for cell in failed]  # fmt: skip
    facts.append(("Columns that are equal in all cells", {c: v for c, v in same.items() if v is not None}))
    for header in without_private(list(headers)):
        known = {name: value for name, value in header.items() if name not in NOT_IN_PROVENANCE}
        facts.append((f"Launch {header.get('id', '')}", known))
    warnings = doubts(report, headers, rows)
    machine = _machine(headers[-1]) if headers else ""
    write_page(folder / "report.html", report, warnings, [every], facts, svgs, machine)


def write_page(path: Path, report: Report, warnings: Sequence[str] = (), details: Sequence[Table] = (),
               facts: Sequence[tuple[str, Mapping]] = (), svgs: Mapping[str, Mapping] | None = None,
               machine: str = "") -> Path:  # fmt: skip
    """One self-contained file, everything escaped: the question and its answers, figures, and the rest folded away.

    warnings stand above the answers; facts are titles, each with what is known by name; svgs are the report's figures
    where they are drawn already, by name and by width.
    """
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters |= {"shown": shown, "command": _command}
    drawn = [figure for figure in report.figures if figure]
    svgs = svgs or {figure.name: _svgs(figure, plots.svg(figure)) for figure in drawn}
    figures = [(figure, {width: Markup(svg) for width, svg in svgs[figure.name].items()}) for figure in drawn]
    known = {"report": report, "warnings": warnings, "tables": [*report.tables, *details], "facts": facts,
             "machine": machine, "columns": _columns(report)}  # fmt: skip
    return write_whole(path, environment.get_template("page.html.jinja").render(known, figures=figures))


def doubts(report: Report, headers: Sequence[dict], rows: Rows) -> list[str]:
    """What a reader must know before the answers: rules that came after the rows, cells that are missing."""
    measured = {row.get("header") for row in rows}
    changed = _changed_rules(report, [header for header in headers if header.get("id") in measured])
    return changed + unfinished(headers, rows)


def _command(text: str) -> Markup:
    """The text, escaped, which may end in a command: a line does not break within a word of one, as in "-" and "-out".

    What is copied from the page is still the command, which it would not be with hyphens of another kind.
    """
    before, run, options = text.partition("run.py ")
    words = [Markup('<span class="word">{}</span>').format(word) for word in f"{run}{options}".split(" ") if word]
    return escape(before) + Markup(" ").join(words)


def _columns(report: Report) -> dict[str, str]:
    """The heads of those columns of the answers in which something stands, by what does."""
    filled = {
        "question": lambda finding: finding.question,
        "answer": lambda finding: finding.text,
        "number": lambda finding: finding.estimates,
        "verdict": lambda finding: finding.verdict,
    }
    heads = zip(filled.items(), report.heads, strict=True)
    return {name: head for (name, of), head in heads if any(map(of, report.answers))}


def _machine(header: dict) -> str:
    """On what the last launch ran, in a sentence; empty where its header does not tell."""
    if not header.get("device"):
        return ""
    kind = header.get("cpu_model") if header["device"] == "cpu" else None
    threads = f"{header['threads']} threads" if header.get("threads") else None
    parts = ", ".join(filter(None, (kind, threads)))
    versions = header.get("versions", {})
    jax = f", jax {versions['jax']}" if "jax" in versions else ""
    return f"Measured on {header['device']}{f' ({parts})' if parts else ''}{jax}."


def _every_cell(cells: list[dict]) -> Table:
    """All cells, in the columns in which they differ."""
    same = shared(cells) if len(cells) > 1 else {}
    columns = [c for c in dict.fromkeys(c for cell in cells for c in cell) if not c.endswith(NOT_IN_TABLE)]
    columns = sorted(
        (c for c in columns if c not in same or c == "status"), key=lambda c: (c != "status", "." not in c)
    )
    rows = tuple(tuple(cell.get(c) for c in columns) for cell in cells)
    return Table(f"Every cell ({len(cells)})", tuple(columns), rows, "rows.csv holds the same with all digits.")


def _named(cell: dict, every: Table) -> str:
    axes = (c for c in every.columns if "." in c and cell.get(c) is not None)
    return f"{cell['status']}: " + (" ".join(f"{c.rpartition('.')[2]}={cell[c]}" for c in axes) or str(cell.get("key")))


def unfinished(headers: Sequence[dict], rows: Rows) -> list[str]:
    """Whether the last launch was stopped before its clock ended it, and how many of the cells that the launches
    planned have no row yet, in all and by study; nothing where all is there."""
    planned, missing, said = {}, {}, []
    for header in headers:
        measured, of_study = _places(header, rows)
        for study, places in of_study.items():
            planned.setdefault(study, set()).update(places)
            missing.setdefault(study, set()).update(places - measured.keys())
    if headers and is_stopped(headers[-1]):
        made = _whole_passes(headers[-1], rows)
        passes = f"{made} whole pass{'' if made == 1 else 'es'}"
        said = [f"The run was stopped before its time was over, after {passes}: repeat the command to go on."]
    lost, every = (len(set().union(*found.values())) for found in (missing, planned))
    by_study = ", ".join(f"{study} {len(left)} of {len(planned[study])}" for study, left in missing.items() if left)
    return said + [f"Not finished: {lost} of the plan's {every} cells have no row yet ({by_study})."] * bool(lost)


def is_stopped(header: Mapping) -> bool:
    """Whether a clock was to end the launch, and has not."""
    return (header.get("budget_seconds") or 0) > header.get("ended", {}).get("budget_seconds", 0)


def _whole_passes(header: Mapping, rows: Rows) -> int:
    """How often each cell of the launch was sampled, but for those that went wrong and are sampled no more."""
    measured, of_study = _places(header, rows)
    going = [measured.get(place, ()) for place in set().union(*of_study.values())]
    return min((len({row["round"] for row in of_cell}) for of_cell in going
                if all(row["status"] == "ok" for row in of_cell)), default=0)  # fmt: skip


def _places(header: Mapping, rows: Rows) -> tuple[dict[str, list[dict]], dict[str, set[str]]]:
    """The rows by what of their config the launch knows, and the same of the cells that it planned, by study."""
    columns, measured = {c for row in rows for c in row}, {}
    keys = [c for c in header.get("base", {}) if c in columns and c not in SAMPLING]
    for row in rows:
        measured.setdefault(_place(row, keys), []).append(row)
    return measured, {study: {_place(header["base"] | override, keys) for override in overrides}
                      for study, overrides in header.get("studies", {}).items()}  # fmt: skip


def _place(columns: Mapping, keys: Sequence[str]) -> str:
    return json.dumps([columns.get(key) for key in keys])


def _not_finite(cell: dict, rows: Rows) -> dict[str, str]:
    """Of a cell that failed as its numbers were not finite: in which columns."""
    if cell["status"] != "nan":
        return {}
    failed = [row for row in rows if row.get("key") == cell.get("key") and row.get("status") == "nan"]
    lost = dict.fromkeys(c for row in failed for c, value in row.items() if value is None and "." not in c)
    numeric = [c for c in lost if any(is_number(row.get(c)) for row in rows)]
    return {"no finite number in": ", ".join(numeric or lost)}


def _changed_rules(report: Report, headers: Sequence[dict]) -> list[str]:
    """The rules that a launch which measured rows did not record as they are now."""
    return [
        f"The rule of “{finding.question}” was changed after the first row was measured."
        for finding in report.answers
        if finding.rule and any(digest(finding.rule) not in h["rules"].values() for h in headers if "rules" in h)
    ]


def _svgs(figure: plots.Figure, svg: str) -> dict[str, str]:
    """The figure for a page, by the width of the screen."""
    if figure.narrow is None:
        return {"any": _inline(svg, figure)}
    return {"wide": _inline(svg, figure), "narrow": _inline(plots.svg(figure, narrow=True), figure, "-narrow")}


def _inline(svg: str, figure: plots.Figure, suffix: str = "") -> str:
    """An SVG file's text made fit to stand in an HTML page beside others: no prolog, no two ids alike, no own size, and
    smaller: no id that nothing refers to, no more than hundredths of a point."""
    head, body = svg[svg.index("<svg") :].split(">", 1)
    view = re.search(r'viewBox="[^"]*"', head).group()
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', body))
    body = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in used else "", body)
    body = re.sub(r'(?<= [dxy]=")[^"]+', lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found[0]), body)
    body = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{figure.name}{suffix}-", body)
    return f'<svg {view} role="img" aria-label="{escape(figure.title)}">{body}'


def _csv(cells: list[dict]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, dict.fromkeys(c for cell in cells for c in cell), lineterminator="\n")
    writer.writeheader()
    writer.writerows(cells)
    return text.getvalue()
