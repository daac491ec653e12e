"""Tasks by name."""

import pytest

from transformer_jax.config import Config, ConfigError, with_overrides
from transformer_jax.tasks import registry


def test_an_unknown_task_names_the_nearest(config_of):
    with pytest.raises(ConfigError, match="unknown task.name='copy_memroy'; did you mean copy_memory"):
        registry.build(config_of("copy_memroy"))


def test_the_default_needs_no_file_and_fits_the_default_model():
    task = registry.build(Config())
    batch = next(task.train(0))
    assert batch["inputs"].shape == (Config().task.batch_size, Config().task.seq_len)
    assert task.shape.seq_len == Config().task.seq_len <= Config().model.max_len


def test_label_smoothing_is_trained_on_and_not_reported():
    plain = registry.build(Config()).objective
    smoothed = registry.build(with_overrides(Config(), {"train.label_smoothing": 0.1})).objective
    assert plain.minimised is plain.terms and smoothed.minimised is smoothed.trained is not smoothed.terms
    assert smoothed.best == ("loss", "min")


@pytest.mark.parametrize(
    "field, value", [("vocab_size", 0), ("num_items", 0), ("patch_size", 0), ("workers", -1), ("name", 3)]
)
def test_values_that_cannot_be(field, value, config_of):
    with pytest.raises(ConfigError, match=f"task.{field}"):
        config_of(**({"name": "digits"} | {field: value}))
