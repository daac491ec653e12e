"""The estimate of the time left, and what is shown of a run."""

import io

import pytest
from rich.console import Console

from transformer_jax.config import Config
from transformer_jax.lab import display
from transformer_jax.lab.plan import Cell
from transformer_jax.lab.training import Stage


def cell(**overrides):
    return Cell({f"model.{name}": value for name, value in overrides.items()}, Config(), str(overrides))


def drawn(view_type, **options):
    console = Console(file=io.StringIO(), width=90, **options)
    view = view_type(console)
    view.start(40, ["line 3 is torn"])
    for n in range(40):
        row = {"status": "ok" if n else "oom", "round": 0, "message": "want [bold]9[/bold] bytes\nmore"}
        view.done(cell(mixer="lstm", num_heads=n), row, 0.25, 39 - n, 30.0 * (39 - n) or None)
    view.stop()
    return console.file.getvalue()


def test_nothing_is_foretold_before_the_first_measurement():
    assert display.Eta({"a": 3.0}).remaining(["a"]) is None


def test_predictions_are_scaled_to_what_was_measured():
    eta = display.Eta({"a": 1.0, "b": 2.0, "c": 10.0})
    eta.observe("a", 3.0)
    eta.observe("b", 6.0)
    assert eta.remaining(["c"]) == pytest.approx(30.0)
    assert eta.remaining(["a", "a", "c"]) == pytest.approx(36.0)
    eta.observe("a", 0.5)  # compiled by now: what it took last counts, the scale of first calls stays
    assert eta.remaining(["a", "c"]) == pytest.approx(30.5)
    assert eta.remaining([]) == 0


def test_compiling_is_expected_once_of_each_new_cell():
    eta = display.Eta({"a": 1.0, "b": 2.0, "c": 10.0})
    eta.observe("a", 7.0, 6.0)
    assert eta.remaining(["a"]) == pytest.approx(1.0)
    eta.observe("b", 4.0, 2.0)
    assert eta.remaining(["c", "c", "a"]) == pytest.approx(10.0 + 10.0 + 1.0 + 4.0)


def test_without_predictions_the_mean_counts():
    eta = display.Eta()
    eta.observe("a", 1.0)
    eta.observe("b", 3.0)
    assert eta.remaining(["c", "d"]) == pytest.approx(4.0)


def test_plain_lines_are_few_and_name_what_went_wrong():
    lines = drawn(display.PlainView).splitlines()
    assert lines[0] == "line 3 is torn"
    assert "mixer=lstm num_heads=0: oom  want [bold]9[/bold] bytes" in lines
    assert lines[-1] == "40/40 measured  ok 39  oom 1"
    assert 20 <= len(lines) <= 25
    assert "about 10 min left" in lines[-2 - 9]


def test_compiling_has_a_progress_of_its_own():
    for kind, options in ((display.PlainView, {}), (display.TableView, {"force_terminal": True})):
        console = Console(file=io.StringIO(), width=90, **options)
        view = kind(console)
        view.start(None, [])
        for stage in ("compiled", "ready"):
            for n in range(1, 130):
                view.preparing(stage, n, 129, 1.25 * (129 - n))
        view.note("too short for five passes")
        view.stop()
        text = console.file.getvalue()
        assert "compiling 84/129, about 56 s left" in text and "first steps 129/129" in text
        assert "too short for five passes" in text
        if kind is display.PlainView:
            assert len(text.splitlines()) < 40


@pytest.mark.parametrize(("passes", "lines"), [(6, range(6, 7)), (400, range(15, 25))])
def test_where_the_clock_ends_the_run_there_is_a_line_for_a_pass_or_for_many(passes, lines):
    console = Console(file=io.StringIO(), width=90)
    view = display.PlainView(console)
    view.start(None, [])
    for n in range(passes):
        for head in (1, 2, 3):
            view.done(cell(num_heads=head), {"status": "ok", "round": n}, 0.1, None, 100.0 * (1 - n / passes))
    view.stop()
    shown = console.file.getvalue().splitlines()
    assert len(shown) in lines and shown[0].startswith("pass 1: 3 measured  ok 3  about ")
    assert shown[-1] == f"pass {passes}: {3 * passes} measured  ok {3 * passes}"


def test_the_table_shows_the_last_rows():
    text = drawn(display.TableView, force_terminal=True)
    assert "line 3 is torn" in text and "mixer=lstm num_heads=39" in text and "40/40 measured" in text


