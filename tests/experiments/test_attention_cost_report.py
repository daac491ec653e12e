"""Every sentence of the attention-cost report is checked against a planted truth; any subset of rows will do."""

import re

import numpy as np
import pytest
from scipy.optimize import brentq

from transformer_jax import intervals as fits
from transformer_jax.report import attention_cost, growth, merge, write


@pytest.fixture(scope="module")
def quiet(planted):
    """The whole run with hardly any noise: what is planted must come out."""
    return planted.rows(noise=0.002)


@pytest.fixture(scope="module")
def sentences(quiet):
    return attention_cost.report(quiet).sentences


def only(sentences, *words):
    (sentence,) = (s for s in sentences if all(word in s for word in words))
    return sentence


def test_quadratic_is_said_of_the_level_and_quantity_where_the_interval_lies_above_1_8(sentences):
    time = only(sentences, "With attention (auto)", "time of a forward pass")
    slope, low, high = map(float, re.search(r"op alone as T\^(\S+) \[(\S+), (\S+)\] \(quadratic\)", time).groups())
    assert low <= slope <= high and abs(slope - 2) < 0.02
    assert "T = 1024–4096" in time
    memory = only(sentences, "With attention (auto)", "memory of a training step")
    assert "quadratic" not in memory
    assert "quadratic" in only(sentences, "With attention (reference)", "memory of a training step")
    assert all("quadratic" not in s for s in sentences if "recurrence" in s)


def test_no_interval_that_reaches_below_1_8_is_called_quadratic(planted):
    rows = planted.rows(noise=0.3)
    study = growth.study(merge(rows))
    said = " ".join(attention_cost.report(rows).sentences)
    straddling = [g.exponent for g in study.growths if g.quantity == "step_seconds" and g.exponent.low < 1.8]
    assert any(e.value > 1.8 for e in straddling)
    for e in straddling:
        assert f"T^{e.value:.2f} [{e.low:.2f}, {e.high:.2f}] (quadratic)" not in said


@pytest.mark.parametrize("mixer", ["rnn", "gru", "lstm"])
def test_the_crossover_is_where_the_planted_laws_meet(planted, sentences, mixer):
    def difference(length):
        config = planted.base | {"measure.level": "op", "measure.phase": "forward", "task.seq_len": length}
        return planted.law(config)[0] - planted.law(config | {"model.mixer": mixer})[0]

    truth = brentq(difference, 64, 4096)
    said = only(sentences, "Crossover", "in time, forward pass of the op alone")
    length, low, high = map(int, re.search(rf"\b{mixer} at T\* = (\d+) \[(\d+), (\d+)\]", said).groups())
    assert low <= length <= high
    assert length == pytest.approx(truth, rel=0.05)


def test_no_crossover_is_said_with_the_range(sentences):
    said = only(sentences, "Crossover", "in time, forward pass of the op alone")
    assert "min_gru, none in the measured range T = 64–4096 (attention costs more at 7 of 7 lengths)" in said


def test_each_matching_has_its_own_crossover(sentences):
    lengths = {}
    for shared in ("width", "number of parameters", "training FLOPs"):
        said = only(sentences, "Crossover", f"in time, training step of the whole model, same {shared}:")
        lengths[shared] = int(re.search(r"lstm at T\* = (\d+)", said).group(1))
    assert lengths["width"] < lengths["number of parameters"] < lengths["training FLOPs"]


def test_what_does_not_change_is_not_distinguishable_and_never_a_win(planted, run_rows):
    decoding = only(attention_cost.report(run_rows).sentences, "One decoding step")
    for mixer in ("gru", "lstm"):  # constant by plan, measured with 3 % noise
        part = next(p for p in decoding.split("; ") if p.startswith(f"with {mixer},"))
        assert "not distinguishable (ratio" in part and "times the time" not in part
    assert re.search(r"with attention \(auto\), [^;]* times the time", decoding)


