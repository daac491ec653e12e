"""Rows become cells: retries replace, failures show, samples keep their rounds."""

import numpy as np
import pytest

from transformer_jax.report import cells


def row(round_, **columns):
    return {"kind": "row", "key": "k", "round": round_, "status": "ok", "header": "h", "task.seq_len": 64} | columns


def test_rounds_of_a_cell_become_one_dict_with_the_samples_in_order_of_rounds():
    rows = [
        row(2, step_seconds=3.0),
        row(0, step_seconds=1.0, compile_seconds=0.5),
        row(1, step_seconds=2.0, noisy=True),
    ]
    (cell,) = cells.merge(rows)
    assert cell["step_seconds"] == [1.0, 2.0, 3.0]
    assert cell["sampled_rounds"] == [0, 1, 2]
    assert (cell["status"], cell["rounds"], cell["rounds_failed"], cell["rounds_noisy"]) == ("ok", 3, 0, 1)
    assert cell["compile_seconds"] == 0.5


def test_a_retry_replaces_the_failure_of_its_round():
    failed = row(0, status="timeout", message="too slow")
    (cell,) = cells.merge([failed, row(0, step_seconds=1.0)])
    assert cell["status"] == "ok" and cell["step_seconds"] == [1.0] and "message" not in cell


def test_a_cell_with_one_failed_round_is_not_ok_and_keeps_its_good_samples():
    rows = [row(0, step_seconds=1.0), row(1, status="killed", message="signal 9")]
    (cell,) = cells.merge(rows)
    assert (cell["status"], cell["message"], cell["rounds"], cell["rounds_failed"]) == ("killed", "signal 9", 1, 1)


def test_a_cell_is_its_config_and_not_its_key():
    assert len(cells.merge([row(0, step_seconds=1.0), row(1, step_seconds=2.0, key="other")])) == 1
    assert len(cells.merge([row(0), row(0, **{"task.seq_len": 128})])) == 2
    plain = [{"key": key, "round": 0, "status": "ok"} for key in ("a", "b", "a")]
    assert [cell["key"] for cell in cells.merge(plain)] == ["a", "b"]


def test_a_sample_that_is_no_number_is_left_out_with_its_round():
    rows = [row(0, step_seconds=None), row(1, step_seconds=float("nan")), row(2, step_seconds=5.0)]
    (cell,) = cells.merge(rows)
    assert cell["step_seconds"] == [5.0] and cell["sampled_rounds"] == [2]


def test_derived_columns_follow_from_the_medians():
    columns = {"tokens": 100, "closed_form_flops": 600, "argument_bytes": 7, "output_bytes": 5, "temp_bytes": 3}
    rows = [
        row(r, step_seconds=s, matmul_peak_flops=p, alias_bytes=2, **columns)
        for r, s, p in [(0, 1, 900), (1, 2, 1000), (2, 9, 950)]
    ]
    (cell,) = cells.merge(rows)
    assert cell["tokens_per_second"] == 50
    assert cell["achieved_flops_per_second"] == 300
    assert cell["peak_share"] == pytest.approx(0.3)
    assert cell["memory_bytes"] == 13


def test_a_flat_cell_describes_the_distribution_and_holds_no_list():
    samples = [4.0, 1.0, 3.0, 2.0, 10.0]
    (cell,) = cells.merge([row(r, step_seconds=s) for r, s in enumerate(samples)])
    line = cells.flat(cell)
    names = ("min", "q25", "median", "q75")
    np.testing.assert_allclose([line[f"step_seconds_{n}"] for n in names], [1, 2, 3, 4])
    assert line["step_seconds_n"] == 5
    assert not any(isinstance(value, (list, dict)) for value in line.values())


def test_a_cell_without_a_sample_is_flat_too():
    (cell,) = cells.merge([row(0, status="oom", step_seconds=None, requested_bytes=2**34)])
    line = cells.flat(cell)
    assert line["step_seconds_median"] is None and line["step_seconds_n"] == 0
