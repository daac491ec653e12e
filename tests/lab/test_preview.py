"""How long a run of what is left will take: what is predicted, and what the clock says."""

from types import SimpleNamespace

from transformer_jax.config import Config, MeasureConfig
from transformer_jax.lab import preview
from transformer_jax.lab.plan import Cell

CELL = Cell({}, Config(measure=MeasureConfig(rounds=3)), "")


def seen(*there, predicted=None, clock=None, ended=None):
    rounds = float("inf") if clock else 3
    looks = [preview.Outlook(CELL, predicted or {}, n, ended, None, rounds) for n in there]
    return preview.Preview(looks, [], clock)


def length(found, **cells):
    return preview.length(SimpleNamespace(cells=SimpleNamespace(**cells)), found)


def test_what_is_left_counts_in_rounds():
    assert length(seen(0, 1, 3)) == "5 measurements; how long they take is not predicted"
    assert length(seen(3, 3)) == length(seen(0, ended="oom")) == "nothing is left to measure"


def test_what_is_predicted_or_ended_by_the_clock_says_so():
    assert length(seen(0, predicted={"seconds": 10.0})).startswith("3 measurements: about 32 s")
    assert "--budget 1m" in length(seen(0, 5, predicted={"seconds": 10.0}, clock=60.0))
    assert "--budget 90s" in length(seen(0, clock=90.0))