def test_a_ratio_within_what_a_program_differs_from_itself_is_no_win(planted):
    contenders = [{"model.mixer": mixer, "task.seq_len": t} for mixer in ("attention", "lstm") for t in (64, 128, 256)]

    def law(config):
        seconds = 1e-3 * config["task.seq_len"] * (1.04 if config["model.mixer"] == "lstm" else 1)
        return seconds * (1.06 if config.get("measure.repeat") else 1), 1000, 1000, 1

    once = planted.rows(contenders, noise=0.001, law=law)
    assert "0.96" in only(attention_cost.report(once).sentences, "At T = 256", "same width").replace("0.962", "0.96")
    again = planted.rows([*contenders, contenders[1] | {"measure.repeat": 1}], noise=0.001, law=law)
    study = growth.study(merge(again))
    assert study.floor == pytest.approx(0.06, abs=0.003)
    assert {v.ratio.verdict for v in study.versus} == {"not distinguishable"}
    assert [len(curve.cells) for curve in study.lengths] == [3, 3]
    assert only(attention_cost.report(again).sentences, "measured twice in this run", "at most 6.")


def test_a_form_is_compared_with_the_one_that_the_library_picks(planted):
    contenders = [
        {"model.mixer": "min_gru", "model.recurrence": form, "measure.level": "op", "task.seq_len": t}
        for form in ("auto", "associative")
        for t in (64, 128, 256)
    ]

    def law(config):
        parallel = config["model.recurrence"] == "associative"
        return 1e-6 * config["task.seq_len"] * (8 if parallel else 1), 1000, 1000, 1 if parallel else 256

    rows = planted.rows(contenders, noise=0.001, law=law)
    said = only(attention_cost.report(rows).sentences, "Against min_gru, min_gru (associative)")
    assert "has 1 loop steps instead of 256, takes at T = 256" in said and "the op alone 8.0" in said


def test_one_round_gives_no_interval_no_crossover_and_no_winner(planted):
    sentences = attention_cost.report(planted.rows(rounds=1)).sentences
    assert not any("inf" in s or "nan" in s for s in sentences)
    timed = [s for s in sentences if "time of a" in s]
    assert timed and all("(one round)" in s and "quadratic" not in s for s in timed)
    assert not any("T* =" in s for s in sentences if " in time, " in s)
    assert "one round cannot distinguish" in only(sentences, "At T = 4096", "same width")
    assert "T* =" in only(sentences, "Crossover", "in FLOPs")


def test_the_exponent_uses_the_rounds_that_its_own_lengths_share(planted):
    lengths = [{"measure.level": "op", "task.seq_len": t} for t in planted.lengths]
    rows = planted.rows(lengths[:4]) + planted.rows(lengths[4:], rounds=12)
    (curve,) = growth.study(merge(rows)).lengths
    exponent = growth.growth(curve, "step_seconds").exponent
    samples = np.array([[curve.samples("step_seconds")[t][r] for t in planted.lengths[4:]] for r in range(12)])
    assert exponent == fits.fit_exponent(planted.lengths[4:], samples)


def test_exponents_are_of_one_program_and_the_switch_is_said(planted):
    rows = planted.rows(noise=0.002)
    for row in rows:
        row["implementation"] = "blockwise" if row["task.seq_len"] > 128 else "reference"
    study = growth.study(merge(rows))
    (curve,) = (c for c in study.lengths if (c.contender, c.level, c.phase) == ("attention (auto)", "model", "train"))
    assert study.growth(curve, "step_seconds").local[0].first == 256
    said = only(attention_cost.report(rows).sentences, "attention (auto) ran as reference at T = 64, 128 and as")
    assert "a training step of one block" in said
    fitted = study.growth(curve, "step_seconds").fitted
    assert (fitted.first, fitted.last, fitted.error < 0.05) == (256, 4096, True)


def test_what_rests_mostly_on_noisy_samples_is_inconclusive(planted):
    def said(noisy_rounds):
        rows = planted.rows(noise=0.002)
        for row in rows:
            row["noisy"] = row["round"] < noisy_rounds
        return attention_cost.report(rows)

    trusted, doubted = said(2), said(3)
    assert not any("inconclusive:" in sentence for sentence in trusted.sentences)
    assert "(inconclusive: the machine was noisy)" in only(doubted.sentences, "At T = 4096", "same width")
    assert not any("T* =" in sentence and "FLOPs," not in sentence for sentence in doubted.sentences)
    for sentence in doubted.sentences:
        assert not ("the time of" in sentence and "quadratic" in sentence)
        assert "the FLOPs of" not in sentence or "inconclusive" not in sentence  # counted, not timed
    exponents = next(table for table in doubted.tables if table.title == "Exponents in T")
    assert {row[9] for row in exponents.rows if row[0] == "time"} == {"inconclusive"}


