"""Utilisation: a cell's FLOPs, bytes and peaks are what the report divides, and the rule decides from planted rows."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

from experiments.utilisation import cells
from transformer_jax.config import ConfigError, flatten, with_overrides
from transformer_jax.lab import plan
from transformer_jax.lab.sweep import Job, parse
from transformer_jax.measure import bandwidth
from transformer_jax.report import digest, write

PATH = Path(__file__).parents[2] / "experiments" / "utilisation" / "report.py"
spec = importlib.util.spec_from_file_location("utilisation_report", PATH)
page = importlib.util.module_from_spec(spec)
spec.loader.exec_module(page)

TINY = {"model.d_model": 8, "model.num_heads": 2, "model.num_layers": 1, "task.vocab_size": 16, "task.seq_len": 8,
        "measure.tokens": 16, "measure.min_sample_seconds": 1e-4}  # fmt: skip


@pytest.mark.parametrize("phase", ["train", "decode"])
def test_a_cell_is_a_sample_beside_the_peaks(tmp_path, monkeypatch, phase):
    monkeypatch.setattr(bandwidth, "bytes_per_second", lambda: 5e9)
    config = with_overrides(cells.BASE, TINY | {"model.mixer": "gru", "measure.phase": phase})
    assert cells.prepare(config)()["sample_seconds"] > 0
    row = cells.cell(config, Job(0, tmp_path / "none", 0))
    assert row["tokens"] == (16 if phase == "train" else 2) and row["moved_bytes_per_second"] == 5e9
    assert all(row[name] > 0 for name in ("step_seconds", "jaxpr_flops", "jaxpr_bytes", "matmul_peak_flops"))


def test_the_batch_follows_from_the_length():
    planned = plan.plan(cells)
    assert len(planned) == 25 and {c.config.task.batch_size * c.config.task.seq_len for c in planned} == {4096}
    swept = plan.plan(cells, swept=parse("--sweep", ["seq_len=128"]))
    assert {(c.config.task.seq_len, c.config.task.batch_size) for c in swept} == {(128, 32)}
    with pytest.raises(ConfigError, match="measure.tokens=4096 is no multiple of task.seq_len=100"):
        plan.plan(cells, {"task.seq_len": 100})
    with pytest.raises(ConfigError, match="task.batch_size: it changes nothing"):
        plan.plan(cells, {"task.batch_size": 3})


def planted(shares, rounds=6):
    """shares: by mixer, study and T the share of a peak of 100 GFLOP/s; memory moves 10 GB/s, a step's byte 4 FLOPs."""
    rng, found = np.random.default_rng(0), []
    for name, study in cells.STUDIES.items():
        for number, override in enumerate(study):
            config = flatten(with_overrides(cells.BASE, override))
            share = shares(config["model.mixer"], name, config["task.seq_len"])
            for round_ in range(rounds):
                found.append(config | {
                    "status": "ok", "round": round_, "studies": (name,), "key": f"{name}{number}", "header": "h",
                    "jaxpr_flops": 4e9, "jaxpr_bytes": 1e9, "matmul_peak_flops": 1e11 if round_ else 9e10,
                    "moved_bytes_per_second": 1e10, "step_seconds": 4e9 / (share * 1e11) * np.exp(rng.normal(0, 0.01)),
                })  # fmt: skip
    return found


def verdicts(rows):
    return [finding.verdict for finding in page.report(rows).answers]


def test_the_rule_decides_at_each_end_of_each_study():
    def sides(mixer, study, T):
        return 0.2 if mixer == "attention" else 0.1 if T == 1024 else 0.4

    assert verdicts(planted(sides)) == ["SUPPORTED", "REFUTED", "SUPPORTED", "REFUTED"]
    differ = planted(lambda mixer, *_: {"attention": 0.2, "lstm": 0.4}.get(mixer, 0.1))
    assert verdicts(differ) == ["TASK-DEPENDENT"] * 4
    assert verdicts(planted(lambda *_: 0.2)) == ["INCONCLUSIVE"] * 4
    assert verdicts([]) == ["INCONCLUSIVE"] * 4
    assert verdicts([row for row in planted(sides) if row["model.mixer"] != "rnn"]) == ["INCONCLUSIVE"] * 4


def test_shares_are_of_the_best_matmul_and_the_roof_is_the_lower_one(tmp_path):
    rows = planted(lambda mixer, study, T: 0.2 if mixer == "attention" else 0.1)
    report = page.report(rows)
    assert re.search(r"peak: attention (20|19)\.\d\d%, rnn (10|9)\.\d\d%, gru", report.answers[0].text)
    assert report.answers[0].estimates["over gru"].value == pytest.approx(2, rel=0.03)
    assert "100 GFLOP/s of a large matmul, 10.0 GB/s of memory" in report.setting
    line = dict(zip(report.tables[0].columns, report.tables[0].rows[0], strict=True))
    assert (line["FLOPs per byte"], line["the lower roof"]) == (4, 4e10)
    assert line["share of the peak"].value == pytest.approx(0.2, rel=0.03)
    rules = {name: digest(rule) for name, rule in page.RULES.items()}
    write(tmp_path, report, [{"id": "h", "rules": rules}], rows)
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {"share_by_length", "roofline"}
    text = (tmp_path / "report.html").read_text()
    assert "SUPPORTED" in text and "was changed" not in text and "the roof" in text


def test_a_cell_that_failed_breaks_nothing():
    rows = planted(lambda mixer, study, T: 0.2 if mixer == "attention" else 0.1)
    failed = {key: value for key, value in rows[0].items() if "." in key} | {"studies": ("train",), "key": "train0"}
    report = page.report([failed | {"status": "oom", "round": 0, "header": "h"}, *rows[6:]])
    assert report.answers[1].verdict == "INCONCLUSIVE" and report.answers[0].verdict == "SUPPORTED"
