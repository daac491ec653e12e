"""Areas under fronts, rank correlation and the best at each weight, against slow oracles."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer_jax.report import fronts

POINTS = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=6)


@given(POINTS)
def test_the_hypervolume_is_the_number_of_unit_squares_that_a_point_dominates(points):
    squares = {(i, j) for x, y in points for i in range(x) for j in range(y)}
    assert fronts.hypervolume(points) == len(squares)


def test_rank_correlation():
    """Of a textbook form, 1 - 6 Σd² / (n (n² - 1)), where no two are equal; of equal ones by scipy."""
    from scipy import stats

    x, y = [3.0, 1.0, 4.0, 2.0], [10.0, 30.0, 40.0, 20.0]
    assert fronts.rank_correlation(x, y) == pytest.approx(1 - 6 * (4 + 4 + 0 + 0) / (4 * 15))
    tied = [1.0, 1.0, 2.0, 5.0]
    assert fronts.rank_correlation(x, tied) == pytest.approx(stats.spearmanr(x, tied).statistic)
    assert np.isnan(fronts.rank_correlation(x, [1.0] * 4))


def test_the_best_by_weight_is_of_means_over_rows():
    rows = [{"x": x, "y": y, "at": at} for at, x, y in (("a", 1.0, 0.0), ("a", 0.8, 0.2), ("b", 0.1, 0.8))]
    assert fronts.best(rows, 1.0, "x", "y", "at") == ("a", pytest.approx(0.9))
    assert fronts.best(rows, 0.0, "x", "y", "at") == ("b", pytest.approx(0.8))


def test_pairs_that_both_have():
    differ = fronts.less({1: 3.0, 2: 5.0, 9: 0.0}, {1: 1.0, 2: 2.0, 7: 0.0})
    assert differ == {1: 2.0, 2: 3.0} and fronts.paired(differ)[::3] == (2.5, 2)
    assert fronts.paired({}).n == 0


def test_what_each_seed_gives_where_it_gives_a_number():
    rows = [{"seed": seed, "x": x, "y": y} for seed, x, y in ((1, 1, 3), (1, 2, 1), (2, 2, 2), (3, None, 1))]
    assert fronts.area(rows[:2], "x", "y") == 4.0 and fronts.area(rows[3:], "x", "y") == 0.0
    assert fronts.each(rows, "seed", lambda part: fronts.area(part, "x", "y")) == {1: 4.0, 2: 4.0, 3: 0.0}
    assert fronts.each(rows, "seed", lambda part: part[0]["x"]) == {1: 1, 2: 2}
    assert fronts.each(rows, "seed", lambda part: float("nan" if len(part) > 1 else "inf")) == {}