def test_heads_and_depth_are_stated_with_their_truth(planted, sentences):
    shared = only(sentences, "From 1 to 16 heads, d_model held fixed", "op alone")
    own = only(sentences, "From 1 to 16 heads, head_dim held fixed", "op alone")
    assert "T = 1024" in shared and "with the same FLOPs" in shared
    assert float(re.search(r"takes (\S+) \[", own).group(1)) == pytest.approx(16, rel=0.02)
    assert "16 times the FLOPs" in own
    deeper = only(sentences, "From 1 to 8 blocks", "T = 1024")
    config = planted.base | {"task.seq_len": 1024, "model.mixer": "lstm"}
    truth = planted.law(config | {"model.num_layers": 8})[0] / planted.law(config | {"model.num_layers": 1})[0]
    assert float(re.search(r"with lstm, (\S+) \[", deeper).group(1)) == pytest.approx(truth, rel=0.02)


def test_the_wall_is_named_and_counted(run_rows):
    cells = merge(run_rows)
    said = only(attention_cost.report(run_rows).sentences, f"Of {len(cells)} cells")
    assert "2 ran out of memory" in said and "2 timed out" in said
    assert "attention (reference), train of the whole model at T = 4096" in said


def test_what_was_not_measured_is_said(planted):
    sweep = [{"task.seq_len": t, "model.mixer": m} for t in (64, 128, 256) for m in ("attention", "lstm")]
    said = only(attention_cost.report(planted.rows(sweep)).sentences, "Not measured")
    for part in ("sweep over heads", "sweep over depth", "level op", "phase decode", "equal params"):
        assert part in said
    assert "level model" not in said and "memory" not in said


def subsets(planted):
    everything = list(planted.sweep())
    yield "one cell", planted.rows(everything[:1])
    yield "one round", planted.rows(everything[:60], rounds=1)
    yield "recurrences alone", planted.rows([o for o in everything if o.get("model.mixer") in ("gru", "lstm")][:60])
    yield (
        "attention alone",
        planted.rows([o for o in everything if o.get("model.mixer", "attention") == "attention"][:60]),
    )
    yield "decoding alone", planted.rows([o for o in everything if o.get("measure.phase") == "decode"])
    yield "heads alone", planted.rows([o for o in everything if "model.num_heads" in o])
    yield "all failed", planted.rows(everything[:60], fail=lambda config: "failed")
    ragged = planted.rows(everything[:60])
    yield "an interrupted run", ragged[: len(ragged) // 2 + 7]
    bare = [
        {k: v for k, v in row.items() if not k.endswith(("_bytes", "_flops", "seconds")) or k == "step_seconds"}
        for row in ragged
    ]
    yield "times alone", bare
    yield "no rows", []


def test_any_subset_gives_a_report_with_only_true_labels(planted, tmp_path):
    for name, rows in subsets(planted):
        report = attention_cost.report(rows)
        write(tmp_path / "out", report, [], rows) if name in ("all failed", "one round") else None
        for sentence in report.sentences:
            assert not re.search(r"\bnan\b|\binf\b|\bNone\b|\[\]", sentence), (name, sentence)
            assert sentence.endswith("."), (name, sentence)


def test_zero_matmul_flops_are_no_division_by_zero(planted):
    def law(config):
        seconds, flops, temp, depth = planted.law(config)
        return seconds, 0 if config["model.mixer"] == "min_gru" else flops, temp, depth

    sweep = [
        {"task.seq_len": t, "model.mixer": m, "measure.level": "op"}
        for t in planted.lengths
        for m in ("attention", "min_gru")
    ]
    report = attention_cost.report(planted.rows(sweep, law=law))
    assert any("min_gru" in sentence for sentence in report.sentences)


def test_a_thousand_rows_are_written_whole(planted, tmp_path):
    rows = planted.rows(list(planted.sweep())[:200])
    assert len(rows) == 1000
    report = attention_cost.report(rows)
    write(tmp_path, report, [planted.header], rows)
    page = (tmp_path / "report.html").read_text()
    assert "Every cell (200)" in page and "FLOPs three ways" in page
    assert all(f'id="{figure.name}"' in page for figure in report.figures)
    assert not re.search(r"https?:|\bsrc=", page)
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 201
