"""Gradient flow: cells give what the report reads, and its rule decides from planted rows."""

import importlib.util
import itertools
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from experiments.gradient_flow import cells
from transformer_jax.config import ConfigError, flatten, with_overrides
from transformer_jax.lab import plan
from transformer_jax.lab.sweep import Job
from transformer_jax.report import digest, write

PATH = Path(__file__).parents[2] / "experiments" / "gradient_flow" / "report.py"
spec = importlib.util.spec_from_file_location("gradient_flow_report", PATH)
page = importlib.util.module_from_spec(spec)
spec.loader.exec_module(page)

SHORT = {"model.d_model": 8, "model.num_heads": 2, "task.seq_len": 32, "task.num_items": 2, "train.lanes": 2}
TRAINED = {"measure.level": "trained", "train.num_steps": 4, "train.warmup_steps": 1, "train.eval_every": 4,
           "train.checkpoint_every": 4, "train.chunk_steps": 4, "task.batch_size": 4}  # fmt: skip


@pytest.mark.parametrize(
    "override",
    [{"model.mixer": "lstm", "measure.forget_bias": 3.0}, {"measure.level": "stack", "model.norm": "post"}],
    ids=["mixer", "stack"],
)
def test_an_untrained_cell_gives_the_curve_of_each_lane(tmp_path, override):
    config = with_overrides(cells.BASE, SHORT | override)
    rows = cells.cell(config, Job(3, tmp_path / "none", 0))
    assert [(row["lane"], row["lag"]) for row in rows] == [(n, lag) for n in (0, 1) for lag in (1, 4, 8, 16, 31)]
    last = [row for row in rows if row["lag"] == 31]
    assert all(np.isfinite(row["slope"]) and row["lost"] in (0.0, 1.0) for row in last)
    assert last[0]["slope"] != last[1]["slope"] and not (tmp_path / "none").exists()


def test_a_trained_cell_looks_before_the_first_step_and_after_the_last(tmp_path):
    config = with_overrides(cells.BASE, SHORT | TRAINED | {"model.mixer": "gru"})
    rows = cells.cell(config, Job(0, tmp_path / "cell", 0))
    slopes = {(row["step"], row["lane"]): row["slope"] for row in rows if "slope" in row}
    assert list(slopes) == [(0, 0), (0, 1), (4, 0), (4, 1)] and len(set(slopes.values())) == 4
    assert cells.cell(config, Job(0, tmp_path / "cell", 0)) == rows  # what is trained is not trained again


def test_only_a_trained_stack_waits_for_a_folder_and_a_loss_that_is_not_finite_is_told(tmp_path):
    config = with_overrides(cells.BASE, SHORT | TRAINED | {"model.mixer": "gru", "train.peak_lr": 1e30})
    rows = cells.cell(config, Job(0, tmp_path / "cell", 0))
    assert {row["lane"] for row in rows} == {0, 1} and all(np.isnan(row["slope"]) for row in rows)


def test_a_step_of_a_recurrence_has_singular_values_and_no_lag(tmp_path):
    config = with_overrides(cells.BASE, SHORT | {"measure.level": "step", "model.mixer": "lstm"})
    rows = cells.cell(config, Job(0, tmp_path / "none", 0))
    assert [(row["lane"], row["place"]) for row in rows] == [*itertools.product((0, 1), (0, 0.25, 0.5, 0.75, 1))]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"measure.level": "step"}, "measure.level=step: attention hands on no state"),
        ({"train.lanes": 1}, "train.lanes=1: must be at least 2"),
        ({"task.seq_len": 31}, "task.seq_len=31: must be at least 32"),
        ({"measure.forget_bias": 3.0, "model.mixer": "gru"}, "measure.forget_bias=3.0: it is for an untrained lstm"),
        ({"measure.recurrent_scale": 2.0, "model.mixer": "lstm"}, "recurrent_scale=2.0: it is for an untrained rnn"),
        ({"measure.level": "trained", "model.mixer": "lstm", "measure.forget_bias": 3.0}, "for an untrained lstm"),
        ({"model.attention": "auto"}, "model.attention: it changes nothing that this experiment measures"),
        ({"task.horizon": 3}, "the task copy_memory does not read it"),
    ],
)
def test_what_cannot_be_or_changes_nothing_is_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        plan.plan(cells, overrides)


def planted(attention=0.0, recurrent=-0.2, forget=None, lanes=5):
    """All studies as cells give them; forget: the slope of an LSTM by its forget bias, where it is another."""
    rng, found = np.random.default_rng(0), []
    for (name, study), lane in itertools.product(cells.STUDIES.items(), range(lanes)):
        for number, override in enumerate(study):
            config = flatten(with_overrides(cells.BASE, override))
            slope = attention if config["model.mixer"] == "attention" else recurrent
            if forget and config["model.mixer"] == "lstm" and name == "start":
                slope = forget[config["measure.forget_bias"]]
            for step in (0, 100) if name == "trained" else (None,):
                own = slope + float(rng.normal(0, 5e-4))
                shared = config | {"status": "ok", "round": 0, "studies": (name,), "key": f"{name}{number}",
                                   "header": "h", "lane": lane} | ({} if step is None else {"step": step})  # fmt: skip
                curve = [{"lag": lag, "relative_norm": 10 ** (own * (lag - 1))} for lag in (1, 16, 63)]
                curve[-1] |= {"slope": own, "lost": float(abs(own * 62) > 6)}
                found += [shared | one | {"part": len(found) + i} for i, one in enumerate(curve)]
    return found


