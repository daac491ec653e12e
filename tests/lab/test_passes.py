"""In which order passes take the cells, and that the clock alone, or a number, ends them."""

import time
from types import SimpleNamespace

import pytest

from transformer_jax.config import Config, ConfigError, with_overrides
from transformer_jax.lab import passes
from transformer_jax.lab.plan import Cell
from transformer_jax.lab.sweep import grid


def cells_of(*lengths, heads=(1, 2)) -> list[Cell]:
    overrides = grid({"model.num_heads": heads, "task.seq_len": lengths})
    return [Cell(one, with_overrides(Config(), one), str(one)) for one in overrides]


def heads_of(config):
    return config.model.num_heads


@pytest.fixture
def at(monkeypatch):
    """A clock that stands until it is set: at.now = 3.0."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(passes, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def test_what_is_compared_is_sampled_in_a_row_in_an_order_of_each_pass():
    cells = cells_of(*range(1, 21), heads=(1, 2, 4))
    orders = [passes.order(cells, heads_of, seed=0, round_=n) for n in range(40)]
    firsts = set()
    for taken in orders:
        assert sorted(cell.identity for cell in taken) == sorted(cell.identity for cell in cells)
        blocks = [heads_of(cell.config) for cell in taken]
        assert blocks == [one for block in (blocks[0], blocks[20], blocks[40]) for one in [block] * 20]
        firsts.add(blocks[0])
    assert firsts == {1, 2, 4}
    lengths = [[cell.config.task.seq_len for cell in taken[:20]] for taken in orders]
    assert len(set(map(tuple, lengths))) == 40 and all(one != sorted(one) for one in lengths)
    assert passes.order(cells, heads_of, 0, 7) == orders[7] != passes.order(cells, heads_of, 1, 7)


def test_the_order_does_not_depend_on_what_is_there():
    cells = cells_of(1, 2, 3, 4)
    whole = passes.order(cells, heads_of, 0, 1)
    there = {(cell.identity, 1): "ok" for cell in whole[::2]}
    left = passes.Passes(cells, there, heads_of, 0, lambda cell: 2)
    assert left.calls(1) == whole[1::2] and left.calls(0) == passes.order(cells, heads_of, 0, 0) and not left.calls(2)
    assert len(left.todo()) == 12 and left.standing() == {"missing": 8}
    left.add(whole[1], 1, "oom")
    assert whole[1] not in left.calls(0) and left.standing() == {"missing": 7, "oom": 1}


def test_passes_end_when_there_is_no_cell_left():
    one, other = cells_of(5, heads=(1,)), {}
    forever = passes.Passes(one, other, heads_of, 0, lambda cell: float("inf"))
    numbers = forever.numbers()
    assert [next(numbers) for _ in range(100)] == list(range(100))
    forever.add(one[0], 3, "killed")
    assert list(numbers) == []


def test_the_clock_ends_a_run_after_the_last_pass_that_fits(at):
    clock, made = passes.Clock(100.0, began=0.0), 0
    at.now = 30.0  # compiled
    while clock.allows_another():
        began, at.now = at.now, at.now + 13.0
        clock.took(at.now - began, 1.0)
        made += 1
    assert made == 4 and at.now <= 92.0  # the report has 8 s


def test_one_pass_is_made_however_late_it_is(at):
    clock = passes.Clock(100.0, began=0.0)
    at.now = 500.0
    assert clock.allows_another()
    clock.took(5.0, 0.1)  # the rest of a pass that was stopped: a whole one takes 50 s
    assert clock.pass_seconds == pytest.approx(50.0) and not clock.allows_another()


def test_a_budget_that_does_not_hold_five_passes_is_said_with_one_that_does(at):
    clock = passes.Clock(60.0, began=0.0)
    at.now = 27.0
    clock.foresee(5.0)
    assert clock.warning(0) is None
    clock.foresee(20.0)
    text = clock.warning(0)
    assert "about 20 s and 25 s are left: too short for 5 passes" in text and "--measure.rounds 5" in text
    (budget,) = [
        passes.seconds(part) for part in text.replace(",", "").split() if part[0].isdigit() and part[-1] in "sm"
    ]
    roomy = passes.Clock(budget, began=0.0)
    roomy.foresee(20.0)
    assert roomy.warning(0) is None and budget <= 27 / 0.95 + 100 / 0.95 + 30
    assert clock.warning(4) is None  # one more is left to make


@pytest.mark.parametrize(("text", "seconds"), [("6m", 360), ("90s", 90), ("1h", 3600), ("1.5h", 5400)])
def test_budgets_are_read_as_they_are_spelled(text, seconds):
    assert passes.seconds(text) == seconds
    assert passes.seconds(passes.spelled(seconds)) == seconds


@pytest.mark.parametrize("text", ["6", "m", "6 m", "-6m", "6min", "", "0s", "nan s", "infm"])
def test_what_is_no_time_is_no_budget(text):
    with pytest.raises(ConfigError, match="like 90s, 6m or 1h"):
        passes.seconds(text)


def test_the_outlook_knows_the_clock(monkeypatch):
    monkeypatch.setattr(passes.cores, "count", lambda: 2)
    cells = cells_of(*range(1, 31))  # 60 cells, five rounds each
    assert passes.outlook(cells, [1.0] * 60, None, True) == (
        "300 measurements: about 6 min, about 60 s of compiling among them"
    )
    assert "about 60 s of compiling, then about 4 passes of 60 s" in passes.outlook(cells, [1.0] * 60, 360.0, True)
    assert "about 2 min of compiling, then about 1 pass of" in passes.outlook(cells, [1.0] * 60, 190.0, False)
    assert passes.outlook([], [], 360.0, True) == passes.outlook([], None, None, True) == "nothing is left to measure"
    assert "not predicted" in passes.outlook(cells, None, None, False)
    assert "(--budget 6m)" in passes.outlook(cells, None, 360.0, False)


def test_the_real_clock_runs():
    clock = passes.Clock(1000.0, time.monotonic())
    assert 940 < clock.left() <= 950


def test_of_a_tiny_plan_the_outlook_names_the_budget_that_would_do(monkeypatch):
    monkeypatch.setattr(passes.cores, "count", lambda: 2)
    text = passes.outlook(cells_of(64, heads=(1,)), [0.0001], 600.0, True)
    assert "more than 100 passes of less than a second" in text and "; --budget 30s would hold 100" in text
    assert passes.outlook(cells_of(64, heads=(1,)), [0.0001], 8.0, True).endswith("each a sample of every cell")
