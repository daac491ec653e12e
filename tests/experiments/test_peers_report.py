"""The report on the peers says who is faster from planted times: wins, losses, ties, failures."""

import numpy as np
import pytest

from transformer_jax.report import drawing, peer_pairs, peers
from transformer_jax.report.cells import merge

BASE = {
    "kind": "row", "header": "h", "model.mixer": "attention", "model.attention": "auto", "model.num_classes": None,
    "measure.level": "op", "measure.phase": "train", "measure.peer": "ours", "task.seq_len": 128, "noisy": False,
}  # fmt: skip
LSTM = {"model.mixer": "lstm", "task.seq_len": 512}


def rows(seconds, rounds=5, spread=0.01, **changes):
    """One cell's rows; rounds share a drift, and each cell has a noise of its own."""
    cell = BASE | {key.replace("__", "."): value for key, value in changes.items()}
    rng = np.random.default_rng(list(str(cell).encode()))
    drift = np.linspace(1, 1.5, 5)[:rounds]
    times = seconds * drift * np.exp(spread * rng.standard_normal(rounds))
    ok = {"status": "ok", "key": "k", "implementation": "blockwise", "library": "x 1", "temp_bytes": 2**20}
    return [cell | ok | {"round": i, "step_seconds": float(t)} for i, t in enumerate(times)]


def attention(T, **by_peer):
    """Ours takes 1 s; the others what is said."""
    found = rows(1.0, task__seq_len=T)
    for peer, seconds in by_peer.items():
        found += rows(seconds, task__seq_len=T, measure__peer=peer)
    return found


@pytest.fixture
def planted():
    found = attention(128, torch=0.5, jax_nn=1.3) + attention(512, torch=1.0, jax_nn=3.0, keras=2.0)
    found += rows(1.0, model__attention="blockwise", spread=0.02) + rows(0.8, model__attention="reference")
    found += rows(2.0, model__mixer="lstm") + rows(4.0, model__mixer="lstm", measure__peer="torch")
    failed = BASE | {"measure.level": "model", "measure.peer": "torch_compile", "status": "failed", "round": 0}
    return [*found, failed | {"message": "RuntimeError: no C++ compiler\nmore", "key": "f"}]


def test_ratios_are_taken_within_rounds(planted):
    study = peer_pairs.study(merge(planted))
    found = {(p.problem, p.length, p.peer): p for p in study.pairs}
    pair = found["attention, causal", 128, "PyTorch"]
    assert pair.ratio.low < 2 < pair.ratio.high and pair.ratio.high / pair.ratio.low < 1.1  # the drift cancels
    assert pair.faster == "theirs"
    assert found["attention, causal", 512, "PyTorch"].faster == "not distinguishable"
    assert found["attention, causal", 512, "Keras"].faster == "ours"
    assert found["attention, causal", 128, "ours: blockwise"].faster == "the same program"
    assert found["LSTM layer", 128, "PyTorch"].faster == "ours"
    assert 0 < study.floor < 0.1


def test_sentences_name_wins_losses_and_failures(planted):
    report = peers.report(planted)
    text = "\n".join(report.sentences)
    assert "Of 6 comparisons with another library, ours is faster in 4, the other in 1, and 1 are not" in text
    assert "The other is faster in: attention, causal, forward and backward, T = 128: PyTorch (" in text
    assert "(Keras)" in text and "(jax.nn)" in text
    assert "`auto` is slower than ours: reference at T = 128" in text
    assert "torch.compile failed: RuntimeError: no C++ compiler." in text
    (table,) = report.tables
    assert len(table.rows) == 8 and {row[9] for row in table.rows} >= {"ours", "theirs", "the same program"}
    assert [figure.name for figure in report.figures] == ["attention_by_length", "layers_and_steps"]
    for figure in report.figures:
        svg, png = drawing.render(figure)
        assert "PyTorch" in svg and png


def test_one_round_tells_nothing():
    report = peers.report(rows(1.0, 1) + rows(2.0, 1, measure__peer="torch"))
    assert report.tables[0].rows[0][9] == "not told: one round"
    assert not report.figures and "nothing to compare" in " ".join(report.sentences)


def test_ours_alone_is_a_report_without_comparisons():
    report = peers.report(rows(1.0))
    assert report.sentences and not report.tables and not report.figures
