"""Pareto: a cell trains or times, and the rule decides over planted losses who is beaten at no more cost."""

import importlib.util
import itertools
from pathlib import Path

import numpy as np
import pytest

from experiments.pareto import cells
from transformer_jax.config import ConfigError, flatten, with_overrides
from transformer_jax.lab import plan
from transformer_jax.lab.sweep import Job
from transformer_jax.report import digest, write

PATH = Path(__file__).parents[2] / "experiments" / "pareto" / "report.py"
spec = importlib.util.spec_from_file_location("pareto_report", PATH)
page = importlib.util.module_from_spec(spec)
spec.loader.exec_module(page)

SHORT = {"train.num_steps": 6, "train.warmup_steps": 1, "train.chunk_steps": 2, "train.eval_every": 2}
SHORT |= {"train.checkpoint_every": 2, "train.lanes": 2, "model.num_layers": 1, "model.d_model": 8, "task.seq_len": 8}
SHORT |= {"task.batch_size": 3, "measure.min_sample_seconds": 1e-3}


def test_a_cell_that_trains_has_every_lane_and_what_its_model_costs_without_a_clock(tmp_path, monkeypatch):
    monkeypatch.setattr(cells, "RATES", (1e-3, 1e-2))
    config = with_overrides(cells.BASE, SHORT | {"model.mixer": "gru"})
    rows = cells.cell(config, Job(0, tmp_path, 0))
    assert [(row["lane"], row["step"]) for row in rows] == [(0, 6), (1, 6)] and rows[0]["loss"] != rows[1]["loss"]
    assert rows[0]["state_bytes"] == 4 * 8 and "step_seconds" not in rows[0]  # one block: its carry, in float32
    assert rows[0]["training_flops"] % 6 == 0 < rows[0]["parameters"]
    assert len({row["choosing_loss"] for row in rows}) == 1 and rows[0]["choosing_loss"] > 0
    assert cells.cell(config, Job(0, tmp_path, 0)) == rows


def test_a_cell_that_times_times_all_mixers_in_turns(tmp_path):
    rows = cells.cell(with_overrides(cells.BASE, SHORT | {"measure.probe": "seconds"}), Job(0, tmp_path / "none", 0))
    assert [(row["sample"], row["timed"]) for row in rows] == [*itertools.product((0, 1), cells.MIXERS)]
    assert all(row["step_seconds"] > 0 for row in rows) and not (tmp_path / "none").exists()


def test_nothing_runs_beside_a_clock_and_another_task_is_refused():
    assert not getattr(cells, "SIDE_BY_SIDE", False) and len(plan.plan(cells)) == 15
    assert len(plan.plan(cells, studies=cells.FULL)) == 20
    with pytest.raises(ConfigError, match="task.name=parity: this experiment runs on number_words alone"):
        plan.plan(cells, {"task.name": "parity"})


