"""The report on vectorized heads gives back planted speed-ups."""

import numpy as np

from transformer_jax.report import drawing, vectorized_heads


def planted(rounds=5):
    rng = np.random.default_rng(0)
    for round_ in range(rounds):
        drift = 1 + round_ / 10
        for heads in (1, 4, 16):
            seconds = {"loop": heads, "vmap": max(1, heads / 4), "batched": max(1, heads / 4)}
            noisy = {f"{k}_seconds": v * drift * np.exp(rng.normal(0, 0.01)) for k, v in seconds.items()}
            compiling = {f"{k}_compile_seconds": 0.1 * v for k, v in seconds.items()}
            yield {"status": "ok", "task.seq_len": 64, "model.num_heads": heads} | noisy | compiling


def test_speedups_come_back():
    report = vectorized_heads.report(planted())
    assert report.sentences[0].startswith(
        "At T = 64 with 16 heads, the time of a loop over the heads over that of: vmap 4.0"
    )
    (table,) = report.tables
    assert [row[:2] for row in table.rows] == [(64, 1), (64, 4), (64, 16)]
    assert table.rows[0][3] < 1 < table.rows[0][4] and table.rows[2][3] < 4 < table.rows[2][4]
    svg, _ = drawing.render(report.figures[0])
    assert "number of heads" in svg


def test_one_round_and_no_rows_are_said():
    assert "(one round)" in vectorized_heads.report(planted(1)).sentences[0]
    assert vectorized_heads.report([]).sentences == ("No cell was measured.",)
