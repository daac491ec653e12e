"""Seven answers, always: what the sentences of the attention-cost page say, on planted, partial and noisy rows."""

import json
import re
from pathlib import Path

import pytest
from scipy.optimize import brentq

from tests.experiments.planted import BASE, CONTENDERS, LENGTHS, STUDIES, attention_cost, law, line, make_rows, over
from transformer_jax.report.findings import chance
from transformer_jax.report.plots import render
from transformer_jax.report.tables import shown

QUESTIONS = ("attention's cost grow", "a recurrence's", "From which T", "longest length", "heads", "depth", "token")
UNTOLD = re.compile(r"\bnan\b|\binf\b|\bNone\b|\[\]|ot measured")


def seven(rows):
    """The report and its answers, which are always there and in words."""
    report = attention_cost.report(rows)
    assert len(report.answers) == 7
    for finding, part in zip(report.answers, QUESTIONS, strict=True):
        assert part in finding.question and finding.text and finding.verdict, finding
        assert not UNTOLD.search(finding.answer), finding.answer
    return report, report.answers


@pytest.fixture(scope="module")
def quiet():
    return seven(make_rows(noise=0.002))


@pytest.fixture(scope="module")
def noisy_rows():
    """Every cell of a real run beside busy neighbours: its times by round, and what is known without a clock."""
    rows = []
    for number, text in enumerate((Path(__file__).parent / "noisy_rows.jsonl").read_text().splitlines()):
        cell = json.loads(text)
        fixed = BASE | cell["config"] | cell["known"] | {"status": "ok", "key": str(number), "header": "h"}
        fixed |= {"studies": tuple(cell["studies"])}
        rows += [fixed | {"round": r, "step_seconds": seconds} for r, seconds in enumerate(cell["seconds"])]
    return rows


def test_planted_growth_is_said_with_its_share_and_the_recurrence_is_linear(quiet):
    _, (attention, recurrence, *_) = quiet
    assert attention.of == "the op alone, training step, T = 1,024–4,096"
    assert attention.text.startswith("Attention: time as T^2.00, FLOPs as T^2.00, memory as T^")
    assert attention.text.endswith("cT² is 100\u00a0% at T = 4,096.")
    assert attention.verdict == "time: quadratic" and "BIC" not in attention.answer  # which only the table knows
    assert recurrence.text.startswith("The LSTM: time as T^1.00") and recurrence.verdict == "time: about linear"


def planted_crossing(place):
    def difference(length):
        config = BASE | place | {"task.seq_len": length}
        return law(config)[0] - law(config | {"model.mixer": "lstm"})[0]

    return brentq(difference, 64, 4096)


def test_the_crossing_is_the_planted_one_and_the_figure_has_the_same_number(quiet):
    report, (_, _, crossing, *_) = quiet
    at = crossing.estimates["in time"]
    value = shown(at).split(" ")[0]
    assert at.value == pytest.approx(planted_crossing({}), rel=0.02) and crossing.verdict == f"crosses at T = {value}"
    assert crossing.text.startswith(f"Attention: more time than the LSTM from T = {value} on, more FLOPs from T = ")
    assert crossing.of == "the whole model, training step, equal width"
    figure = report.figures[0]
    found = re.findall(r">([^<>]+)</text>", render(figure)[0])
    assert figure.name == "time_by_length" and {"attention", "lstm", "the op alone, training step"} <= set(found)
    assert f"crosses lstm at {shown(at)}" in found
    assert f"crosses lstm at {shown(crossing.estimates['the op alone, in time'])}" in found
    place = {"level": "model", "phase": "train", "matching": "width", "recurrence": "lstm"}
    assert line(report, "two cross", **place)["T* in time"] == at


