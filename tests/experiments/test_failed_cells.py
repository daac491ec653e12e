"""Cells that failed have their config and a status, and nothing measured: every report is drawn all the same."""

import pytest

from tests.experiments import (
    planted,
    test_ablations,
    test_complexity,
    test_cores,
    test_gradient_flow,
    test_heads,
    test_interaction,
    test_long_range,
    test_parallelism,
    test_pareto,
    test_recall_length,
    test_recall_report,
    test_scale,
    test_series,
    test_training_speed,
    test_utilisation,
    test_warm_up,
)
from transformer_jax.config import flatten
from transformer_jax.lab import plan
from transformer_jax.report import write

PLANTED = {
    "ablations": test_ablations.planted, "attention_cost": planted.make_rows, "complexity": test_complexity.rows_of,
    "cores": test_cores.planted, "gradient_flow": test_gradient_flow.planted, "heads": test_heads.planted,
    "interaction": test_interaction.planted, "parallelism": test_parallelism.planted, "scale": test_scale.planted,
    "training_speed": test_training_speed.planted,
    "long_range": lambda: test_long_range.planted(lambda *_: 100, lambda *_: None),
    "pareto": lambda: test_pareto.planted(lambda *_: 1.0),
    "recall": lambda: test_recall_report.planted(lambda n: 200, lambda n: None),
    "recall_length": lambda: test_recall_length.planted(lambda position: 0.9, 0.5),
    "series": lambda: test_series.planted((0.9, 0.7, 0.8), (0.5, 0.4, 0.3)),
    "utilisation": lambda: test_utilisation.planted(lambda *_: 0.2),
    "warm_up": lambda: test_warm_up.planted(lambda *_: 0.1),
}  # fmt: skip


def failed(row):
    return {name: value for name, value in row.items() if "." in name or name in ("key", "header", "studies")} | {
        "status": "timeout", "round": 0, "message": "ran longer than 1 s"}  # fmt: skip


def drawn(name, rows, folder):
    report = plan.load(name).report.report(rows)
    write(folder, report, [], rows)
    assert (folder / "report.html").exists()
    return [finding.verdict for finding in report.answers if finding.rule]


@pytest.mark.parametrize("name", plan.names())
def test_where_every_cell_failed(name, tmp_path):
    cells = plan.plan(plan.load(name).cells)
    rows = [failed(flatten(cell.config) | {"key": cell.identity, "header": "h", "studies": cell.studies})
            for cell in cells]  # fmt: skip
    assert set(drawn(name, rows, tmp_path)) <= {"INCONCLUSIVE"}


@pytest.mark.parametrize("name", PLANTED)
def test_where_the_first_cell_failed_and_where_all_but_the_first_did(name, tmp_path):
    rows = [row | {"header": "h"} for row in PLANTED[name]()]
    first = rows[0]["key"]
    drawn(name, [row for row in rows if row["key"] != first] + [failed(rows[0])], tmp_path)
    others = {row["key"]: row for row in rows if row["key"] != first}
    drawn(name, [row for row in rows if row["key"] == first] + [failed(row) for row in others.values()], tmp_path)
