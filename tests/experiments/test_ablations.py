"""Ablations: cells give what the report reads, and its rules decide from planted rows."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from experiments.ablations import cells
from transformer_jax.config import ConfigError, flatten, with_overrides
from transformer_jax.lab import plan
from transformer_jax.lab.sweep import Job
from transformer_jax.report import write

PATH = Path(__file__).parents[2] / "experiments" / "ablations" / "report.py"
spec = importlib.util.spec_from_file_location("ablations_report", PATH)
page = importlib.util.module_from_spec(spec)
spec.loader.exec_module(page)

SHORT = {"train.num_steps": 6, "train.warmup_steps": 2, "train.chunk_steps": 6, "train.eval_every": 6}
SHORT |= {"train.checkpoint_every": 6, "train.lanes": 2, "model.d_model": 8}


def test_a_trained_cell_gives_the_last_evaluation_of_every_lane(tmp_path):
    bare = {"model.residual": False, "model.norm": "none", "model.num_layers": 2}
    config = with_overrides(cells.BASE, SHORT | bare)
    rows = cells.cell(config, Job(0, tmp_path / "cell", 0))
    assert [(row["step"], row["lane"]) for row in rows] == [(6, 0), (6, 1)]
    assert all(0 <= row["accuracy"] <= 1 for row in rows)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [({"task.name": "mnist"}, "runs on digits alone"), ({"model.mixer": "gru"}, "takes attention apart")],
)
def test_another_question_is_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        plan.plan(cells, overrides)


def planted(residual=0.6, norm=0.2, position=0.1, lanes=4):
    """Both studies as cells give them: what residual sums, norms and positions add to the accuracy."""
    rng, found = np.random.default_rng(0), []
    for name, study in cells.STUDIES.items():
        for number, override in enumerate(study):
            config = flatten(with_overrides(cells.BASE, override))
            shared = config | {"status": "ok", "round": 0, "studies": (name,), "key": f"{name}{number}", "header": "h"}
            for lane in range(lanes):
                base = 0.1 + residual * config["model.residual"] + norm * (config["model.norm"] == "pre")
                placed = 0 if config["model.position"] == "none" else position
                accuracy = min(1.0, base + placed + float(rng.normal(0, 0.003)))
                found.append(shared | {"lane": lane, "part": len(found), "step": 6, "accuracy": accuracy})
    return found


def verdicts(rows):
    return [finding.verdict for finding in page.report(rows).answers]


def test_the_rules_decide():
    assert verdicts(planted()) == ["SUPPORTED"] * 3
    assert verdicts(planted(residual=-0.02, norm=-0.02, position=-0.05)) == ["REFUTED"] * 3
    assert verdicts(planted(residual=-0.02, norm=0.2))[:2] == ["REFUTED", "SUPPORTED"]
    assert verdicts([]) == ["INCONCLUSIVE"] * 3
    assert verdicts([row for row in planted() if row["studies"] == ("positions",)]) == [
        *["INCONCLUSIVE"] * 2,
        "SUPPORTED",
    ]


def test_a_seed_that_went_astray_did_not_learn():
    rows = [row | {"status": "nan", "accuracy": None} if row["model.num_layers"] == 8 and row["lane"] == 0 else row
            for row in planted() if row["studies"] == ("depth",)]  # fmt: skip
    report = page.report(rows)
    shares = {line[0]: line[-1].value for line in report.tables[0].rows}
    assert shares["both"] == pytest.approx(0.75)
    assert shares["neither"] == 0
    assert report.answers[0].estimates["with norms"].n == 4


def test_the_page_has_its_figures(tmp_path):
    rows = planted()
    write(tmp_path, page.report(rows), [{"id": "h"}], rows)
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {"seeds_that_learn"}
