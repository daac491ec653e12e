"""A crossing in words: what is claimed, and what stays open."""

import math

import pytest

from transformer_jax.intervals import Crossing, Estimate
from transformer_jax.report import sentences

T = (64.0, 256.0, 1024.0)


def crossing(value, low, high, count, *order):
    return Crossing(Estimate(value, low, high, 9), count, order, T)


@pytest.mark.parametrize(
    ("found", "phrase", "word", "is_open"),
    [
        (crossing(100, 90, 120, 1, -1, 1, 1), "from T = 100 on", "crosses at T = 100", 0),
        (crossing(100, 60, 200, 1, -1, 1, 1), "from somewhere between T = 60 and 200 on", "between T = 60 and 200", 1),
        (crossing(math.nan, 64, 128, 1, -1, 1, 1), "from somewhere between T = 64 and 128 on",
         "between T = 64 and 128", 0),
        (crossing(100, 90, 120, 2, 1, -1, 1), "up to T = 100 (the first of 2 crossings)", "crosses at T = 100", 0),
        (crossing(math.nan, 0, 64, 0, 1, 1, 1), "at every length from T = 64 to 1,024", "at every length", 0),
        (crossing(math.nan, 1024, math.inf, 0, -1, -1, -1), "at no length from T = 64 to 1,024", "at no length", 0),
        (crossing(math.nan, 0, 256, 0, 0, 1, 1), "from T = 256 on (64: too close to tell)",
         "T = 256 at the latest", 1),
        (crossing(math.nan, 256, math.inf, 0, -1, -1, 0), "at most above T = 256 (1,024: too close to tell)",
         "above T = 256, if ever", 1),
        (crossing(math.nan, 0, math.inf, 0, 0, -1, -1), "at no length from T = 64 to 1,024 (64: too close to tell)",
         "at no length, but perhaps at 64", 1),
        (crossing(math.nan, 0, math.inf, 0, 0, 0, 0), "perhaps (too close to tell from T = 64 to 1,024)",
         "undecided", 1),
    ],
)  # fmt: skip
def test_a_crossing_claims_what_its_lengths_say(found, phrase, word, is_open):
    assert sentences.passing(found) == (phrase, word)
    assert sentences.bounded(found) == bool(is_open)


EQUAL, FASTER, SLOWER, WIDE = (Estimate(1, 0.9, 1.1, 9), Estimate(0.9, 0.85, 0.95, 9), Estimate(2, 1.8, 2.2, 9),
                               Estimate(1, 0.5, 2, 9))  # fmt: skip


@pytest.mark.parametrize(
    ("ratios", "said"),
    [
        ({256: SLOWER, 32: EQUAL, 128: EQUAL}, ("from T = 256 on, about the same at T = 32 to 128",
                                                "from T = 256 on; about equal at T = 32 to 128")),
        ({32: FASTER, 64: EQUAL, 128: SLOWER}, ("from T = 128 on, about the same at T = 64",
                                                "from T = 128 on; about equal at T = 64")),
        ({32: EQUAL, 64: WIDE, 128: SLOWER}, None),
        ({32: EQUAL, 64: FASTER, 128: SLOWER}, None),
        ({32: FASTER, 64: SLOWER}, None),
        ({32: EQUAL, 64: EQUAL}, None),
    ],
)  # fmt: skip
def test_two_that_cost_about_the_same_have_no_point_at_which_they_cross(ratios, said):
    assert sentences.near(ratios) == said
