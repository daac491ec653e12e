"""The report of the experiment attention_cost: what attention costs against a recurrence."""

from collections.abc import Iterable

from transformer_jax.report import cost_figures, cost_sentences, cost_tables, growth
from transformer_jax.report.cells import merge
from transformer_jax.report.content import Report


def report(rows: Iterable[dict]) -> Report:
    """Sentences, figures and tables from rows as the runner reads them (base config filled in).

    Any subset will do: what the rows do not give is left out and named, never guessed.
    """
    study = growth.study(merge(rows))
    return Report(
        title="What attention costs against a recurrence",
        sentences=cost_sentences.sentences(study),
        figures=cost_figures.figures(study),
        tables=cost_tables.tables(study),
    )
