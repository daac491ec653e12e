"""Metrics of a stream against numbers worked out by hand, and what must hold of any matrix."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer_jax.continual import metrics


def test_a_stream_of_three_tasks_worked_out_by_hand():
    """After equations 2 to 4 of Lopez-Paz & Ranzato 2017 (GEM); forgetting after Chaudhry et al. 2018."""
    R = [[0.9, 0.3, 0.2], [0.6, 0.8, 0.4], [0.5, 0.6, 0.7]]
    found = metrics.of_matrix(np.array(R), np.array([0.1, 0.1, 0.1]))
    wanted = {
        "average_accuracy": (0.5 + 0.6 + 0.7) / 3,
        "backward_transfer": ((0.5 - 0.9) + (0.6 - 0.8)) / 2,
        "forward_transfer": ((0.3 - 0.1) + (0.4 - 0.1)) / 2,
        "forgetting": ((0.9 - 0.5) + (0.8 - 0.6)) / 2,
        "stability": 1 - 0.3,
        "learning_accuracy": (0.9 + 0.8 + 0.7) / 3,
    }
    assert found == pytest.approx(wanted)


@given(st.lists(st.lists(st.floats(0, 1), min_size=4, max_size=4), min_size=4, max_size=4))
def test_forgetting_is_no_less_than_what_backward_transfer_lost(R):
    found = metrics.of_matrix(np.array(R), np.zeros(4))
    assert found["forgetting"] >= -found["backward_transfer"] - 1e-12
    assert -1 <= found["forgetting"] <= 1 and 0 <= found["average_accuracy"] <= 1


@pytest.mark.parametrize(("R", "b"), [(np.ones((2, 3)), np.ones(3)), (np.ones((1, 1)), np.ones(1)),
                                      (np.ones((2, 2)), np.ones(3))])  # fmt: skip
def test_what_is_no_matrix_of_a_stream_is_an_error(R, b):
    with pytest.raises(ValueError, match="K x K"):
        metrics.of_matrix(R, b)


def test_js_distance():
    """0 of equal distributions, 1 of ones that share nothing, and one value worked out by hand, base 2."""
    p, q = np.array([[0.5, 0.5, 0.0]]), np.array([[0.0, 0.0, 1.0]])
    assert metrics.js_distance(p, p) == 0 and metrics.js_distance(p, q) == pytest.approx(1)
    half = np.array([[1.0, 0.0]]), np.array([[0.5, 0.5]])
    divergence = (np.log2(1 / 0.75) + 0.5 * np.log2(0.5 / 0.75) + 0.5 * np.log2(0.5 / 0.25)) / 2
    assert metrics.js_distance(*half) == pytest.approx(divergence**0.5)
    assert metrics.js_distance(*half[::-1]) == pytest.approx(divergence**0.5)
