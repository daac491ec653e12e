"""The scale: cells give what the report reads, and its rule decides from planted rows."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from experiments.scale import cells
from transformer_jax.config import ConfigError, flatten, with_overrides
from transformer_jax.lab import plan
from transformer_jax.lab.sweep import Job
from transformer_jax.report import write

PATH = Path(__file__).parents[2] / "experiments" / "scale" / "report.py"
spec = importlib.util.spec_from_file_location("scale_report", PATH)
page = importlib.util.module_from_spec(spec)
spec.loader.exec_module(page)


def test_a_cell_trains_nothing(tmp_path):
    config = with_overrides(cells.BASE, {"model.score": "dot", "train.lanes": 2})
    rows = cells.cell(config, Job(0, tmp_path / "none", 0))
    assert {(row["width"], row["lane"]) for row in rows} == {(d, lane) for d in cells.WIDTHS for lane in (0, 1)}
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [({"task.name": "mnist"}, "task.name: it changes nothing that this experiment measures"),
     ({"model.d_model": 8}, "model.d_model: it changes nothing that this experiment measures"),
     ({"model.score": "additive"}, "model.score=additive: this experiment compares scaled_dot, dot, cosine")],
)  # fmt: skip
def test_another_question_is_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        plan.plan(cells, overrides)


def planted(collapse=0.1, lanes=4):
    """The study as cells give it; collapse: what is left at the largest width without the scale."""
    rng, found = np.random.default_rng(0), []
    for number, override in enumerate(cells.STUDIES["scale"]):
        config = flatten(with_overrides(cells.BASE, override))
        shared = config | {"status": "ok", "round": 0, "studies": ("scale",), "key": f"{number}", "header": "h"}
        for lane in range(lanes):
            noise = float(rng.normal(0, 0.003))
            left = {d: collapse ** (i / 6) if config["model.score"] == "dot" else 1 for i, d in enumerate(cells.WIDTHS)}
            found += [shared | {"lane": lane, "part": len(found) + i, "width": d, "entropy": s * (0.9 + noise),
                                "gradient_norm": s * (0.2 + noise / 9)}
                      for i, (d, s) in enumerate(left.items())]  # fmt: skip
    return found


def verdicts(rows):
    return [finding.verdict for finding in page.report(rows).answers]


def test_the_rule_decides():
    assert verdicts(planted()) == ["SUPPORTED"] and verdicts(planted(collapse=0.9)) == ["REFUTED"]
    assert verdicts(planted(collapse=0.5)) == verdicts([]) == ["INCONCLUSIVE"]
    assert verdicts([row for row in planted() if row["model.score"] == "dot"]) == ["INCONCLUSIVE"]


def test_the_page_has_its_figures(tmp_path):
    rows = planted()
    write(tmp_path, page.report(rows), [{"id": "h"}], rows)
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {"entropy_by_width", "gradient_by_width"}
