"""The attention-cost report is checked against a planted truth; any subset of rows will do."""

import importlib.util
import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import brentq

from transformer_jax.report import select, write

PATH = Path(__file__).parents[2] / "experiments" / "attention_cost" / "report.py"
spec = importlib.util.spec_from_file_location("attention_cost_report", PATH)
attention_cost = importlib.util.module_from_spec(spec)
spec.loader.exec_module(attention_cost)

BASE = {
    "model.mixer": "attention",
    "model.attention": "auto",
    "model.recurrence": "auto",
    "model.num_layers": 2,
    "model.d_model": 64,
    "model.num_heads": 4,
    "model.head_dim": None,
    "model.dtype": "float32",
    "task.seq_len": 256,
    "task.batch_size": 2,
    "train.seed": 0,
    "measure.level": "model",
    "measure.phase": "train",
    "measure.matching": "width",
    "measure.repeat": 0,
    "measure.rounds": 5,
}
LENGTHS = (64, 128, 256, 512, 1024, 2048, 4096)
PEAK = 60e9
LSTM_STEP = 20e-6
"""Seconds of one LSTM time step at op level: with ATTENTION_RATE this puts the crossover at LSTM_STEP / c."""
ATTENTION_RATE = 15e9
GATES = {"rnn": 1, "gru": 3, "lstm": 4, "min_gru": 2}


def law(c):
    """(seconds of one step, matmul FLOPs, temporary bytes, critical path) of a planted, noiseless machine."""
    t, d, heads, layers = c["task.seq_len"], c["model.d_model"], c["model.num_heads"], c["model.num_layers"]
    batch, mixer = c["task.batch_size"], c["model.mixer"]
    inner = d if c["model.head_dim"] is None else heads * c["model.head_dim"]
    decode = c["measure.phase"] == "decode"
    length = 1 if decode else t
    if mixer == "attention":
        flops = 4 * batch * length * t * inner
        seconds = flops / ATTENTION_RATE * (1 if c["model.attention"] == "auto" else 1.6) + 2e-6 * heads
        temp = 4 * batch * length * (heads * t if c["model.attention"] == "reference" else 4 * d)
        depth = 1
    else:
        flops = 2 * batch * length * d * d * GATES[mixer] * {"params": 1.2, "flops": 1.6}.get(c["measure.matching"], 1)
        step = LSTM_STEP * GATES[mixer] / 4 if mixer != "min_gru" else 1e-6
        seconds, temp, depth = step * length, 4 * batch * length * d * 6, length if mixer != "min_gru" else 12
        seconds *= {"params": 1.2, "flops": 1.6}.get(c["measure.matching"], 1)
    if c["measure.level"] != "op":
        flops += 24 * batch * length * d * d
        seconds += 24 * batch * length * d * d / 30e9 + 10e-6
        temp += 4 * batch * length * 14 * d
    if c["measure.level"] == "model":
        flops = layers * flops + 2 * batch * length * d * 256
        seconds = layers * seconds + batch * length * d * 512 / 20e9 + 30e-6
        temp = temp * (layers if c["measure.phase"] == "train" else 1) + 4 * batch * length * 256
        depth *= layers
    if c["measure.phase"] == "train":
        flops, seconds, temp = 3 * flops, 3.2 * seconds, 2 * temp
    return seconds, flops, temp, depth


CONTENDERS = [{"model.mixer": m} for m in ("attention", *GATES)]


def product(**axes):
    """Every combination; a key's first underscore is its dot."""
    axes = {key.replace("_", ".", 1): values for key, values in axes.items()}
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def over(contenders, **axes):
    return [who | one for who in contenders for one in product(**axes)]


REFERENCE = [{"model.mixer": "attention", "model.attention": "reference"}]
STUDIES = {
    "length": over(CONTENDERS + REFERENCE, task_seq_len=LENGTHS, measure_level=("op", "block", "model"),
                   measure_phase=("forward", "train")),
    "matching": product(model_mixer=("gru", "lstm"), task_seq_len=LENGTHS, measure_matching=("params", "flops")),
    "heads": product(task_seq_len=(256, 1024), measure_level=("op",), model_num_heads=(1, 2, 4, 8, 16)),
    "head_dim": product(task_seq_len=(256, 1024), measure_level=("op",), model_num_heads=(1, 2, 4, 8, 16),
                        model_head_dim=(16,)),
    "model_heads": product(measure_phase=("forward",), model_num_heads=(1, 4, 16)),
    "depth": over(CONTENDERS, task_seq_len=(128, 1024), model_num_layers=(1, 2, 4, 8)),
    "decode": over(CONTENDERS, task_seq_len=LENGTHS, measure_phase=("decode",)),
    "twins": over(CONTENDERS[:1], task_seq_len=(64, 1024), measure_repeat=(0, 1)),
}  # fmt: skip


