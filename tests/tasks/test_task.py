"""Tasks by name."""

import pytest

from transformer_jax.config import Config, ConfigError, with_overrides
from transformer_jax.tasks import registry


def test_an_unknown_task_names_the_nearest(config_of):
    with pytest.raises(ConfigError, match="unknown task.name='copy_memroy'; did you mean copy_memory"):
        registry.build(config_of("copy_memroy"))


def test_all_that_keeps_a_model_from_its_task_is_named_at_once(config_of):
    base = config_of("digits", seq_len=9)
    config = with_overrides(base, {"model.max_len": 9, "model.tie_embeddings": True})
    with pytest.raises(ConfigError, match="task.patch_size, to 2 for example") as error:
        registry.build(config)
    for key in ("16 steps: longer than model.max_len=9", "model.tie_embeddings=True"):
        assert key in str(error.value)
    sizes = {"task.name": "reversal", "task.vocab_size": 4, "model.causal": False}
    (first, second) = registry.needs(with_overrides(base, sizes))
    assert "task.vocab_size=4" in first and "model.causal=False: reversal asks" in second
    assert registry.needs(config_of("digits", patch_size=4)) == []


@pytest.mark.parametrize("name", ["random_tokens", "copy_memory", "associative_recall", "digits"])
def test_what_is_known_of_a_task_before_its_data_are_read_is_so(config_of, name):
    config = config_of(name, patch_size=4, seq_len=40, vocab_size=20)
    task = registry.build(config)
    assert registry.TASKS[name].outline(config) == (task.shape, task.next_token, ())


def test_generated_tasks_of_other_sizes_are_other_tasks(config_of):
    name = registry.identity(config_of("copy_memory", seq_len=40).task)
    assert name == "copy_memory (seq_len 40, vocab_size 256, num_items 8)"
    assert registry.identity(config_of("digits", seq_len=40).task) == "digits"


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
