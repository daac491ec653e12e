"""How long a run will take: what is predicted, what the clock says, else the limit after which cells are stopped."""

from types import SimpleNamespace

import pytest

from transformer_jax.config import Config, MeasureConfig
from transformer_jax.lab import preview
from transformer_jax.lab.plan import Cell

CELL = Cell({}, Config(measure=MeasureConfig(rounds=3)), "")


def seen(*there, predicted=None, clock=None, ended=None):
    rounds = float("inf") if clock else 3
    looks = [preview.Outlook(CELL, predicted or {}, n, ended, None, rounds) for n in there]
    return preview.Preview(looks, [], clock)


def length(found, workers=1, limit=100.0, **cells):
    experiment = SimpleNamespace(cells=SimpleNamespace(**cells))
    return preview.length(experiment, found, lambda config: limit, workers)


def test_what_is_not_predicted_has_the_limit_of_its_cells():
    found = length(seen(0, 1, 3))  # 3 + 2 rounds are left
    assert found.seconds is None and found.limit == 500.0
    assert (
        "5 measurements; how long they take is not predicted; 9 min at most, as each is stopped after 2 min"
        == found.text
    )


@pytest.mark.parametrize(("side", "seconds"), [(True, 250 + 50), (False, 500)])
def test_workers_share_a_limit_where_cells_may_stand_beside_each_other(side, seconds):
    assert length(seen(0, 1), workers=2, SIDE_BY_SIDE=side).limit == seconds


def test_what_is_predicted_or_ended_by_the_clock_needs_no_limit():
    found = length(seen(0, predicted={"seconds": 10.0}))
    assert found.limit is None and found.seconds == pytest.approx(3 * 10 + 2)
    found = length(seen(0, 5, predicted={"seconds": 10.0}, clock=60.0))
    assert (found.seconds, found.limit) == (60.0, None) and "--budget 60s" in found.text or "--budget 1m" in found.text
    assert length(seen(0, clock=90.0)).seconds == 90.0
    for whole in (seen(3, 3), seen(0, ended="oom")):
        assert length(whole) == ("nothing is left to measure", 0, None)


def test_a_limit_in_words_is_never_below_it():
    words = [preview.at_the_most(seconds) for seconds in (45.2, 91, 8100, 8641)]
    assert words == ["46 s", "2 min", "2.3 h", "2.5 h"]


def test_together_says_what_is_known_and_the_limit_of_the_rest():
    known, unknown, done = (preview.Length("", *of) for of in ((300.0, None), (None, 8100.0), (0, None)))
    assert (
        preview.together([known, known]) == "about 10 min" and preview.together([done]) == "nothing is left to measure"
    )
    assert preview.together([unknown]) == "how long they take is not predicted; 2.3 h at most"
    text = preview.together([known, unknown, unknown, done])
    assert text == "about 5 min for 1 of 4 commands; of 2 it is not predicted, 4.5 h at most"
