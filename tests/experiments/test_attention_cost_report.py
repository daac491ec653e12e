"""The attention-cost report's tables and figures against a planted truth; any subset of rows will do."""

import re

import numpy as np
import pytest
from scipy.optimize import brentq

from tests.experiments.planted import (
    BASE,
    CONTENDERS,
    LENGTHS,
    STUDIES,
    attention_cost,
    law,
    line,
    lines_of,
    make_rows,
    over,
    walls,
)
from transformer_jax.report import plots, select, write


@pytest.fixture(scope="module")
def quiet():
    """The whole run with hardly any noise: what is planted must come out."""
    return attention_cost.report(make_rows(noise=0.002))


def test_quadratic_is_said_where_the_interval_lies_above_1_8(quiet):
    time = line(quiet, "Exponents", quantity="time", level="op", phase="forward", contender="attention")
    assert time["exponent"].low <= time["exponent"].value <= time["exponent"].high
    assert abs(time["exponent"].value - 2) < 0.02 and time["growth"] == "quadratic" and time["over"] == "1,024–4,096"
    memory = {"quantity": "memory", "level": "op", "phase": "train"}
    assert line(quiet, "Exponents", contender="attention", **memory)["growth"] != "quadratic"
    assert line(quiet, "Exponents", contender="attention (reference)", **memory)["growth"] == "quadratic"
    assert not any(
        x["growth"] == "quadratic" for x in lines_of(quiet, "Exponents") if "attention" not in x["contender"]
    )


def test_no_interval_that_reaches_below_1_8_is_called_quadratic():
    noisy = attention_cost.report(make_rows(noise=0.3))
    straddling = [x for x in lines_of(noisy, "Exponents") if x["quantity"] == "time" and x["exponent"].low < 1.8]
    assert any(x["exponent"].value > 1.8 for x in straddling) and not any(
        x["growth"] == "quadratic" for x in straddling
    )


@pytest.mark.parametrize("mixer", ["rnn", "gru", "lstm"])
def test_the_crossing_is_where_the_planted_laws_meet(quiet, mixer):
    def difference(length):
        config = BASE | {"measure.level": "op", "measure.phase": "forward", "task.seq_len": length}
        return law(config)[0] - law(config | {"model.mixer": mixer})[0]

    found = line(quiet, "the two cross", level="op", phase="forward", recurrence=mixer)["T* in time"]
    assert found.low <= found.value <= found.high
    assert found.value == pytest.approx(brentq(difference, 64, 4096), rel=0.05)


def test_without_a_crossing_the_bounds_are_said(quiet):
    found = line(quiet, "the two cross", level="op", phase="forward", recurrence="min_gru")["T* in time"]
    assert np.isnan(found.value) and found[1:3] == (0, 64)


def test_each_matching_has_its_own_crossing_and_attention_its_own_width(quiet):
    at = [line(quiet, "the two cross", level="model", phase="train", recurrence="lstm", matching=matching)
          ["T* in time"].value for matching in ("width", "params", "flops")]  # fmt: skip
    assert at == sorted(at) and len(set(at)) == 3


def test_a_form_is_compared_with_the_one_that_the_library_picks():
    forms = over([{"model.mixer": "min_gru"}], model_recurrence=("auto", "associative"), task_seq_len=(64, 128, 256))

    def slower(config):
        seconds, flops, temp, depth = law(config)
        return seconds * (8 if config["model.recurrence"] == "associative" else 1), flops, temp, depth

    rows = make_rows({"length": forms + over(CONTENDERS[:1], task_seq_len=(64, 128, 256))}, noise=0.001, law=slower)
    report = attention_cost.report(rows)
    assert {x["recurrence"] for x in lines_of(report, "the two cross")} == {"min_gru", "min_gru (associative)"}
    assert line(report, "Another form", form="min_gru (associative)", T=256)["time"].value == pytest.approx(8, rel=0.01)


def test_one_round_gives_no_interval_no_crossing_and_no_winner():
    once = attention_cost.report(make_rows(rounds=1))
    for x in lines_of(once, "the two cross"):
        assert np.isnan(x["T* in time"].value)
    assert any(x["T* in FLOPs"].value > 0 for x in lines_of(once, "the two cross"))
    assert not any(x["growth"] == "quadratic" for x in lines_of(once, "Exponents") if x["quantity"] == "time")
    assert not any("inf" in finding.answer or "nan" in finding.answer for finding in once.answers)


def test_exponents_are_of_one_program():
    rows = make_rows({"length": STUDIES["length"]}, noise=0.002)
    for row in rows:
        row["implementation"] = "blockwise" if row["task.seq_len"] > 128 else "reference"
    found = line(attention_cost.report(rows), "Exponents", quantity="time", level="model", phase="train",
                 contender="attention")  # fmt: skip
    assert (
        found["local slopes"].startswith("from 256 ")
        and found["error"] < 0.05
        and 0 < found["share of cx² at the last"].value < 1
    )


def test_noise_vetoes_nothing():
    rows = make_rows(noise=0.002)
    before = attention_cost.report(rows)
    after = attention_cost.report([row | {"noisy": True} for row in rows])
    assert [finding.answer for finding in before.answers] == [finding.answer for finding in after.answers]
    assert not any("inconclusive" in finding.answer for finding in after.answers)


