"""What a training run shows: how many of its programs are compiled, and metrics with their intervals."""

import io

import pytest
from rich.console import Console

from transformer_jax.lab import trial_display


@pytest.fixture
def plain():
    return Console(file=io.StringIO(), width=200)


def test_compiling_is_counted_on_a_terminal_and_now_and_then_elsewhere(plain, monkeypatch):
    terminal = Console(file=io.StringIO(), width=200, force_terminal=True, force_interactive=True)
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr(trial_display.time, "monotonic", lambda: next(clock))
    for console in (terminal, plain):
        shown = trial_display.Shown(console, None)
        with shown.showing(0, 100):
            for number in range(1, 8):
                shown.compiling(number, 12)
                shown._bar.refresh()
    assert "compiling 7 of 12" in terminal.file.getvalue()
    assert plain.file.getvalue() == "compiling 3 of 12\ncompiling 6 of 12\n"  # four seconds each


def test_steps_of_several_lengths_have_no_tokens_per_second(plain):
    shown = trial_display.Shown(plain, None)
    with shown.showing(0, 10):
        shown.advance(5, [{"loss": 2.0}])
        shown.advance(10, [{"loss": 1.0}])
    assert "steps/s" in plain.file.getvalue() and "tokens" not in plain.file.getvalue()


@pytest.mark.parametrize(
    "lanes, text", [(1, "bleu 58.1 [56.6, 59.5]  exact 0.2500"), (2, "bleu 58.1234  exact 0.2500")]
)
def test_an_interval_of_one_lane_is_shown(plain, lanes, text):
    metrics = {"bleu": 58.1234, "bleu_low": 56.6, "bleu_high": 59.5, "exact": 0.25}
    shown = trial_display.Shown(plain, 7)
    with shown.showing(0, 10):
        shown.evaluated(5, [metrics] * lanes)
    assert plain.file.getvalue() == f"step 5/10  validation: {text}\n"


def test_the_share_of_the_peak_is_found_out_once_and_only_when_there_is_a_time_to_compare(plain, monkeypatch):
    clock, asked = iter([0.0, 1.0, 2.0, 30.0, 31.0, 40.0]), []  # 28 seconds that are none of steps
    monkeypatch.setattr(trial_display.time, "monotonic", lambda: next(clock))
    shown = trial_display.Shown(plain, 8, lambda: asked.append(shown.steps) or 0.05)
    with shown.showing(0, 30):
        shown.advance(10, [{"loss": 3.0}])
        assert not asked
        for step in (20, 30):
            shown.advance(step, [{"loss": 2.0}])
    assert asked == [10] and shown.step_seconds == 0.1
    assert plain.file.getvalue().count("50% of peak") == 2


def test_each_of_several_trainings_has_a_meter_of_its_own(plain, monkeypatch):
    """The first chunk may compile, and what lies between two trainings is no time of steps."""
    clock = iter([0.0, 30.0, 31.0, 31.0, 50.0, 90.0, 92.0, 92.0])
    monkeypatch.setattr(trial_display.time, "monotonic", lambda: next(clock))
    shown = trial_display.Shown(plain, 8)
    for _ in range(2):
        shown.another()
        with shown.showing(0, 20):
            for step in (10, 20):
                shown.advance(step, [{"loss": 2.0}])
    assert shown.step_seconds == 0.2
    lines = plain.file.getvalue().splitlines()
    assert [line.partition("loss 2.0000")[2].strip() for line in lines] == ["", "80 tokens/s", "", "40 tokens/s"]
