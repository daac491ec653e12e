"""What a line says of several runs, or lanes, at once."""

import pytest

from transformer_jax.lab import trials


@pytest.mark.parametrize(
    ("name", "values", "text"),
    [
        ("average_accuracy", (0.99, 1.0, 0.92), "0.9700 [0.8617, 1.0000]"),
        ("stability", (1.01, 1.0, 1.09), "1.0333 [0.9108, 1.1559]"),  # a task that helps the ones before
        ("forgetting", (0.01, 0.0, 0.09), "0.0333 [-0.0892, 0.1559]"),
        ("accuracy", (0.5,), "0.500000"),
    ],
)
def test_the_interval_of_a_share_ends_at_0_and_1(name, values, text):
    assert trials.means([{name: value} for value in values]) == {name: text}
