"""Adding: what the marks point at is summed at the end."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer_jax.config import ConfigError, Shape, TaskConfig, with_overrides
from transformer_jax.tasks import adding, registry


def draw(seed, **fields):
    return adding.adding(np.random.default_rng(seed), TaskConfig(**fields))


@settings(max_examples=30)
@given(seed=st.integers(0, 2**31), seq_len=st.integers(2, 30))
def test_the_target_is_the_sum_of_the_marked_numbers(seed, seq_len):
    batch = draw(seed, seq_len=seq_len, batch_size=5)
    for inputs, targets, weights in zip(batch["inputs"].tolist(), batch["targets"], batch["weights"], strict=True):
        marked = [step for step, (_, mark) in enumerate(inputs) if mark]
        first, second = marked
        assert first < seq_len // 2 <= second and all(0 <= number < 1 for number, _ in inputs)
        assert {mark for _, mark in inputs} <= {0.0, 1.0}
        assert targets[-1, 0] == pytest.approx(inputs[first][0] + inputs[second][0], rel=1e-6)
        assert not targets[:-1].any() and weights.tolist() == [0] * (seq_len - 1) + [1]


def test_always_to_answer_one_costs_a_sixth_and_marks_are_anywhere():
    batch = draw(0, seq_len=7, batch_size=20_000)
    assert np.mean((batch["targets"][:, -1] - 1) ** 2) == pytest.approx(1 / 6, abs=0.006)
    marks = batch["inputs"][:, :, 1].mean(0)
    np.testing.assert_allclose(marks, [1 / 3] * 3 + [1 / 4] * 4, atol=0.02)


def test_shape_and_what_smooths_classes(config_of):
    config = config_of("adding", seq_len=9, batch_size=3)
    task = registry.build(config)
    assert task.shape == registry.TASKS["adding"].outline(config).shape == Shape(9, 1, input_dim=2)
    assert {key: (array.shape, array.dtype.name) for key, array in next(task.train(0)).items()} == {
        "inputs": ((3, 9, 2), "float32"),
        "targets": ((3, 9, 1), "float32"),
        "weights": ((3, 9), "float32"),
    }
    with pytest.raises(ConfigError, match="train.label_smoothing=0.1 smooths classes"):
        registry.build(with_overrides(config, {"train.label_smoothing": 0.1}))
