"""Heads: cells give what the report reads, and its rule decides from planted rows."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from experiments.heads import cells
from transformer_jax.config import ConfigError, flatten, with_overrides
from transformer_jax.lab import plan
from transformer_jax.lab.sweep import Job
from transformer_jax.report import write

PATH = Path(__file__).parents[2] / "experiments" / "heads" / "report.py"
spec = importlib.util.spec_from_file_location("heads_report", PATH)
page = importlib.util.module_from_spec(spec)
spec.loader.exec_module(page)

SHORT = {"train.num_steps": 6, "train.warmup_steps": 2, "train.chunk_steps": 6, "train.eval_every": 6,
         "train.checkpoint_every": 6, "train.lanes": 2, "model.d_model": 8}  # fmt: skip


def test_heads_are_looked_at_lane_by_lane_and_layer_by_layer(tmp_path):
    config = with_overrides(cells.BASE, SHORT | {"model.num_heads": 2})
    rows = cells.cell(config, Job(0, tmp_path / "cell", 0))
    assert [(row["lane"], row["layer"]) for row in rows] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    for row in rows:
        assert 0 <= row["cka"] <= 1 and row["lost"] <= row["most_lost"] <= row["accuracy"] <= 1
    assert len({row["cka"] for row in rows}) == 4
    assert cells.cell(config, Job(0, tmp_path / "cell", 0)) == rows  # what is done is not trained again


@pytest.mark.parametrize(
    ("overrides", "message"),
    [({"task.name": "mnist"}, "runs on digits alone"), ({"model.mixer": "gru"}, "model.mixer=gru: it has no heads")],
)
def test_another_question_is_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        plan.plan(cells, overrides)


def planted(cka=0.2, lanes=4):
    """The study as cells give it."""
    rng, found = np.random.default_rng(0), []
    for number, override in enumerate(cells.STUDIES["heads"]):
        config = flatten(with_overrides(cells.BASE, override))
        shared = config | {"status": "ok", "round": 0, "studies": ("heads",), "key": f"{number}", "header": "h"}
        for lane in range(lanes):
            alike = cka + float(rng.normal(0, 0.003)) if config["model.num_heads"] > 1 else None
            found += [shared | {"lane": lane, "part": len(found) + n, "layer": n, "step": 6, "accuracy": 0.9,
                                "cka": alike, "lost": 0.1, "most_lost": 0.2} for n in (0, 1)]  # fmt: skip
    return found


def verdicts(rows):
    return [finding.verdict for finding in page.report(rows).answers]


def test_the_rule_decides():
    assert verdicts(planted()) == ["SUPPORTED"] and verdicts(planted(cka=0.8)) == ["REFUTED"]
    assert verdicts(planted(cka=0.5)) == verdicts([]) == ["INCONCLUSIVE"]
    mixed = [row | {"cka": 0.8 + 0.001 * row["lane"]} if row["layer"] and row["cka"] else row for row in planted()]
    assert verdicts(mixed) == ["TASK-DEPENDENT"]
    assert verdicts([row for row in planted() if row["model.num_heads"] < 8]) == ["INCONCLUSIVE"]
    deeper = [row | {"model.num_layers": 3} for row in planted()]
    assert verdicts(deeper) == ["INCONCLUSIVE"]  # of the third layer there is no row


def test_the_page_has_its_figures(tmp_path):
    rows = planted()
    write(tmp_path, page.report(rows), [{"id": "h"}], rows)
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {"similarity_of_heads", "lost_without_a_head"}
