"""Figures: deterministic, walls where cells failed, ticks at the values, looks that differ in grey."""

import re

import numpy as np
import pytest

from transformer_jax.intervals import NOTHING, Estimate
from transformer_jax.report import Figure, dots, lines, plots
from transformer_jax.report.plots import LOOKS, render

LENGTHS = (64, 256, 1024)


def rows(rounds=5, **columns):
    return [
        {"key": "k", "round": r, "status": "ok", "model.mixer": m, "task.seq_len": t, "phase": p, "flops": t**2,
         "step_seconds": (t / 1e6) * (1 + 0.1 * r) * (2 if m == "lstm" else 1)} | columns
        for r in range(rounds) for m in ("lstm", "attention") for t in LENGTHS for p in ("train", "forward")
    ]  # fmt: skip


def test_a_figure_is_the_same_twice_and_names_its_lines_panels_ticks_and_units():
    figure = lines(rows(), "seq_len", "step_seconds", "mixer", "phase", name="time")
    svg, png = render(figure)
    assert (svg, png) == render(lines(rows(), "seq_len", "step_seconds", "mixer", "phase", name="time"))
    assert (svg, png) == (plots.svg(figure), plots.png(figure))
    text = re.findall(r">([^<>]+)</text>", svg)
    assert {"attention", "lstm", "train", "forward", "64", "256", "1024", "sequence length T (tokens)"} <= set(text)
    assert any(label.endswith("ms") or label.endswith("µs") for label in text)
    assert png.startswith(b"\x89PNG")


def test_failed_cells_are_walls_and_one_round_has_no_bars():
    failed = {"key": "f", "round": 0, "status": "oom", "model.mixer": "lstm", "task.seq_len": 4096, "phase": "train"}
    svg, _ = render(lines([*rows(), failed], "seq_len", "step_seconds", "mixer", "phase", name="time"))
    assert "out of memory" in svg and ">4096<" in svg
    render(lines([failed], "seq_len", "step_seconds", "mixer", name="walls_alone"))
    once = lines(rows(1), "seq_len", "step_seconds", "mixer", "phase", name="time")
    assert "nan" not in render(once)[0]


def test_many_values_over_many_powers_of_ten_have_their_powers_below_them():
    found = [row | {"strength": 5.62 ** (i - 8)} for i in range(24) for row in rows(2, phase="train")]
    figure = lines(found, "strength", "flops", "mixer", "seq_len", name="many")
    text = re.findall(r">([^<>]+)</text>", plots.svg(figure))
    assert {"10⁻³", "10⁹"} & set(text) and not any("e+" in one or "0.178" in one for one in text)


def test_relative_lines_have_ratios_and_marks_their_numbers():
    marks = {("train",): {"lstm": Estimate(128, 100, 150, 5), "rnn": Estimate(np.nan, 0, 64, 5), "gru": NOTHING}}
    figure = lines(rows(), "seq_len", "step_seconds", "mixer", "phase", relative_to={"seq_len": 64}, reference=1,
                   marks=marks, name="ratio")  # fmt: skip
    svg, _ = render(figure)
    assert ">16<" not in svg and ">10<" in svg
    assert "crosses lstm at 128 [100, 150]" in svg and "crosses rnn below 64" in svg


def test_log_axes_that_a_user_draws_show_their_powers_and_a_dollar_stays_one():
    def draw(canvas):
        one = canvas.subplots()
        one.loglog([1, 10, 1000], [0.001, 1, 100], label="$5 & $6")
        one.legend()

    svg, _ = render(Figure("loglog", "", "", draw))
    found = re.findall(r">([^<>]+)</text>", svg)
    assert {"10⁰", "10³", "10⁻³", "10²", "$5 &amp; $6"} <= set(found) and "mathdefault" not in svg

    def few(canvas):
        canvas.subplots().loglog([2, 5], [200, 500])

    assert "3×10²" in re.findall(r">([^<>]+)</text>", render(Figure("few", "", "", few))[0])


def test_on_a_small_screen_panels_stand_one_above_the_other():
    figure = lines(rows(), "seq_len", "step_seconds", "mixer", "phase", name="time")
    wide, narrow = (float(re.search(r'viewBox="0 0 ([\d.]+)', plots.svg(figure, small))[1]) for small in (False, True))
    assert figure.narrow[0] < 6 and narrow < wide / 2
    assert figure.keys == {"k"}


def test_any_rows_draw_linear_axes_counts_and_nothing_too():
    render(lines(rows(), "seq_len", "flops", "mixer", "phase", pair=None, name="counted"))
    render(lines(rows(step_seconds=0.0), "seq_len", "step_seconds", "mixer", "phase", log="", name="linear"))
    assert lines([], "seq_len", "step_seconds", "mixer", "phase", name="none") is None


def test_steps_and_counts_have_whole_ticks_and_other_numbers_have_not():
    found = [
        {"status": "ok", "round": 0, "step": s, "who": "a", "solved": s // 10, "loss": 1 / s} for s in (10, 20, 30)
    ]

    def ticks(x, y):
        text = re.findall(r">([-−\d.]+)</text>", plots.svg(lines(found, x, y, "who", pair=None, log="", name="t")))
        return {float(one.replace("−", "-")) for one in text}

    assert {10, 20, 30, 1, 2, 3} <= ticks("step", "solved") and all(t == int(t) for t in ticks("step", "solved"))
    assert 0.05 in ticks("step", "loss") and any(t != int(t) for t in ticks("loss", "step"))


def test_a_forest_plot_names_every_line_and_survives_what_was_not_measured():
    found = {
        "LSTM, T = 64": {"torch": Estimate(0.5, 0.4, 0.6, 5), "linen": NOTHING},
        "GRU": {"linen": Estimate(2, 0, np.inf, 1)},
    }
    svg, _ = render(dots(found, name="forest", x_label="our time / theirs"))
    assert {"LSTM, T = 64", "GRU", "torch", "linen", "our time / theirs"} <= set(re.findall(r">([^<>]+)</text>", svg))
    assert dots({}, name="empty") is None


def test_any_two_looks_differ_in_colour_marker_and_dashes():
    for part in zip(*LOOKS, strict=True):
        assert len(set(part)) == len(LOOKS)


def test_names_beside_mixers_look_different_as_long_as_there_are_looks():
    mixers, others = ["rnn", "lstm"], [f"form {n}" for n in range(7)]
    rows = [{"status": "ok", "round": 0, "x": x, "y": x, "who": who} for who in mixers + others for x in (1, 2)]
    svg, _ = render(lines(rows, "x", "y", "who", pair=None, name="looks"))
    colours = {colour for colour, *_ in LOOKS if colour.lower() in svg.lower()}
    assert len(colours) == len(mixers + others) == len(LOOKS)


@pytest.mark.parametrize("name", ["../up", "A", "", "a b", "a/b"])
def test_a_figure_name_cannot_leave_the_folder(name):
    with pytest.raises(ValueError, match="name"):
        Figure(name, "", "", lambda canvas: None)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (64, "64"),
        (131072, "131072"),
        (0.5, "0.5"),
        (3e-4, "0.0003"),
        (0.00072486, "0.000725"),
        (67436500.0, "6.74e+07"),
    ],
)
def test_a_tick_is_a_short_number(value, text):
    assert plots._plain(value) == text