def make_rows(studies=None, rounds=5, noise=0.03, fail=lambda config: None, law=law):
    """Rows as the runner reads them: base filled in, one per cell and round, a failed cell in its round 0."""
    rng = np.random.default_rng(7)
    studies = STUDIES if studies is None else studies
    configs = list({str(BASE | o): BASE | o for overrides in studies.values() for o in overrides}.values())
    rows = []
    for r in range(rounds):
        drift = np.exp(rng.normal(0, noise / 2))
        for number, config in enumerate(configs):
            row = config | {
                "kind": "row",
                "key": f"{number:016x}",
                "round": r,
                "header": "h1",
                "studies": tuple(
                    name for name, overrides in studies.items() if config in [BASE | o for o in overrides]
                ),
                "status": "ok",
            }
            status = fail(config)
            if status is not None:
                if r == 0:
                    failure = {"status": status, "message": f"{status} happened", "traceback": "Traceback: x"}
                    rows.append(row | failure | {"requested_bytes": 2**34 if status == "oom" else None})
                continue
            seconds, flops, temp, depth = law(config)
            tokens = config["task.batch_size"] * (1 if config["measure.phase"] == "decode" else config["task.seq_len"])
            rows.append(
                row
                | {
                    "compile_seconds": 0.3 + 0.02 * (number % 9),
                    "step_seconds": float(seconds * drift * np.exp(rng.normal(0, noise))),
                    "inner_steps": max(1, int(0.05 / seconds)),
                    "cpu_seconds": float(1.7 * seconds),
                    "calibration_seconds": float(0.004 * drift),
                    "noisy": bool(number % 97 == 0 and r == 2),
                    "matmul_peak_flops": float(PEAK / drift),
                    "closed_form_flops": flops,
                    "jaxpr_matmul_flops": flops,
                    "jaxpr_flops": int(1.05 * flops),
                    "xla_flops": float(flops / (depth or 1)),
                    "jaxpr_bytes": 3 * temp,
                    "xla_bytes": float(2 * temp),
                    "argument_bytes": 200_000,
                    "output_bytes": 100_000,
                    "temp_bytes": temp,
                    "alias_bytes": 0,
                    "peak_rss_bytes": 400_000_000 + temp,
                    "sequential_depth": depth,
                    "num_params": 140_000,
                    "tokens": tokens,
                    "mixer_width": config["model.d_model"],
                }
            )
    return rows


def walls(config):
    """The reference implementation runs out of memory at the largest length of the model; one cell hangs."""
    reference = config["model.attention"] == "reference" and config["model.mixer"] == "attention"
    if reference and config["measure.level"] == "model" and config["task.seq_len"] == 4096:
        return "oom"
    hangs = config["model.mixer"] == "rnn" and config["measure.level"] == "block"
    return "timeout" if hangs and config["task.seq_len"] == 4096 else None


def lines_of(report, title):
    """A table's lines by their index, each a dict."""
    (table,) = (t for t in report.tables if title in t.title)
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def line(report, title, **where):
    (found,) = (x for x in lines_of(report, title) if all(x[k] == v for k, v in where.items()))
    return found


@pytest.fixture(scope="module")
def quiet():
    """The whole run with hardly any noise: what is planted must come out."""
    return attention_cost.report(make_rows(noise=0.002))


def answer(report, question):
    (found,) = (finding for finding in report.answers if question in finding.question)
    return found


def test_seven_questions_are_answered(quiet):
    assert len(quiet.answers) == 7
    for finding in quiet.answers:
        assert all(estimate.n for estimate in finding.estimates.values()), finding


