"""The report of the experiment peers: who is faster where, losses included."""

from collections.abc import Iterable

from transformer_jax.report.cells import merge
from transformer_jax.report.content import Report


def report(rows: Iterable[dict]) -> Report:
    """Sentences, figures and a table from rows as the runner reads them; any subset will do."""
    # here, since the fits load scipy, which listing the experiments need not wait for
    from transformer_jax.report import peer_figures, peer_pairs, peer_sentences

    study = peer_pairs.study(merge(rows))
    return Report(
        title="Our attention, recurrences and training step against their peers",
        sentences=peer_sentences.sentences(study),
        figures=peer_figures.figures(study),
        tables=peer_sentences.tables(study),
    )
