"""Complexity: one op is timed at every length, and the rule decides from exponents of planted rows."""

import importlib.util
from pathlib import Path

import pytest

from experiments.complexity import cells
from tests.experiments import planted
from transformer_jax.config import ConfigError, with_overrides
from transformer_jax.intervals import NOTHING, Estimate
from transformer_jax.lab import plan
from transformer_jax.lab.sweep import Job, parse
from transformer_jax.report import write

PATH = Path(__file__).parents[2] / "experiments" / "complexity" / "report.py"
spec = importlib.util.spec_from_file_location("complexity_report", PATH)
page = importlib.util.module_from_spec(spec)
spec.loader.exec_module(page)


def rows_of(who=({"model.mixer": "attention"}, *planted.REFERENCE, {"model.mixer": "lstm"}), **more):
    op = planted.over(who, task_seq_len=planted.LENGTHS, measure_level=("op",), measure_phase=("train",))
    return planted.make_rows({"length": op}, **{"noise": 0.002} | more)


def test_a_cell_is_a_sample_of_the_op_alone(tmp_path):
    tiny = {"model.d_model": 8, "model.num_heads": 2, "task.seq_len": 16, "task.batch_size": 2,
            "measure.min_sample_seconds": 1e-4}  # fmt: skip
    config = with_overrides(cells.BASE, tiny)
    assert cells.prepare(config)()["sample_seconds"] > 0
    row = cells.cell(config, Job(0, tmp_path / "none", 0))
    assert row["step_seconds"] > 0 and row["num_params"] == 0
    deeper = cells.cell(with_overrides(config, {"model.num_layers": 4, "model.mlp_dim": 99}), Job(0, tmp_path, 0))
    assert deeper["jaxpr_flops"] == row["jaxpr_flops"] > 0


def test_what_is_planned_is_what_the_rule_asks_for():
    planned = plan.plan(cells)
    forms = {(c.config.model.mixer, c.config.model.attention) for c in planned}
    assert forms == {("attention", "auto"), ("attention", "reference"), ("lstm", "auto")} and len(planned) == 21
    swept = plan.plan(cells, swept=parse("--sweep", ["mixer=gru", "seq_len=32,64"]))
    assert {(c.config.model.mixer, c.config.task.seq_len) for c in swept} == {("gru", 32), ("gru", 64)}
    with pytest.raises(ConfigError, match="train.num_steps: it changes nothing that this experiment measures"):
        plan.plan(cells, {"train.num_steps": 3})


def test_planted_exponents_are_found_and_judged():
    (finding,) = page.report(rows_of()).answers
    exponents = {name: round(estimate.value, 1) for name, estimate in finding.estimates.items()}
    assert exponents["attention's time"] == exponents["attention's memory, scores stored"] == 2.0
    assert exponents["attention's FLOPs, scores stored"] == 2.0 and exponents["LSTM's time"] == 1.0
    assert finding.of == "attention: T = 1,024–4,096; lstm: T = 1,024–4,096; attention (reference): T = 1,024–4,096"
    assert exponents["attention's memory"] < 1.5 and finding.verdict == "TASK-DEPENDENT"  # no score is stored
    stored = rows_of(law=lambda c: planted.law(c | {"model.attention": "reference"}))
    assert page.report(stored).answers[0].verdict == "SUPPORTED"
    (other,) = page.report(rows_of([{"model.mixer": "attention"}, *planted.REFERENCE])).answers
    assert other.estimates["LSTM's time"] == NOTHING and other.verdict == "INCONCLUSIVE"
    assert page.report([]).answers[0].verdict == "INCONCLUSIVE"
    two = page.report([row for row in rows_of() if row["task.seq_len"] in (1024, 4096)]).answers[0]
    assert two.verdict == "INCONCLUSIVE" and {*two.estimates.values()} == {NOTHING}  # any two lie on some power


def test_the_page_has_its_figures(tmp_path):
    rows = rows_of()
    write(tmp_path, page.report(rows), [{"id": "h1"}], rows)
    drawn = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert drawn == {"time_by_length", "memory_by_length", "flops_by_length"}
    assert "Exponents of T" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("time", "flops", "memory", "lstm", "verdict"),
    [
        ((1.9, 2.0), (1.85, 1.85), (1.9, 1.9), (0.95, 1.05), "SUPPORTED"),
        ((2.3, 2.4), (1.85, 1.85), (1.9, 1.9), (0.95, 1.05), "SUPPORTED"),
        ((1.7, 1.9), (1.85, 1.85), (1.9, 1.9), (0.95, 1.05), "INCONCLUSIVE"),  # time decides
        ((1.7, 1.9), (1.85, 1.85), (0.8, 0.8), (0.95, 1.05), "TASK-DEPENDENT"),  # whatever time is
        ((1.7, 1.9), (1.0, 1.0), (0.8, 0.8), (0.95, 1.05), "INCONCLUSIVE"),
        ((1.9, 2.0), (1.85, 1.85), (1.9, 1.9), (1.3, 1.4), "REFUTED"),
        ((1.7, 1.9), (1.0, 1.0), (0.8, 0.8), (1.3, 1.4), "REFUTED"),
        ((1.9, 2.0), (1.85, 1.85), (1.9, 1.9), None, "INCONCLUSIVE"),
        ((1.9, 2.0), (1.85, 1.85), (0.8, 0.8), (1.5, 1.9), "REFUTED"),  # no line, whatever attention is
        ((1.9, 2.0), (1.85, 1.85), (0.8, 0.8), (0.98, 1.25), "INCONCLUSIVE"),
    ],
)
def test_an_open_exponent_leaves_the_claim_open_only_where_it_decides(time, flops, memory, lstm, verdict):
    bounds = {"attention's time": time, "attention's FLOPs": flops, "attention's memory": memory, "LSTM's time": lstm}
    estimates = {name: Estimate(sum(one) / 2, *one, 9) if one else NOTHING for name, one in bounds.items()}
    assert page.RULES["quadratic"].decide(estimates) == verdict