def test_quadratic_is_said_where_the_interval_lies_above_1_8(quiet):
    time = line(quiet, "Exponents", quantity="time", level="op", phase="forward", contender="attention")
    assert time["exponent"].low <= time["exponent"].value <= time["exponent"].high
    assert abs(time["exponent"].value - 2) < 0.02 and time["growth"] == "quadratic" and time["over"] == "1024–4096"
    memory = {"quantity": "memory", "level": "op", "phase": "train"}
    assert line(quiet, "Exponents", contender="attention", **memory)["growth"] != "quadratic"
    assert line(quiet, "Exponents", contender="attention (reference)", **memory)["growth"] == "quadratic"
    assert not any(
        x["growth"] == "quadratic" for x in lines_of(quiet, "Exponents") if "attention" not in x["contender"]
    )
    assert "quadratic" in answer(quiet, "attention's cost grow").answer
    assert "quadratic" not in answer(quiet, "How does a recurrence").answer


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

    found = line(quiet, "where the two cross", level="op", phase="forward", recurrence=mixer)["T* in time"]
    assert found.low <= found.value <= found.high
    assert found.value == pytest.approx(brentq(difference, 64, 4096), rel=0.05)


def test_without_a_crossing_the_bounds_are_said(quiet):
    found = line(quiet, "where the two cross", level="op", phase="forward", recurrence="min_gru")["T* in time"]
    assert np.isnan(found.value) and found[1:3] == (0, 64)
    assert "time, op, min_gru, same width: below 64" in answer(quiet, "pass a recurrence's").numbers


def test_each_matching_has_its_own_crossing_and_attention_its_own_width(quiet):
    at = [line(quiet, "where the two cross", level="model", phase="train", recurrence="lstm", matching=matching)
          ["T* in time"].value for matching in ("width", "params", "flops")]  # fmt: skip
    assert at == sorted(at) and len(set(at)) == 3
    longest = answer(quiet, "greatest length")
    assert {"lstm, same params, T = 4096", "gru, same flops, T = 4096"} <= set(longest.estimates)
    assert longest.verdict == "slower"


def test_what_does_not_change_is_about_equal_and_never_a_win():
    decoding = answer(attention_cost.report(make_rows()), "longer context")
    words = dict(zip(decoding.estimates, decoding.numbers, strict=True))
    assert words["gru, decode"].endswith("about equal") and words["lstm, decode"].endswith("about equal")
    assert words["attention, decode"].endswith("slower")


def test_a_form_is_compared_with_the_one_that_the_library_picks():
    forms = over([{"model.mixer": "min_gru"}], model_recurrence=("auto", "associative"), task_seq_len=(64, 128, 256))

    def slower(config):
        seconds, flops, temp, depth = law(config)
        return seconds * (8 if config["model.recurrence"] == "associative" else 1), flops, temp, depth

    rows = make_rows({"length": forms + over(CONTENDERS[:1], task_seq_len=(64, 128, 256))}, noise=0.001, law=slower)
    report = attention_cost.report(rows)
    assert {x["recurrence"] for x in lines_of(report, "where the two cross")} == {"min_gru", "min_gru (associative)"}
    assert line(report, "Another form", contender="min_gru (associative)")["256"].value == pytest.approx(8, rel=0.01)


def test_one_round_gives_no_interval_no_crossing_and_no_winner():
    once = attention_cost.report(make_rows(rounds=1))
    assert all("(one round)" in number for number in answer(once, "greatest length").numbers)
    assert set(answer(once, "greatest length").verdict.split(", ")) == {"undecided"}
    for x in lines_of(once, "where the two cross"):
        assert np.isnan(x["T* in time"].value)
    assert any(x["T* in FLOPs"].value > 0 for x in lines_of(once, "where the two cross"))
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
        and 0 < found["share of cx² at the last"] < 1
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
    rows = make_rows(fail=walls)
    report = attention_cost.report(rows)
    assert "1 oom, " not in report.limits[0] and re.search(r"2 oom, 2 timeout|2 timeout, 2 oom", report.limits[0])
    write(tmp_path, report, [], rows)
    page = (tmp_path / "report.html").read_text()
    assert "out of memory" in (tmp_path / "figures" / "time_by_length.svg").read_text()
    assert re.search(r"oom: mixer=attention attention=reference [^<]*seq_len=4096", page)


def test_what_was_not_measured_is_said():
    lengths = over(CONTENDERS[:1], task_seq_len=(64, 128, 256))
    report = attention_cost.report(make_rows({"length": lengths}))
    assert report.limits[-1] == (
        "Not measured in these rows: matching, heads, head_dim, model_heads, depth, decode, twins."
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
        if name in ("all failed", "one round", "times alone", "no rows", "one cell", "depth alone"):
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
    assert any("min_gru" in finding.answer for finding in report.answers)


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
