"""Interaction: a cell gives what the report reads, and the rules decide from planted rows."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from experiments.interaction import cells
from transformer_jax.config import ConfigError, flatten, with_overrides
from transformer_jax.lab import plan
from transformer_jax.lab.sweep import Job, parse
from transformer_jax.report import write

PATH = Path(__file__).parents[2] / "experiments" / "interaction" / "report.py"
spec = importlib.util.spec_from_file_location("interaction_report", PATH)
page = importlib.util.module_from_spec(spec)
spec.loader.exec_module(page)


def test_a_cell_gives_a_row_for_each_lane_and_lag(tmp_path):
    short = {"model.d_model": 8, "model.num_heads": 2, "task.seq_len": 5, "train.lanes": 2}
    rows = cells.cell(with_overrides(cells.BASE, short), Job(1, tmp_path / "none", 0))
    assert [(row["lane"], row["lag"]) for row in rows] == [(lane, lag) for lane in (0, 1) for lag in (1, 2, 3, 4)]
    assert all(row["direct"] == pytest.approx(row["whole"], rel=1e-4) for row in rows)  # attention


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"train.lanes": 1}, "train.lanes=1: must be at least 2"),
        ({"task.seq_len": 3}, "task.seq_len=3: must be at least 4"),
        ({"measure.forget_bias": 3.0, "model.mixer": "gru"}, "measure.forget_bias=3.0: gru has no forget gate"),
        ({"model.num_layers": 3}, "model.num_layers: it changes nothing that this experiment measures"),
        ({"train.num_steps": 3}, "train.num_steps: it changes nothing"),
    ],
)
def test_what_cannot_be_or_changes_nothing_is_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        plan.plan(cells, overrides)


def test_other_starts_are_swept():
    found = plan.plan(cells, swept=parse("--sweep", ["forget_bias=2,4"]), wanted={"forget_bias": ["2", "4"]})
    assert [(c.config.model.mixer, c.config.measure.forget_bias) for c in found] == [("lstm", 2.0), ("lstm", 4.0)]


def planted(attention=1.0, recurrent=1e-3, opened=None, direct=True, lanes=5):
    """What is left at lag 31: of attention, of recurrences, of the LSTM with a forget bias of 5.5 (as the others)."""
    rng, found = np.random.default_rng(0), []
    for name, study in cells.STUDIES.items():
        for number, override in enumerate(study):
            config = flatten(with_overrides(cells.BASE, override))
            mine = config["model.mixer"] == "attention"
            left = attention if mine else recurrent
            left = opened if opened and config["measure.forget_bias"] == 5.5 else left
            shared = config | {"status": "ok", "round": 0, "studies": (name,), "key": f"{name}{number}", "header": "h"}
            if override["model.mixer"] == "lstm" and config["measure.forget_bias"] == 1:
                if name == "start":
                    continue
                shared["studies"], shared["key"] = ("mixer", "start"), "lstm"
            for lane in range(lanes):
                noise = float(np.exp(rng.normal(0, 0.1)))
                curve = [{"lag": lag, "whole": noise * left ** ((lag - 1) / 30), "lane": lane,
                          "direct": 1.0 if mine or lag == 1 else 0.0} for lag in (1, 2, 31)]  # fmt: skip
                curve[-1] |= {"nonzero": 1.0, "past": float(mine and direct), "left": noise * left}
                found += [shared | one | {"part": len(found) + i} for i, one in enumerate(curve)]
    return found


def verdicts(rows):
    return [finding.verdict for finding in page.report(rows).answers]


def test_the_rules_decide():
    assert verdicts(planted()) == ["SUPPORTED", "", "SUPPORTED"]
    for recurrence in page.RECURRENCES:  # where one is not measured the rules are open
        left = [row for row in planted() if row["model.mixer"] != recurrence]
        assert verdicts(left) == ["INCONCLUSIVE", "", "INCONCLUSIVE"]
    for bias in (3.0, 5.5):
        left = [row for row in planted() if row["measure.forget_bias"] != bias]
        assert verdicts(left) == ["SUPPORTED", "", "INCONCLUSIVE"]
    assert {f"over {start}" for start in page.STARTS} == page.report(planted()).answers[2].estimates.keys()
    assert verdicts(planted(direct=False))[0] == "REFUTED"
    assert verdicts(planted(recurrent=5.0))[2] == "REFUTED"
    assert verdicts(planted(opened=5.0))[2] == "TASK-DEPENDENT"
    assert verdicts(planted(opened=1.0))[2] == "INCONCLUSIVE"
    assert verdicts([]) == ["INCONCLUSIVE", "", "INCONCLUSIVE"]
    assert verdicts([row for row in planted() if row["model.mixer"] != "attention"]) == [
        "INCONCLUSIVE",
        "",
        "INCONCLUSIVE",
    ]


def test_the_last_answer_compares_seed_by_seed_with_every_recurrence_and_start():
    left = page.report(planted()).answers[2]
    assert "lag 31" in left.question and len(left.estimates) == 6
    assert left.estimates["over lstm, forget bias 5.5"].n == 5 and left.estimates["over rnn"].low > 500


def test_the_page_has_its_figures(tmp_path):
    rows = planted()
    report = page.report(rows)
    assert report.tables[2].columns == ("reader", "1", "2", "3", "4", "5") and len(report.tables[2].rows) == 7
    write(tmp_path, report, [{"id": "h"}], rows)
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {"influence_by_lag", "direct_by_lag"}