def test_heads_and_depth_are_stated_with_their_truth(quiet):
    own = line(quiet, "last point", study="head_dim", T=1024)
    assert own["time"].value == pytest.approx(16, rel=0.02)
    assert own["FLOPs"].value == pytest.approx(16) and own["FLOPs"].low == own["FLOPs"].high
    shared = line(quiet, "last point", study="heads", T=1024)
    assert shared["FLOPs"].value == 1 and shared["memory"].value == 1
    deeper = line(quiet, "last point", study="depth", contender="lstm", T=1024)
    config = BASE | {"task.seq_len": 1024, "model.mixer": "lstm"}
    truth = law(config | {"model.num_layers": 8})[0] / law(config | {"model.num_layers": 1})[0]
    assert deeper["time"].value == pytest.approx(truth, rel=0.02)


def test_walls_are_counted_drawn_and_named(tmp_path):
    rows = make_rows({"length": STUDIES["length"]}, rounds=2, fail=walls)
    report = attention_cost.report(rows)
    assert "1 oom, " not in report.limits[0] and re.search(r"2 oom, 2 timeout|2 timeout, 2 oom", report.limits[0])
    write(tmp_path, report, [], rows)
    page = (tmp_path / "report.html").read_text()
    assert "out of memory" in (tmp_path / "figures" / "time_of_all.svg").read_text()
    assert re.search(r"oom: mixer=attention attention=reference [^<]*seq_len=4096", page)


def test_what_was_not_measured_is_said():
    lengths = over(CONTENDERS[:1], task_seq_len=(64, 128, 256))
    report = attention_cost.report(make_rows({"length": lengths}))
    assert report.limits[-1] == (
        "Studies without a row here: matching, heads, head_dim, model_heads, depth, decode, twins."
    )


def test_twins_show_how_far_a_program_differs_from_itself(quiet):
    found = [x["second over first"] for x in lines_of(quiet, "measured twice")]
    assert len(found) == 2 and all(abs(estimate.value - 1) < 0.01 for estimate in found)


def subsets():
    few = {"length": STUDIES["length"][:60]}
    yield "one cell", make_rows({"length": STUDIES["length"][:1]})
    yield "one round", make_rows(few, rounds=1)
    yield "recurrences alone", [row for row in make_rows(rounds=2) if row["model.mixer"] in ("gru", "lstm")]
    yield "attention alone", [row for row in make_rows(rounds=2) if row["model.mixer"] == "attention"]
    for study in STUDIES:
        yield f"{study} alone", make_rows({study: STUDIES[study]}, rounds=2)
    yield "all failed", make_rows(few, fail=lambda config: "failed")
    ragged = make_rows(few)
    yield "an interrupted run", ragged[: len(ragged) // 2 + 7]
    yield (
        "times alone",
        [
            {k: v for k, v in row.items() if not k.endswith(("_bytes", "_flops", "seconds")) or k == "step_seconds"}
            for row in ragged
        ],
    )
    yield "no rows", []


def test_any_subset_gives_a_report_of_what_is_there(tmp_path):
    for name, rows in subsets():
        report = attention_cost.report(rows)
        if name == "one round":  # the whole page of "times alone" has the same figures
            assert all(plots.svg(figure, narrow=True) for figure in report.figures if figure)
        if name in ("all failed", "times alone", "no rows", "one cell", "depth alone"):
            write(tmp_path / name.replace(" ", "_"), report, [], rows)
        for text in [finding.answer for finding in report.answers] + list(report.limits):
            assert not re.search(r"\bnan\b|\binf\b|\bNone\b|\[\]", text), (name, text)


def test_zero_matmul_flops_are_no_division_by_zero():
    def without(config):
        seconds, flops, temp, depth = law(config)
        return seconds, 0 if config["model.mixer"] == "min_gru" else flops, temp, depth

    contenders = [CONTENDERS[0], {"model.mixer": "min_gru"}]
    report = attention_cost.report(
        make_rows({"length": over(contenders, task_seq_len=LENGTHS, measure_level=("op",))}, law=without)
    )
    assert any("minGRU" in finding.answer for finding in report.answers)


def test_twice_the_same_rows_give_the_same_page_and_figures(tmp_path):
    rows = make_rows({name: STUDIES[name] for name in ("matching", "depth")}, rounds=3)
    header = {"id": "h1", "base": BASE, "studies": STUDIES, "versions": {"jax": "0.10.2"}, "device": "cpu"}
    for folder in ("one", "two"):
        write(tmp_path / folder, attention_cost.report(rows), [header], rows)
    one, two = ({str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}
                for root in (tmp_path / "one", tmp_path / "two"))  # fmt: skip
    assert one == two and "figures/depth_by_length.svg" in one
    page = one["report.html"].decode()
    assert "Every cell" in page and "FLOPs three ways" in page and not re.search(r"https?:|\bsrc=", page)
    assert len(one["rows.csv"].decode().splitlines()) == 1 + len(
        {str(select([r], status="ok")[0]["key"]) for r in rows}
    )
