"""A grid that goes on beyond its edge: where the best one lies decides, and what is frozen or free is no edge."""

import pytest

from transformer_jax.continual.widening import beyond

GRID = (1.0, 10.0, 100.0)


def rows(stability, grid=GRID, frozen=0.0, free=0.0):
    """Of two seeds; learning is the same at all strengths, so that stability decides."""
    found = dict(zip((0.0, None, *grid), (free, frozen, *stability), strict=True))
    return [{"seed": seed, "strength": at, "stability": value, "learning_accuracy": 0.5 + seed / 10}
            for at, value in found.items() for seed in (0, 1)]  # fmt: skip


@pytest.mark.parametrize(
    ("stability", "expected"),
    [
        ((0.1, 0.9, 0.2), ()),
        ((0.1, 0.2, 0.9), (1e3, 1e4, 1e5)),
        ((0.9, 0.2, 0.1), (1e-3, 1e-2, 1e-1)),
    ],
)
def test_it_goes_on_at_the_same_ratio_where_the_best_is_the_edge(stability, expected):
    assert beyond(rows(stability), 3) == expected


def test_what_is_frozen_or_free_may_be_as_good_as_the_edge():
    assert beyond(rows((0.1, 0.2, 0.9), frozen=0.9), 3) == () and beyond(rows((0.1, 0.2, 0.9), frozen=0.8), 3)
    assert beyond(rows((0.9, 0.2, 0.1), free=0.9), 3) == ()


def test_plasticity_counts_as_much_as_stability():
    found = rows((0.1, 0.2, 0.9))
    for row in found:
        row["learning_accuracy"] -= 0.4 * (row["strength"] == 100)
    assert beyond(found, 3) == ()


def test_without_a_grid_or_without_strength_0_there_is_none():
    assert beyond(rows((), grid=()), 3) == () and beyond([], 3) == ()
    assert beyond([row for row in rows((0.1, 0.2, 0.9)) if row["strength"] != 0], 3) == ()
