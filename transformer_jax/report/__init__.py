"""From rows to what a person reads: sentences, figures and tables in one self-contained HTML file."""

from transformer_jax.report.cells import merge
from transformer_jax.report.content import Figure, Report, Table

__all__ = ["Figure", "Report", "Table", "merge", "write"]


def write(folder, report: Report, headers, rows) -> None:
    """Writes report.html, rows.csv and figures/*.svg|png into `folder`; see `page.write`."""
    from transformer_jax.report import (
        page,
    )  # loads matplotlib, which listing the experiments need not wait for

    page.write(folder, report, headers, rows)