def test_the_longest_length_heads_depth_and_the_next_token_are_those_of_the_laws(quiet):
    _, (*_, longest, heads, depth, token) = quiet
    far = {"task.seq_len": 4096}
    names = {"width": "equal width", "params": "equal parameters", "flops": "equal FLOPs"}
    for matching, name in names.items():
        found = longest.estimates[f"at {name}"]
        theirs = law(BASE | far | {"model.mixer": "lstm", "measure.matching": matching})[0]
        assert found.value == pytest.approx(law(BASE | far)[0] / theirs, rel=0.01)
        assert f"{shown(found).split(' ')[0]} times" in longest.text
    assert longest.verdict == "slower"
    assert (
        heads.text.startswith("16 heads instead of 1 take 1.0")
        and "as long (total width kept), 16 heads 1" in heads.text
    )
    assert heads.text.endswith("16.0 times (each head's width kept).")
    assert "8 blocks instead of 1 take attention" in depth.text and depth.verdict == "less than in proportion"
    assert token.text.startswith("After 4,096 tokens instead of 64 it takes attention")
    assert token.verdict == "slower; the LSTM: about equal"


def test_one_round_decides_nothing_that_was_timed():
    _, answers = seven(make_rows(rounds=1))
    assert all(finding.open and finding.verdict in ("undecided", "time: undecided") for finding in answers)
    assert "perhaps (too close to tell from T = 64 to 4,096)" in answers[2].text and "(one round)" in answers[0].text


def test_what_stays_open_has_bounds_and_what_is_settled_is_not_open(quiet):
    rows = make_rows({"length": over(CONTENDERS, task_seq_len=(64, 1024))}, noise=0.002)
    for row in rows:
        if row["model.mixer"] == "attention" and row["task.seq_len"] == 64:
            row["step_seconds"] *= 4.0 ** (row["round"] - 2)
    _, (_, _, crossing, *_) = seven(rows)
    assert crossing.verdict == "T = 1,024 at the latest" and crossing.open
    assert "from T = 1,024 on (64: too close to tell)" in crossing.text
    assert not any(finding.open for finding in quiet[1]) and "one in twenty" in quiet[0].notes[0]


def test_a_line_is_explained_where_one_is_drawn_and_chance_counted_where_there_are_several(quiet):
    report, _ = quiet
    assert report.figures[0].caption.startswith("Vertical line") and report.figures[0].title.endswith("the two cross")
    assert re.search(r"by chance: \d+, were all \d+ ratios", report.notes[0])
    apart = [row for row in make_rows({"length": STUDIES["length"]}, noise=0.002) if row["task.seq_len"] < 100]
    report, _ = seven(apart)
    assert report.figures[0].caption == "Bars: 95 % intervals." and "cross" not in report.figures[0].title
    two = over([{"model.mixer": "attention"}, {"model.mixer": "lstm"}], task_seq_len=(64,), measure_level=("op",))
    report, _ = seven(make_rows({"length": two}))
    assert report.notes[0].endswith("one in twenty does so by chance.")
    assert "by chance: 0.1, were all 2 ratios" in chance(2) and "by chance: 5, were all 95 ratios" in chance(95)


def test_attention_that_becomes_the_cheaper_one_is_not_called_slower():
    def reversed_law(config):
        seconds, *others = law(config)
        return (1 / seconds, *others)

    _, (_, _, crossing, *_) = seven(make_rows({"length": STUDIES["length"]}, noise=0.002, law=reversed_law))
    assert re.search(r"more time than the LSTM up to T = \d+", crossing.text)


def partial():
    quick = {"rounds": 2}
    yield "no rows", [], list(range(7))
    yield "all failed", make_rows({"length": STUDIES["length"][:60]}, fail=lambda config: "failed"), list(range(7))
    yield "one cell", make_rows({"length": STUDIES["length"][:1]}, **quick), list(range(7))
    yield "gru alone", [row for row in make_rows(**quick) if row["model.mixer"] == "gru"], [0, 2, 3, 4]
    yield "attention alone", [row for row in make_rows(**quick) if row["model.mixer"] == "attention"], [1, 2, 3]
    two = over(CONTENDERS[:3], task_seq_len=(64, 128), measure_level=("op",), measure_phase=("forward",))
    yield "two lengths of the op, forward", make_rows({"length": two}, **quick), [4, 5, 6]
    for study in ("heads", "depth", "decode"):
        place = 4 + ("heads", "depth", "decode").index(study)
        answered = {place} | ({0, 1, 2, 3} if study == "decode" else set())
        yield study, make_rows({study: STUDIES[study]}, **quick), sorted(set(range(7)) - answered)


