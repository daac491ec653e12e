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
SHORT |= {"train.checkpoint_every": 6, "train.lanes": 2, "model.num_layers": 2, "model.d_model": 8}


def test_heads_are_looked_at_lane_by_lane_and_layer_by_layer(tmp_path):
    config = with_overrides(cells.BASE, SHORT | {"measure.probe": "heads", "model.num_heads": 2})
    rows = cells.cell(config, Job(0, tmp_path / "cell", 0))
    assert [(row["lane"], row["layer"]) for row in rows] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    for row in rows:
        assert 0 <= row["cka"] <= 1 and row["lost"] <= row["most_lost"] <= row["accuracy"] <= 1
    assert len({row["cka"] for row in rows}) == 4


def test_a_trained_cell_gives_the_last_evaluation_of_every_lane(tmp_path):
    bare = {"model.residual": False, "model.norm": "none", "model.num_layers": 2}
    config = with_overrides(cells.BASE, SHORT | bare)
    rows = cells.cell(config, Job(0, tmp_path / "cell", 0))
    assert [(row["step"], row["lane"]) for row in rows] == [(6, 0), (6, 1)]
    assert all(0 <= row["accuracy"] <= 1 for row in rows)


def test_the_scale_needs_no_training(tmp_path):
    config = with_overrides(cells.BASE, {"measure.probe": "scale", "model.score": "dot", "train.lanes": 2})
    rows = cells.cell(config, Job(0, tmp_path / "none", 0))
    assert {(row["width"], row["lane"]) for row in rows} == {(d, lane) for d in cells.WIDTHS for lane in (0, 1)}
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [({"task.name": "mnist"}, "runs on digits alone"), ({"model.mixer": "gru"}, "takes attention apart")],
)
def test_another_question_is_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        plan.plan(cells, overrides)


def planted(cka=0.2, residual=0.6, norm=0.2, position=0.1, collapse=0.1, lanes=4):
    """All studies as cells give them: what residual sums, norms and positions add to the accuracy, and the rest."""
    rng, found = np.random.default_rng(0), []
    for name, study in cells.STUDIES.items():
        for number, override in enumerate(study):
            config = flatten(with_overrides(cells.BASE, override))
            shared = config | {"status": "ok", "round": 0, "studies": (name,), "key": f"{name}{number}", "header": "h"}
            for lane in range(lanes):
                noise = float(rng.normal(0, 0.003))
                base = 0.1 + residual * config["model.residual"] + norm * (config["model.norm"] == "pre") + noise
                if name == "heads":
                    several = config["model.num_heads"] > 1
                    own = [{"layer": n, "step": 6, "accuracy": base, "cka": cka + noise if several else None,
                            "lost": 0.1, "most_lost": 0.2} for n in (0, 1)]  # fmt: skip
                elif name == "scale":
                    share = {d: collapse ** (i / 6) if config["model.score"] == "dot" else 1
                             for i, d in enumerate(cells.WIDTHS)}  # fmt: skip
                    own = [{"width": d, "entropy": s * (0.9 + noise), "gradient_norm": s * (0.2 + noise / 9)}
                           for d, s in share.items()]  # fmt: skip
                else:
                    placed = 0 if config["model.position"] == "none" else position
                    own = [{"step": 6, "accuracy": min(1.0, base + placed)}]
                found += [shared | {"lane": lane, "part": len(found) + i} | one for i, one in enumerate(own)]
    return found


def verdicts(rows):
    return [finding.verdict for finding in page.report(rows).answers]


def test_the_rules_decide():
    assert verdicts(planted()) == ["SUPPORTED"] * 5
    assert verdicts(planted(cka=0.8, residual=-0.02, norm=-0.02, position=-0.05, collapse=0.9)) == ["REFUTED"] * 5
    assert verdicts(planted(residual=-0.02, norm=0.2))[1:3] == ["REFUTED", "SUPPORTED"]
    assert verdicts(planted(cka=0.5))[0] == "INCONCLUSIVE"
    assert verdicts([]) == ["INCONCLUSIVE"] * 5
    (heads, *others) = verdicts([row for row in planted() if row["studies"] == ("heads",)])
    assert heads == "SUPPORTED" and set(others) == {"INCONCLUSIVE"}


def test_a_seed_that_went_astray_did_not_learn():
    rows = [row | {"status": "nan", "accuracy": None} if row["model.num_layers"] == 8 and row["lane"] == 0 else row
            for row in planted() if row["studies"] == ("depth",)]  # fmt: skip
    report = page.report(rows)
    shares = {line[0]: line[-1].value for line in report.tables[0].rows}
    assert shares["both"] == pytest.approx(0.75)
    assert shares["neither"] == 0
    assert report.answers[1].estimates["with norms"].n == 4


def test_the_page_has_its_figures(tmp_path):
    rows = planted()
    write(tmp_path, page.report(rows), [{"id": "h"}], rows)
    drawn = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert drawn == {"similarity_of_heads", "lost_without_a_head", "seeds_that_learn", "entropy_by_width",
                     "gradient_by_width"}  # fmt: skip
