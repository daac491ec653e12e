"""The report on the peers says who is faster from planted times: wins, losses, ties, failures."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from transformer_jax.report.plots import render

PATH = Path(__file__).parents[2] / "experiments" / "peers" / "report.py"
spec = importlib.util.spec_from_file_location("peers_report", PATH)
peers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(peers)

BASE = {
    "kind": "row", "header": "h", "model.mixer": "attention", "model.attention": "auto", "model.causal": True,
    "measure.level": "op", "measure.phase": "train", "measure.peer": "ours", "task.seq_len": 128,
}  # fmt: skip


def rows(seconds, rounds=5, spread=0.01, **changes):
    """One cell's rows; rounds share a drift, and each cell has a noise of its own."""
    cell = BASE | {key.replace("__", "."): value for key, value in changes.items()}
    rng = np.random.default_rng(list(str(cell).encode()))
    drift = np.linspace(1, 1.5, 5)[:rounds]
    times = seconds * drift * np.exp(spread * rng.standard_normal(rounds))
    ok = {"status": "ok", "key": str(cell), "implementation": "blockwise", "library": "x 1", "temp_bytes": 2**20}
    return [cell | ok | {"round": i, "step_seconds": float(t)} for i, t in enumerate(times)]


def attention(T, **by_peer):
    """Ours takes 1 s; the others as long as they are given."""
    found = rows(1.0, task__seq_len=T)
    for peer, seconds in by_peer.items():
        found += rows(seconds, task__seq_len=T, measure__peer=peer)
    return found


@pytest.fixture
def planted():
    found = attention(128, torch=0.5, jax_nn=1.3) + attention(512, torch=1.0, jax_nn=3.0, keras=2.0)
    found += rows(1.0, model__attention="blockwise", spread=0.02) + rows(0.8, model__attention="reference")
    found += rows(2.0, model__mixer="lstm") + rows(4.0, model__mixer="lstm", measure__peer="torch")
    found += rows(1.0, model__causal=False) + rows(2.0, model__causal=False, measure__peer="jax_nn")
    failed = BASE | {"measure.level": "model", "measure.peer": "torch_compile", "status": "failed", "round": 0}
    return [*found, failed | {"message": "RuntimeError: no C++ compiler\nmore", "key": "f"}]


def test_ratios_are_taken_within_rounds(planted):
    (table,) = peers.report(planted).tables
    found = {row[:3]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    causal = "attention, causal, forward and backward"
    pair = found[causal, 128, "PyTorch"]["ours / other"]
    assert pair.low < 2 < pair.high and pair.high / pair.low < 1.1  # the drift cancels
    assert found[causal, 128, "PyTorch"]["ours is"] == "slower"
    assert found[causal, 512, "PyTorch"]["ours is"] == "about equal"
    assert found[causal, 512, "Keras"]["ours is"] == "faster"
    assert found[causal, 128, "ours: blockwise"]["ours is"] == "the same program"
    assert found[causal, 128, "ours: reference"]["ours is"] == "slower"
    assert found["lstm layer, forward and backward", 128, "PyTorch"]["ours is"] == "faster"
    assert found["attention, not causal, forward and backward", 128, "jax.nn"]["ours is"] == "faster"
    assert len(found) == 9


def test_answers_count_wins_and_name_every_loss(planted):
    report = peers.report(planted)
    counts, losses = report.answers
    assert counts.text == "Of 7 comparisons ours is faster in 5, ours is slower in 1, ours is about equal in 1."
    assert list(losses.estimates) == ["PyTorch, attention, causal, forward and backward, T = 128"]
    assert report.limits[0].endswith("1 failed.")
    assert [figure.name for figure in report.figures] == ["attention_by_length", "layers_and_steps"]
    for figure in report.figures:
        svg, png = render(figure)
        assert "PyTorch" in svg and png
    assert any(
        "Nowhere" in finding.answer for finding in peers.report(rows(1.0) + rows(2.0, measure__peer="torch")).answers
    )


def test_one_round_is_undecided():
    report = peers.report(rows(1.0, 1) + rows(2.0, 1, measure__peer="torch"))
    assert dict(zip(report.tables[0].columns, report.tables[0].rows[0], strict=True))["ours is"] == "undecided"


def test_ours_alone_and_nothing_are_reports_without_comparisons():
    for some in (rows(1.0), []):
        report = peers.report(some)
        assert not report.answers and not report.tables[0].rows and report.figures == (None, None)