@pytest.mark.parametrize(("name", "rows", "unanswered"), [pytest.param(*part, id=part[0]) for part in partial()])
def test_any_rows_have_the_seven_and_what_they_hold_is_answered(name, rows, unanswered):
    _, answers = seven(rows)
    assert [i for i, finding in enumerate(answers) if finding.verdict == "not answered"] == unanswered, name
    if name == "gru alone":
        assert answers[1].text.startswith("The GRU: time as")
    if name == "two lengths of the op, forward":
        assert answers[0].verdict == "time: two points show no law" and answers[0].of.endswith("T = 64–128")
        assert "the RNN" in answers[2].text and answers[2].of == "the op alone, forward pass, equal width"


def test_a_noisy_run_concludes_or_is_bounded_and_agrees_with_its_figure(noisy_rows):
    report, answers = seven(noisy_rows)
    verdicts = [finding.verdict for finding in answers]
    assert verdicts[0] == "time: between linear and quadratic" and "T^1.73" in answers[0].text
    assert verdicts[2] == "T = 512 at the latest" and "from T = 512 on (" in answers[2].text
    assert "crosses lstm below 512" in render(report.figures[0])[0]
    assert "0.611 to 1.02 times at equal FLOPs" in answers[3].text  # open, and between which bounds
    assert verdicts[4] == "slower" and verdicts[5] == "undecided"  # proportion: the interval reaches past 1.25 times
    assert answers[5].open


def swept(**axes):
    mixers = [{"model.mixer": mixer} for mixer in ("attention", "gru")]
    lengths = over(mixers, task_seq_len=(100, 300, 3000), **axes)
    return make_rows({"length": lengths, "heads": STUDIES["heads"]}, rounds=2)


@pytest.mark.parametrize("axes", [{"model_num_heads": (2, 8)}, {"model_d_model": (96, 192)}, {"train_seed": (0, 1)}])
def test_swept_values_are_compared_apart_and_every_row_is_drawn_or_named(axes):
    rows = swept(**axes)
    report, answers = seven(rows)
    drawn = frozenset().union(*(figure.keys for figure in report.figures if figure))
    ((title, left),) = ((table.title, table.rows) for table in report.tables if "in no figure" in table.title)
    assert len({row["key"] for row in rows} - drawn) == len(left) or "(0)" in title
    contenders = {row[-1] for row in (cell[:5] for cell in report.tables[1].rows)}
    if "model_num_heads" in axes:
        mine = {row[3] for row in report.tables[1].rows}
        assert contenders == {"gru"} and {"attention, num_heads 2", "attention, num_heads 8"} <= mine
    else:
        (value,) = {axis.partition("_")[2] for axis in axes}
        assert {f"gru, {value} {v}" for v in next(iter(axes.values()))} == contenders
    assert answers[2].verdict != "not answered"


def test_any_axis_may_be_swept_in_any_study():
    places = {"measure_matching": ("width", "params"), "measure_level": ("block", "model"), "model_d_model": (64, 96)}
    axes = {"heads": {"model_num_heads": (1, 2)}, "depth": {"model_num_layers": (2, 4)}, "decode": {}, "matching": {},
            "head_dim": {"model_head_dim": (8, 16)}, "length": {"model_attention": ("auto", "reference")},
            "twins": {"measure_repeat": (0, 1, 2)}}  # fmt: skip
    mixers = [{"model.mixer": "attention"}, {"model.mixer": "lstm"}]
    rows = make_rows({study: over(mixers, task_seq_len=(64, 256), **places, **own) for study, own in axes.items()}, 2)
    report, answers = seven(rows)
    assert [finding.verdict for finding in answers[4:6]] != ["not answered"] * 2
    render(next(figure for figure in report.figures if figure and figure.name == "heads_by_length"))


def test_an_lstm_that_reads_no_position_is_one_contender_and_one_that_has_positions_another():
    lstm = over([{"model.mixer": "lstm"}], task_seq_len=LENGTHS[:3], model_position=("auto", "none", "sinusoidal"))
    rows = make_rows({"length": lstm + over(CONTENDERS[:1], task_seq_len=LENGTHS[:3], model_position=("auto",))})
    report, _ = seven(rows)
    assert {row[4] for row in report.tables[1].rows} == {"lstm, position none", "lstm, position sinusoidal"}