def test_a_live_table_is_for_terminals_alone():
    assert isinstance(display.view_for(Console(file=io.StringIO())), display.PlainView)
    assert isinstance(display.view_for(Console(file=io.StringIO(), force_terminal=True)), display.TableView)


def test_many_values_of_a_key_are_its_first_and_last():
    known = cell(strengths=tuple(range(9)), betas=(0.9, 0.99))
    assert display.label(known) == "strengths=0 ... 8 (9) betas=(0.9, 0.99)"


@pytest.mark.parametrize(("seconds", "text"), [(40, "40 s"), (200, "3 min"), (9000, "2.5 h")])
def test_durations(seconds, text):
    assert display.duration(seconds) == text


def test_a_cell_that_fails_is_shown_with_file_and_line_on_a_terminal_too():
    traceback = (
        'Traceback (most recent call last):\n  File "/x/transformer_jax/lab/worker.py", line 9, in attempt\n    f()\n'
        '  File "/my/experiments/mine/cells.py", line 31, in cell\n    g()\nValueError: no\n'
    )
    row = {"status": "failed", "round": 0, "message": "ValueError: no", "traceback": traceback}
    for view_type, options in ((display.PlainView, {}), (display.TableView, {"force_terminal": True})):
        console = Console(file=io.StringIO(), width=90, **options)
        view = view_type(console)
        view.start(1, [])
        view.done(cell(mixer="gru"), row, 0.25, 0, None)
        view.stop()
        assert "mixer=gru: failed  ValueError: no (mine/cells.py, line 31)" in console.file.getvalue()


def test_a_training_is_a_line_for_each_quarter_and_stands_under_the_table():
    one = cell(mixer="lstm")
    console = Console(file=io.StringIO(), width=90)
    view = display.PlainView(console)
    view.start(1, [])
    for step in range(0, 1001, 20):  # of 1000
        view.training(one, Stage(step, 1000))
    lines = console.file.getvalue().splitlines()[1:]
    assert lines[0] == "mixer=lstm: training, step 0 of 1000, compiling"
    assert lines[1:] == [f"mixer=lstm: training, step {step} of 1000" for step in (260, 500, 760, 1000)]
    console = Console(file=io.StringIO(), width=90, force_terminal=True)
    view = display.TableView(console)
    view.start(1, [])
    view.training(one, Stage(260, 1000))
    view.stop()
    assert "mixer=lstm: training, step 260 of 1000" in console.file.getvalue()


def test_each_phase_of_a_training_has_its_name_and_its_own_steps():
    one = cell(mixer="lstm")
    console = Console(file=io.StringIO(), width=90)
    view = display.PlainView(console)
    view.start(1, [])
    for phase, steps in (("choosing the rate", 600), ("5 seeds", 300)):
        for step in (150, 160, steps):
            view.training(one, Stage(step, steps, phase))
    assert console.file.getvalue().splitlines()[1:] == [
        "mixer=lstm: choosing the rate, step 150 of 600", "mixer=lstm: choosing the rate, step 600 of 600",
        "mixer=lstm: 5 seeds, step 150 of 300", "mixer=lstm: 5 seeds, step 300 of 300",
    ]  # fmt: skip


def test_trainings_beside_each_other_have_a_line_each_until_they_are_done():
    one, other = cell(mixer="lstm"), cell(mixer="gru")
    console = Console(file=io.StringIO(), width=90)
    view = display.PlainView(console)
    view.start(2, [])
    for step in range(0, 1001, 20):  # of 1000, in turns
        view.training(one, Stage(step, 1000))
        view.training(other, Stage(step, 1000))
    lines = console.file.getvalue().splitlines()[1:]
    assert len(lines) == 10 and sum("mixer=gru" in line for line in lines) == 5
    console = Console(file=io.StringIO(), width=90, force_terminal=True)
    view = display.TableView(console)
    view.start(2, [])
    drawings = []
    view._live.update = lambda group, refresh: drawings.append([str(part) for part in group.renderables[3:]])
    view.training(one, Stage(260, 1000))
    view.training(other, Stage(20, 1000))
    view.training(one, Stage(300, 1000))
    view.done(one, {"status": "ok", "round": 0}, 0.25, 1, None)
    view.stop()
    assert drawings[-2:] == [
        ["mixer=lstm: training, step 300 of 1000", "mixer=gru: training, step 20 of 1000"],
        ["mixer=gru: training, step 20 of 1000"],
    ]
