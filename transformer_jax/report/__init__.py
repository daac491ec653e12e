"""From long rows to what a person reads: estimates, findings, figures, tables, one self-contained HTML page."""

from pathlib import Path

from transformer_jax.report.findings import AT_EDGE, SOONEST, Finding, Report, conditions, note
from transformer_jax.report.plots import Figure, dots, lines
from transformer_jax.report.points import Rows, crossing, difference, mean, ratio, reached, relative, select, slope
from transformer_jax.report.rules import Rule, Verdict, all_above, all_below, digest, only_recurrences
from transformer_jax.report.tables import Table, grid, table

__all__ = [
    "AT_EDGE", "SOONEST", "Figure", "Finding", "Report", "Rows", "Rule", "Table", "Verdict", "all_above", "all_below",
    "conditions", "crossing", "difference", "digest", "dots", "grid", "lines", "mean", "note", "only_recurrences",
    "ratio", "reached", "relative", "select", "slope", "table", "write",
]  # fmt: skip


def write(folder: Path, report: Report, headers, rows: Rows) -> None:
    """Writes report.html, rows.csv and figures/*.svg|png into `folder`; see `page.write`."""
    from transformer_jax.report import page  # it loads jinja2, which listing the experiments need not wait for

    page.write(folder, report, headers, rows)
