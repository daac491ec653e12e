"""Curves are found in a chain of grids by what its cells have in common."""

from transformer_jax.report import curves, merge
from transformer_jax.report.curves import DEPTH, HEADS, HOLD, LENGTH


def test_lengths_are_read_where_most_points_lie(planted):
    found = curves.find(merge(planted.rows(rounds=1)), LENGTH)
    assert {c.held["model.num_heads"] for c in found} == {4}
    assert {c.held["model.num_layers"] for c in found} == {2}
    assert all([cell[LENGTH] for cell in c.cells] == list(planted.lengths) for c in found)
    names = {c.contender for c in found}
    assert names == {"attention (auto)", "attention (reference)", "rnn", "gru", "lstm", "min_gru"}
    # 6 contenders x 3 levels x 2 phases at equal width, 2 x 2 other matchings, 5 decoders
    assert len(found) == 36 + 4 + 5


def test_a_heads_sweep_frees_only_the_width_that_it_does_not_hold(planted):
    heads = [
        {"model.num_heads": h, "model.head_dim": dim, "model.d_model": d, "task.seq_len": 256}
        for h in (1, 2, 4) for dim, d in ((None, 64), (16, 16 * h))
    ]  # fmt: skip
    found = curves.find(merge(planted.rows(heads, rounds=1)), HEADS, apart=(LENGTH, HOLD))
    assert {c.held[HOLD]: [cell["model.d_model"] for cell in c.cells] for c in found} == {
        "d_model": [64, 64, 64],
        "head_dim": [16, 32, 64],
    }


def test_axes_kept_apart_give_a_curve_for_each_of_their_values(planted):
    found = curves.find(merge(planted.rows(rounds=1)), DEPTH, apart=(LENGTH,))
    assert sorted({c.held[LENGTH] for c in found}) == [128, 1024]
    assert len(found) == 2 * 5


def test_failed_cells_stay_on_their_curve_as_walls(planted):
    rows = planted.rows(
        [{"task.seq_len": t} for t in (64, 128, 256)], rounds=2,
        fail=lambda c: "oom" if c["task.seq_len"] == 256 else None,
    )  # fmt: skip
    (curve,) = curves.find(merge(rows), LENGTH)
    assert [cell[LENGTH] for cell in curve.cells] == [64, 128]
    assert [(cell[LENGTH], cell["status"]) for cell in curve.failed] == [(256, "oom")]


def test_a_single_point_is_no_curve(planted):
    assert curves.find(merge(planted.rows([{"task.seq_len": 64}])), LENGTH) == []


def test_cells_of_another_dtype_are_not_compared(planted):
    sweep = [{"task.seq_len": t, "model.mixer": m} for t in (64, 128, 256) for m in ("attention", "lstm")]
    other = [{"task.seq_len": t, "model.dtype": "bfloat16"} for t in (64, 128)]
    found = curves.find(merge(planted.rows(sweep + other, rounds=1)), LENGTH)
    assert {c.held["model.dtype"] for c in found} == {"float32"}


def test_of_a_program_sampled_in_two_ways_the_one_sampled_more_often_counts(planted):
    lengths = [{"task.seq_len": t, "measure.min_sample_seconds": 0.05} for t in (64, 128)]
    more = [{"task.seq_len": 128, "measure.min_sample_seconds": 0.5}]
    cells = [*merge(planted.rows(more, rounds=12)), *merge(planted.rows(lengths))]
    (curve,) = curves.find(cells, curves.LENGTH)
    assert [cell["rounds"] for cell in curve.cells] == [5, 12]
