"""Warm-up: a cell gives the last loss of every lane, and the rule decides from planted ones."""

import importlib.util
import itertools
from pathlib import Path

import pytest

from experiments.warm_up import cells
from transformer_jax.config import ConfigError, flatten, with_overrides
from transformer_jax.lab import plan
from transformer_jax.lab.sweep import Job, parse
from transformer_jax.report import write

PATH = Path(__file__).parents[2] / "experiments" / "warm_up" / "report.py"
spec = importlib.util.spec_from_file_location("warm_up_report", PATH)
page = importlib.util.module_from_spec(spec)
spec.loader.exec_module(page)

SHORT = {"train.num_steps": 4, "train.chunk_steps": 2, "train.eval_every": 2, "train.checkpoint_every": 4,
         "train.lanes": 2, "model.num_layers": 1, "model.d_model": 8, "model.num_heads": 2, "task.seq_len": 24,
         "task.batch_size": 4}  # fmt: skip


def test_a_cell_gives_the_last_loss_of_every_lane(tmp_path):
    config = with_overrides(cells.BASE, SHORT | {"model.norm": "post"})
    rows = cells.cell(config, Job(0, tmp_path / "cell", 0))
    assert [(row["step"], row["lane"]) for row in rows] == [(4, 0), (4, 1)] and rows[0]["loss"] != rows[1]["loss"]
    assert cells.cell(config, Job(0, tmp_path / "cell", 0)) == rows  # what is done is not trained again


def test_its_plan():
    assert len(plan.plan(cells)) == 8 and len(plan.plan(cells, studies=cells.FULL)) == 16
    swept = plan.plan(cells, swept=parse("--sweep", ["mixer=gru"]))
    assert {(c.config.model.mixer, c.config.train.warmup_steps) for c in swept} == {("gru", 0), ("gru", 100)}
    for axis in ("warmup_steps=0,50", "num_layers=1,2"):  # the report has one warm-up and one depth
        with pytest.raises(ConfigError, match="compares along mixer, norm, peak_lr alone"):
            plan.plan(cells, swept=parse("--sweep", [axis]))
    with pytest.raises(ConfigError, match="task.name=parity: this experiment runs on copy_memory alone"):
        plan.plan(cells, {"task.name": "parity"})


def planted(loss, lanes=5):
    """loss(norm, warmed, rate): of every seed, but for a little."""
    found = []
    for number, override in enumerate(cells.STUDIES["warm_up"]):
        config = flatten(with_overrides(cells.BASE, override))
        own = loss(config["model.norm"], config["train.warmup_steps"] > 0, config["train.peak_lr"])
        found += [config | {"status": "ok" if own is not None else "nan", "round": 0, "part": lane, "header": "h",
                            "key": f"{number}", "studies": ("warm_up",), "lane": lane, "step": 400,
                            "loss": None if own is None else own + 0.001 * lane} for lane in range(lanes)]  # fmt: skip
    return found


def verdict(loss, **more):
    return page.report(planted(loss, **more)).answers[0].verdict


def test_the_rule_decides():
    def post_needs(norm, warmed, rate):
        return 2.0 if norm == "post" and not warmed else 0.1

    assert verdict(post_needs) == "SUPPORTED"
    assert verdict(lambda norm, warmed, _: None if norm == "post" and not warmed else 0.1) == "SUPPORTED"  # diverged
    assert verdict(lambda *_: 0.1) == "REFUTED"  # neither needs it
    assert verdict(lambda norm, warmed, _: 0.1 if warmed else 2.0) == "REFUTED"  # both do
    assert (
        verdict(lambda norm, warmed, rate: post_needs(norm, warmed, rate) if rate > 2e-3 else 0.1) == "TASK-DEPENDENT"
    )
    assert (
        verdict(lambda norm, warmed, rate: 0.1 if warmed or (norm == "pre" and rate < 2e-3) else 2.0) == "INCONCLUSIVE"
    )
    assert verdict(post_needs, lanes=1) == "INCONCLUSIVE" and page.report([]).answers[0].verdict == "INCONCLUSIVE"
    alone = [row for row in planted(post_needs) if row["model.norm"] == "post"]
    assert page.report(alone).answers[0].verdict == "INCONCLUSIVE"
    for norm, rate in itertools.product(("pre", "post"), page.RATES):
        left = [row for row in planted(post_needs) if (row["model.norm"], row["train.peak_lr"]) != (norm, rate)]
        assert page.report(left).answers[0].verdict == "INCONCLUSIVE"
    once = [row for row in planted(post_needs) if row["train.peak_lr"] > 2e-3]
    assert page.report(once).answers[0].verdict == "INCONCLUSIVE"


def test_a_seed_whose_loss_is_no_number_has_failed(tmp_path):
    rows = planted(lambda norm, warmed, rate: 0.1)
    rows = [row | {"status": "nan"} for row in rows]  # so a cell is called, and each of its rows
    for row in rows:
        if row["model.norm"] == "post" and not row["train.warmup_steps"] and row["lane"] < 2:
            row["loss"] = (2.0, None)[row["lane"]]
    report = page.report(rows)
    assert report.answers[0].of == "nats a symbol; guessing costs 2.08"
    failed = report.answers[1].estimates
    assert failed["attention, post, warm-up 0, 0.003"][::3] == (0.4, 5)
    assert failed["attention, pre, warm-up 0, 0.001"].value == 0 and len(failed) == 8
    write(tmp_path, report, [{"id": "h"}], rows)
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {"loss_by_seed"}
