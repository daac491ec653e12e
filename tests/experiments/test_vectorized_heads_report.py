"""The report on vectorized heads gives back planted speed-ups."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from transformer_jax.report.plots import render

PATH = Path(__file__).parents[2] / "experiments" / "vectorized_heads" / "report.py"
spec = importlib.util.spec_from_file_location("vectorized_heads_report", PATH)
vectorized_heads = importlib.util.module_from_spec(spec)
spec.loader.exec_module(vectorized_heads)


def planted(rounds=5):
    rng = np.random.default_rng(0)
    for round_ in range(rounds):
        drift = 1 + round_ / 10
        for heads in (1, 4, 16):
            seconds = {"loop": heads, "vmap": max(1, heads / 4), "batched": max(1, heads / 4)}
            noisy = {f"{k}_seconds": v * drift * np.exp(rng.normal(0, 0.01)) for k, v in seconds.items()}
            compiling = {f"{k}_compile_seconds": 0.1 * v for k, v in seconds.items()}
            cell = {"status": "ok", "round": round_, "task.seq_len": 64, "model.num_heads": heads, "key": str(heads)}
            yield cell | noisy | compiling


def test_speedups_come_back():
    report = vectorized_heads.report(list(planted()))
    (finding,) = report.answers
    assert "16 heads" in finding.text and finding.verdict == "faster"
    for form in ("vmap", "batched"):
        found = finding.estimates[f"{form}, T = 64"]
        assert found.low < 0.25 < found.high and found.value == pytest.approx(0.25, rel=0.02)
    seconds, compiling = report.tables
    assert [row[:2] for row in seconds.rows] == [(64, 1), (64, 4), (64, 16)]
    assert compiling.rows[2][2].value == pytest.approx(1.6)
    assert "number of heads" in render(report.figures[0])[0]


def test_one_round_and_no_rows_are_said():
    assert "(one round)" in vectorized_heads.report(list(planted(1))).answers[0].answer
    assert vectorized_heads.report([]).answers == () and vectorized_heads.report([]).limits[0] == "No cell."