def verdicts(rows):
    return [finding.verdict for finding in page.report(rows).answers]


def test_the_rule_decides():
    assert verdicts(planted()) == ["SUPPORTED"] * 4
    assert verdicts(planted(recurrent=0.05)) == ["SUPPORTED"] * 4  # it explodes
    assert verdicts(planted(recurrent=0.001)) == ["REFUTED"] * 4
    assert verdicts(planted(attention=-0.1)) == ["REFUTED"] * 4
    starts = {0.0: -0.2, 1.0: -0.08, 3.0: 0.0, 5.5: 0.006}
    assert verdicts(planted(forget=starts)) == ["SUPPORTED", "SUPPORTED", "TASK-DEPENDENT", "SUPPORTED"]
    assert verdicts(planted(recurrent=-0.01)) == ["INCONCLUSIVE"] * 4  # the interval reaches over the bound
    assert verdicts([]) == ["INCONCLUSIVE"] * 4
    assert verdicts(planted(lanes=1)) == ["INCONCLUSIVE"] * 4
    mixer = [row for row in planted() if row["studies"] == ("mixer",)]
    assert verdicts(mixer) == ["SUPPORTED"] + ["INCONCLUSIVE"] * 3
    assert verdicts([row for row in mixer if row["model.mixer"] != "attention"])[0] == "INCONCLUSIVE"


@pytest.mark.parametrize(
    ("lacking", "open_ones"),
    [
        ({"model.mixer": "gru"}, (0, 1, 3)),
        ({"model.mixer": "min_gru"}, (0, 1)),
        ({"model.mixer": "rnn"}, (0, 1, 2)),
        ({"model.norm": "post"}, (1,)),
        ({"step": 100}, (3,)),
        ({"measure.forget_bias": 5.5}, (2,)),
        ({"measure.recurrent_scale": 2.0}, (2,)),
    ],
)
def test_where_one_is_not_measured_the_rule_is_open(lacking, open_ones):
    left = [row for row in planted() if any(row.get(key) != value for key, value in lacking.items())]
    assert verdicts(left) == ["INCONCLUSIVE" if place in open_ones else "SUPPORTED" for place in range(4)]
    assert all("open" not in finding.text for finding in page.report(left).answers)  # who is not there is not named


def test_the_rules_ask_for_what_the_studies_measure():
    assert {study: {*slopes} for study, slopes in page._slopes(planted()).items()} == {
        study: {*names} for study, names in page.ASKED_OF.items()
    }


def test_a_sentence_says_what_the_gradient_does_where():
    (first, _, starts, trained) = page.report(planted(forget={0.0: -0.2, 1.0: -0.08, 3.0: 0.0, 5.5: 0.05})).answers
    assert first.text == "kept: attention; vanishes: rnn, gru, lstm, min_gru"
    assert starts.text == "kept: attention; vanishes or kept or explodes: lstm; vanishes: rnn"
    assert list(starts.estimates) == [
        "attention",
        *(f"lstm, forget bias {bias}" for bias in (0, 1, 3, 5.5)),
        *(f"rnn, matrix × {scale}" for scale in (1, 2, 3)),
    ]
    assert {"lstm, before", "lstm, after"} <= trained.estimates.keys()
    assert first.estimates["gru"].value == pytest.approx(-20, abs=0.2)


def test_what_the_full_size_asks_more_changes_no_verdict():
    more = []
    for name in ("through_training", "spectrum"):
        for number, override in enumerate(cells.FULL[name]):
            config = flatten(with_overrides(cells.BASE, override))
            for lane in range(5):
                row = config | {"status": "ok", "round": 0, "studies": (name,), "key": f"{name}{number}", "header": "h",
                                "lane": lane}  # fmt: skip
                step = {"lag": 255, "slope": -0.1, "lost": 1.0, "step": config["train.num_steps"]}
                values = [row | {"place": place, "singular_value": 0.5 + place / 2} for place in (0, 0.5, 1)]
                more += values if name == "spectrum" else [row | step]
    report = page.report(planted() + more)
    assert [finding.verdict for finding in report.answers] == ["SUPPORTED"] * 4
    assert [figure.name for figure in report.figures][3:] == ["slope_through_training", "spectrum_of_a_step"]
    report.figures[4].draw(canvas := Figure())
    drawn = [line for line in canvas.axes[0].lines if len(line.get_xdata()) > 2]
    assert drawn and all(list(line.get_xdata()) == [0, 0.5, 1] for line in drawn)
    assert len(report.tables[1].rows) == len(page.report(planted()).tables[1].rows)
    full = plan.load("gradient_flow", size="full")
    assert len(plan.plan(full.cells, studies=full.studies)) == 41


def test_the_page_has_its_figures_and_the_rule_as_it_stood(tmp_path):
    rows, rules = planted(), {name: digest(rule) for name, rule in page.RULES.items()}
    write(tmp_path, page.report(rows), [{"id": "h", "rules": rules}], rows)
    drawn = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert drawn == {"gradient_by_lag", "gradient_by_start", "gradient_trained"}
    assert "was changed" not in (tmp_path / "report.html").read_text()
