"""Rows are selected by name, paired over whole rounds, and merged to one line a cell."""

import math
import re

import numpy as np
import pytest

from transformer_jax import intervals
from transformer_jax.intervals import NOTHING
from transformer_jax.report import crossing, difference, lines, mean, ratio, reached, relative, select, slope, table
from transformer_jax.report.points import added, by_seed, ends, groups, growth, merge, samples, values
from transformer_jax.report.tables import shown


def row(round_=0, mixer="lstm", seq_len=64, **columns):
    return {"kind": "row", "key": f"{mixer}{seq_len}", "round": round_, "status": "ok", "header": "h",
            "studies": ("length",), "model.mixer": mixer, "task.seq_len": seq_len} | columns  # fmt: skip


def test_a_key_is_a_column_or_the_end_of_a_dotted_one_and_asks_for_a_value_values_or_a_predicate():
    rows = [row(seq_len=t, mixer=m, loss=t / 64) for t in (64, 128, 256) for m in ("attention", "lstm")]
    rows[0]["studies"] = ("length", "twins")
    assert len(select(rows, mixer="lstm")) == 3 == len(select(rows, **{"model.mixer": "lstm"}))
    assert [r["task.seq_len"] for r in select(rows, mixer="lstm", seq_len=[64, 256])] == [64, 256]
    assert [r["task.seq_len"] for r in select(rows, mixer="lstm", loss=lambda loss: loss > 1)] == [128, 256]
    assert select(rows, study="twins") == rows[:1] and select(rows, study="heads") == []
    assert len(select(rows, study=("twins", "length"))) == 6
    assert select(rows, missing=None) == rows and select(rows, missing=1) == [] == select([], mixer="lstm")
    with pytest.raises(ValueError, match="task.size, model.size"):
        select([{"task.size": 1, "model.size": 1}], size=1)
    assert values(rows[::-1], "mixer") == ["attention", "lstm"] and values(rows[::-1], "seq_len") == [64, 128, 256]
    assert list(groups(rows, "mixer", "seq_len"))[0] == ("attention", 64)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda rows: select(rows, study="lenght"), "no row has the study 'lenght'; did you mean 'length'"),
        (lambda rows: select(rows, seq_lne=64), "no row has the column 'seq_lne'; did you mean 'seq_len'"),
        (lambda rows: select(rows, **{"model.mixr": "lstm"}), "'model.mixr'; did you mean 'model.mixer'"),
        (lambda rows: mean(rows, "los"), "'los'; did you mean 'loss'"),
        (lambda rows: table(rows, ("seq_len",), "mixre", "loss"), "'mixre'; did you mean 'mixer'"),
        (lambda rows: lines(rows, "seq_lne", "loss", "mixer", name="f"), "'seq_lne'; did you mean 'seq_len'"),
        (lambda rows: lines(rows, "seq_len", "losss", "mixer", name="f"), "'losss'; did you mean 'loss'"),
        (lambda rows: lines(rows, "seq_len", "loss", "mixer", "mxier", name="f"), "'mxier'; did you mean 'mixer'"),
        (lambda rows: relative(rows, "loss", rows, ("seqlen",)), "'seqlen'; did you mean 'seq_len'"),
    ],
)
def test_a_misspelt_study_or_column_is_an_error_with_the_nearest_name(ask, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        ask([row(seq_len=t, loss=1.0) for t in (64, 128)])


def test_a_study_or_column_that_has_no_row_yet_is_a_gap():
    rows = [row(accuracy_1=1.0, studies=("head_dim", "model_heads"))]
    assert select(rows, study=("heads", "depth")) == [] == select([], study="lenght")
    assert mean(rows, "accuracy_2") == NOTHING == mean(rows, "step_seconds") == mean([], "accurcy_1")


def test_only_pairs_in_which_every_point_was_measured_count():
    slow = [1.0, 3.0, 9.0]  # what a round shares cancels
    rows = [row(r, m, y=slow[r] * (2 if m == "lstm" else 1)) for r in range(3) for m in ("attention", "lstm")]
    assert ratio(rows, "y", "mixer", "lstm", "attention") == (pytest.approx(2), pytest.approx(2), pytest.approx(2), 3)
    assert difference(rows, "y", "mixer", "lstm", "attention").value == pytest.approx(13 / 3)
    rows[0] |= {"y": 1e9, "status": "failed"}
    rows[3] |= {"y": float("nan")}
    assert ratio(rows, "y", "mixer", "lstm", "attention").n == 1
    assert ratio(rows[:3], "y", "mixer", "lstm", "attention") == NOTHING == mean([], "y") == slope([], "seq_len", "y")
    assert ends(rows[:3], "y", "seq_len") == NOTHING


def test_seeds_pair_by_lane_within_their_round():
    rows = [row(r, m, lane=lane, accuracy=0.1 * lane + 0.5 * r + (m == "attention"))
            for r in range(2) for lane in range(3) for m in ("attention", "lstm")]  # fmt: skip
    found = difference(rows, "accuracy", "mixer", "attention", "lstm", pair="lane")
    assert found == (pytest.approx(1), pytest.approx(1), pytest.approx(1), 6)
    one = table(rows, ("seq_len",), "mixer", "accuracy", pair="lane")
    assert one.columns == ("seq_len", "attention", "lstm") and one.rows[0][2].n == 6


def test_two_configs_at_one_point_are_refused_and_the_column_is_named():
    rows = [row(y=1.0, **{"model.num_heads": h}) for h in (1, 2)]
    with pytest.raises(ValueError, match="model.num_heads"):
        mean(rows, "y")
    assert mean(rows[:1] * 2, "y").n == 1


def test_lanes_of_all_rounds_are_seeds_and_one_that_failed_takes_no_other_with_it():
    of = {"train.lanes": 3, "status": "nan"}
    rows = [of | {"round": r, "lane": n} for r in (0, 1) for n in range(3)] + [{"status": "timeout", "round": 0}]
    found = by_seed(rows)
    assert [row.get("seed") for row in found] == [1, 2, 3, 4, 5, 6, None]
    assert [row["status"] for row in found] == ["ok"] * 6 + ["timeout"]
    assert [row["status"] for row in by_seed(rows, apart=False)] == ["nan"] * 6 + ["timeout"]
    assert "seed" not in rows[0] and "seed" not in found[-1]


def test_what_is_counted_is_exact_and_what_was_sampled_once_says_nothing():
    rows = [row(r, seq_len=t, flops=t**2, y=float(t)) for r in range(2) for t in (64, 128, 256)]
    assert slope(rows, "seq_len", "flops", pair=None) == (pytest.approx(2), pytest.approx(2), pytest.approx(2), 1)
    once = slope(rows[:3], "seq_len", "y")
    assert once.value == pytest.approx(1) and math.isinf(once.high) and once.n == 1
    assert samples(rows, "y", "round", "seq_len")[1].shape == (2, 3)


def test_growth_is_of_the_program_that_runs_at_the_longest_and_of_its_own_rounds():
    lengths = (64, 128, 256, 512, 1024, 2048, 4096)
    rng = np.random.default_rng(0)
    rows = [row(r, seq_len=t, y=t**2 * math.exp(rng.normal(0, 0.1)), program="a" if t < 128 else "b")
            for t in lengths for r in range(12 if t >= 1024 else 5)]  # fmt: skip
    found = growth(rows, "seq_len", "y", first=1024, same="program")
    far = [[r["y"] for r in select(rows, seq_len=t)] for t in lengths[-3:]]
    assert found["exponent"] == intervals.slope(lengths[-3:], np.array(far).T) and found["exponent"].n == 12
    assert found["over"] == "1,024–4,096" and found["local slopes"].startswith("from 128 ") and found["c"].n == 5
    assert growth(rows[:10], "seq_len", "y", first=1024, same="program") == {}
    assert growth([], "seq_len", "y", first=1024, same="program") == {}


def test_an_exponent_of_two_points_has_no_word():
    rows = [row(r, seq_len=t, y=t**2 * (1 + r), program="a") for t in (64, 128, 256) for r in range(3)]
    assert growth(rows, "seq_len", "y", first=1024, same="program")["growth"] == "quadratic"
    two = growth([one for one in rows if one["task.seq_len"] > 64], "seq_len", "y", first=1024, same="program")
    assert (two["over"], two["growth"]) == ("128–256", "two points show no law")
    assert two["exponent"].value == pytest.approx(2)


def test_terms_name_their_own_lengths_and_what_one_more_adds_is_taken_pair_by_pair():
    rows = [row(r, seq_len=t, y=(5 + 3.0 * t) * (1 + r), program="a") for t in (64, 128, 512, 1024) for r in range(3)]
    found = growth(rows, "seq_len", "y", first=128, same="program")
    assert (found["over"], found["terms over"]) == ("128–1,024", "64–1,024")
    steps = added(rows, "y", "seq_len")
    assert list(steps) == ["64–128", "128–512", "512–1024"]
    assert all(e.value == pytest.approx(6) and e.low < 6 < e.high and e.n == 3 for e in steps.values())
    assert added(rows[:3], "y", "seq_len") == {} == added([], "y", "seq_len")


def test_a_crossing_is_taken_over_the_lengths_that_both_have():
    rows = [row(r, m, t, y=(t**2 if m == "attention" else 300 * t) * (1 + r)) for r in range(3)
            for m in ("attention", "lstm") for t in (64, 128, 256, 512, 1024) if (m, t) != ("lstm", 64)]  # fmt: skip
    assert crossing(rows, "seq_len", "y", "mixer", "attention", "lstm").value == pytest.approx(300, rel=1e-3)
    assert crossing(rows, "seq_len", "y", "mixer", "attention", "rnn") == NOTHING


def test_relative_rows_are_of_the_same_round_and_keep_failures():
    rows = [row(r, seq_len=t, y=t * (r + 1.0)) for r in range(2) for t in (64, 128)] + [row(seq_len=512, status="oom")]
    found = relative(rows, "y", select(rows, seq_len=64), ("mixer",))
    assert [r.get("ratio") for r in found if r["status"] == "ok"] == [1, 2, 1, 2] and len(
        select(found, status="oom")
    ) == 1
    assert relative(rows[:2], "y", rows[:1], ("mixer",), inverse=True)[1]["ratio"] == 0.5


def test_rounds_of_a_cell_become_one_line_with_the_spread_of_what_was_sampled():
    samples = [4.0, 1.0, 3.0, 2.0, 10.0]
    (line,) = merge([row(r, step_seconds=s, flops=7, noisy=False) for r, s in enumerate(samples)])
    assert [line[f"step_seconds_{n}"] for n in ("min", "q25", "median", "q75")] == [1, 2, 3, 4]
    assert (line["status"], line["rounds"], line["rounds_failed"], line["flops"]) == ("ok", 5, 0, 7)
    assert not {"step_seconds", "round", "studies"} & set(line)


def test_a_retry_replaces_a_failure_and_a_failed_round_shows():
    failed = row(0, status="timeout", message="too slow")
    (line,) = merge([failed, row(0, step_seconds=1.0)])
    assert line["status"] == "ok" and line["step_seconds"] == 1.0 and "message" not in line
    (line,) = merge([row(0, step_seconds=1.0), row(1, status="killed", message="signal 9"), row(2, step_seconds=2.0)])
    assert (line["status"], line["message"], line["rounds"], line["rounds_failed"]) == ("killed", "signal 9", 2, 1)
    assert line["step_seconds_median"] == 1.5


def test_a_cell_is_its_config_and_not_its_key_and_its_parts_stay_apart():
    assert len(merge([row(0, y=1.0), row(1, y=2.0, key="other")])) == 1
    assert len(merge([row(0), row(0, seq_len=128)])) == 2
    assert [line["part"] for line in merge([row(part=i, accuracy=i / 2) for i in range(3)])] == [0, 1, 2]
    assert [line["key"] for line in merge([{"key": k, "round": 0, "status": "ok"} for k in ("a", "b", "a")])] == [
        "a",
        "b",
    ]


def test_more_rounds_join_and_of_a_program_sampled_in_two_ways_the_one_sampled_longer_counts():
    few = [row(r, step_seconds=1.0 + r, **{"measure.rounds": 2, "measure.min_sample_seconds": 0.05}) for r in range(2)]
    more = [row(2, step_seconds=3.0, **{"measure.rounds": 3, "measure.min_sample_seconds": 0.05})]
    assert mean(few + more, "step_seconds").value == 2
    careful = [row(r, step_seconds=5.0, **{"measure.rounds": 2, "measure.min_sample_seconds": 0.3}) for r in range(2)]
    for rows in (few + careful, careful + few):
        assert mean(rows, "step_seconds").value == 5


def test_steps_by_which_a_share_of_the_seeds_had_come_somewhere():
    def of(*steps):
        return reached([{"at": step, "step": 90} for step in steps], "at", 0.8, "step")

    assert of(30, 10, 50, 20, 40) == (40, 40, 40, 5)  # four of five
    assert of(30, 10, None, 20, 40) == (40, 40, 40, 5)
    one = of(30, None, 10, None, 20)
    assert math.isnan(one.value) and (one.low, one.high, one.n) == (90, math.inf, 5) and shown(one) == "above 90"
    assert of() == intervals.NOTHING and of(None).n == 1 and of(7).value == 7


def test_a_share_of_yes_and_no_has_the_interval_of_a_count():
    def of(*answers):
        return mean([row(lane=lane, share_of_learned=float(one)) for lane, one in enumerate(answers)],
                    "share_of_learned", "lane")  # fmt: skip

    assert (
        of(1, 1, 1, 1, 1)[:3] == (1, pytest.approx(0.025**0.2), 1)
        and of(0, 0, 0, 0, 0).high == 1 - of(1, 1, 1, 1, 1).low
    )
    assert (of(1, 0, 1, 1, 0).low, of(1, 0, 1, 1, 0).high) == pytest.approx((0.1466, 0.9473), abs=1e-4)


def test_the_interval_of_a_share_ends_where_shares_do():
    rows = [row(lane=lane, accuracy=share, share_of_lost=1 - share, loss=share, accuracy_16_31=share)
            for lane, share in enumerate((0.7, 0.95, 1.0, 1.0, 1.0))]  # fmt: skip
    plain, right = mean(rows, "loss", "lane"), mean(rows, "accuracy", "lane")
    assert right == plain._replace(high=1.0) == mean(rows, "accuracy_16_31", "lane") and plain.high > 1
    assert mean(rows, "share_of_lost", "lane").low == 0
    assert mean([one | {"test_accuracy": one["loss"]} for one in rows], "test_accuracy", "lane").high == 1
    helped = [
        one | {"stability": one["loss"] + 0.1} for one in rows
    ]  # 1 less forgetting, which a helpful task makes < 0
    assert mean(helped, "stability", "lane").high > mean(helped, "stability", "lane").value > 1
    assert shown(mean(rows[:1], "accuracy")) == "0.700 (one round)"
    worse = [row(mixer="gru", lane=one["lane"], accuracy=0.0) for one in rows]
    assert difference(rows + worse, "accuracy", "mixer", "lstm", "gru", "lane").high > 1  # of two shares it is none