def planted(loss, cost=lambda mixer, width: width, lanes=5, without=()):
    """By mixer and width the loss, and what a model costs on every axis; seeds differ by less than the margin."""
    found = []
    for name, study in cells.STUDIES.items():
        for number, override in enumerate(study):
            config = flatten(with_overrides(cells.BASE, override))
            mixer, width = config["model.mixer"], config["model.d_model"]
            row = config | {"status": "ok", "round": 0, "key": f"{name}{number}", "studies": (name,), "header": "h"}
            if name == "seconds":
                found += [row | {"part": i, "timed": mixer, "sample": i // 4, "step_seconds": float(cost(mixer, width))}
                          for i, mixer in enumerate(cells.MIXERS * lanes)]  # fmt: skip
            elif mixer not in without:
                costs = {axis: cost(mixer, width) for axis in page.AXES if axis != "step_seconds"}
                row |= costs | {"step": 200, "rate_at_edge": width == 16}
                row["choosing_loss"] = loss(mixer, width)
                losses = [loss(mixer, width) + 0.002 * lane for lane in range(lanes)]
                found += [row | {"part": lane, "lane": lane, "loss": one} for lane, one in enumerate(losses)]
    return found


def verdicts(rows):
    return [finding.verdict for finding in page.report(rows).answers]


def better(mixer, by=0.1):
    return lambda other, width: 1 - width / 100 - by * (other == mixer)


def test_who_has_less_loss_at_no_more_cost_wins():
    assert verdicts(planted(better("attention", by=0.6))) == ["SUPPORTED"] * 4
    assert verdicts(planted(better("gru", by=0.6))) == ["REFUTED"] * 4
    assert verdicts(planted(lambda mixer, _: 0.5)) == ["INCONCLUSIVE"] * 4
    assert verdicts(planted(better("attention", by=0.005))) == ["INCONCLUSIVE"] * 4  # less than the margin
    assert verdicts([]) == verdicts(planted(better("gru"), without=["min_gru"])) == ["INCONCLUSIVE"] * 4
    assert verdicts(planted(better("gru"), lanes=4)) == ["INCONCLUSIVE"] * 4
    worse = planted(better("lstm", by=-0.6))
    assert verdicts(worse) == ["INCONCLUSIVE"] * 4  # beaten is one recurrence of three
    others = [
        row | {"model.mixer": "rnn"} if row["model.mixer"] == "gru" else row for row in planted(better("attention"))
    ]
    assert verdicts(others) == ["INCONCLUSIVE"] * 4  # no GRU was measured


def test_some_of_either_side_may_be_beaten():
    losses = {16: 0.5, 32: 0.4, 64: 0.3}
    both = planted(lambda mixer, width: losses[width] + 0.2 * ((mixer == "attention") == (width > 20)))
    assert verdicts(both) == ["TASK-DEPENDENT"] * 2 + [
        "REFUTED",
        "TASK-DEPENDENT",
    ]  # at equal seconds there is no rival


def test_who_costs_more_than_every_model_of_the_other_side_beats_nobody():
    dear = planted(better("attention", by=0.5), cost=lambda mixer, width: width + 1000 * (mixer == "attention"))
    assert verdicts(dear) == ["INCONCLUSIVE"] * 4
    first = page.report(dear).answers[0]
    assert set(first.estimates) == {f"attention {width} (to gru 64)" for width in (16, 32, 64)}  # of equals the first
    assert first.estimates["attention 16 (to gru 64)"].value == pytest.approx(0.84 - 0.5 - 0.36)
    assert (
        first.of == "one-sided: only attention can be beaten, as no model of recurrences has a rival that costs no more"
    )
    narrow = planted(better("attention"), cost=lambda mixer, width: width + 1000 * (mixer == "attention"))
    assert verdicts(narrow) == ["REFUTED"] * 4  # the narrow ones are beaten by wider recurrences, which cost less


def test_a_rival_is_chosen_by_a_seed_that_is_not_compared_and_needs_all_of_its_own():
    rows = planted(better("gru"))
    for row in rows:
        if (row["model.mixer"], row["model.d_model"]) == ("lstm", 16) and "loss" in row:
            row["choosing_loss"] = 0.0
    assert "attention 16 (to lstm 16)" in page.report(rows).answers[0].estimates
    for row in rows:
        if (row["model.mixer"], row["model.d_model"]) == ("lstm", 16) and row.get("lane") == 2:
            row["loss"] = None
    found = page.report(rows)
    assert "attention 16 (to gru 16)" in found.answers[0].estimates
    (line,) = (line for line in found.tables[0].rows if line[:2] == ("lstm", 16))
    assert line[-1].startswith("parameters, training FLOPs")  # it is not tested


def test_in_seconds_a_rival_is_cheaper_beyond_the_noise():
    def of(noise):
        rows = planted(better("gru"), cost=lambda mixer, width: width - 0.5 * (mixer == "gru"))
        for row in rows:
            if "timed" in row:
                row["step_seconds"] *= 1 + noise * (row["sample"] % 3)
        return page.report(rows).answers[2].estimates

    assert "attention 16 (to gru 16)" in of(0.001) and "attention 16 (to gru 16)" not in of(0.2)


@pytest.mark.parametrize("deviation", [0.02, 0.04])
def test_equal_models_are_seldom_told_apart(deviation):
    """One interval of 95 % for each model decided 11 to 23 of a hundred."""
    random, definite, draws = np.random.default_rng(0), 0, 400
    rows = [row for row in planted(lambda *_: 0.3) if "loss" in row]
    for _ in range(draws):
        choosing = {row["key"]: random.normal(0.3, deviation) for row in rows}
        drawn = [row | {"loss": random.normal(0.3, deviation), "choosing_loss": choosing[row["key"]]} for row in rows]
        found = page._behind(drawn, "parameters")
        assert len(found) == 12
        definite += page.RULES["attention_is_cheaper"].decide(found) != "INCONCLUSIVE"
    assert definite <= 0.05 * draws


def test_a_tie_of_one_seed_set_does_not_decide():
    noisy = planted(lambda mixer, width: 0.5)
    for row in noisy:
        if row.get("lane") == 0 and row["model.mixer"] == "attention":
            row["loss"] += 1.0  # one seed of five: the interval reaches over the margin
    assert verdicts(noisy) == ["INCONCLUSIVE"] * 4


def test_the_page_has_a_line_for_every_model_and_knows_its_rule(tmp_path):
    rows, rules = planted(better("attention")), {name: digest(rule) for name, rule in page.RULES.items()}
    report = page.report(rows)
    models, seeds = report.tables
    assert len(models.rows) == len(seeds.rows) == 12 and models.columns[-2:] == (
        "beaten by the other side on",
        "not tested on",
    )
    assert {line[-2] for line in models.rows if line[0] == "attention"} == {""}
    assert all(line[-2].startswith("parameters, training FLOPs") for line in models.rows if line[0] == "gru")
    assert {line[-1] for line in models.rows if line[1] == 16} == {"seconds of a step"}  # none is shorter
    assert {line[-1] for line in models.rows if line[1] == 64} == {""}
    assert "attention 16" in report.notes[0] and "attention 32" not in report.notes[0]
    write(tmp_path, report, [{"id": "h", "rules": rules}], rows)
    assert "was changed" not in (tmp_path / "report.html").read_text()
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {f"loss_by_{axis}" for axis in page.AXES}
