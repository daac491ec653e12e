"""What a task does not read is refused, and every task says what it reads."""

import subprocess
import sys
from dataclasses import fields

import pytest

import configs
from transformer_jax.config import ConfigError, TaskConfig
from transformer_jax.tasks import keys, own, registry


def test_every_task_and_kind_says_what_it_reads():
    assert keys.TASKS.keys() == registry.TASKS.keys() and keys.KINDS.keys() == own.KINDS.keys()
    for name, kind in registry.GENERATED.items():
        assert set(keys.TASKS[name]) == {*kind.sizes} - {*keys.BY_ALL}
    known = {field.name for field in fields(TaskConfig)}
    for of_one in (*keys.TASKS.values(), *keys.KINDS.values()):
        assert {*of_one} <= known and not {*of_one} & {*keys.BY_ALL}


@pytest.mark.parametrize(
    ("name", "key", "also"),
    [
        ("digits", "task.num_items", "task.patch_size"),
        ("copy_memory", "task.horizon", "task.num_items"),
        ("digits", "model.patch_len", "task.permute_patches"),
        ("sine_trend", "task.data_dir", "model.patch_len, .*task.horizon"),
    ],
)
def test_a_key_that_the_task_does_not_read_is_refused_with_those_that_it_does(name, key, also):
    with pytest.raises(ConfigError, match=f"{key}: the task {name} does not read it; it reads .*{also}"):
        keys.require_read(TaskConfig(name=name), ["task.batch_size", key])


def test_keys_that_are_read_and_those_of_other_sections_pass(tmp_path):
    keys.require_read(TaskConfig(name="sine_trend"), ["task.horizon", "model.patch_len", "train.num_steps"])
    keys.require_read(TaskConfig(name="nobody_knows", data_dir=str(tmp_path)), ["task.horizon"])


@pytest.mark.parametrize("name", configs.names())
def test_a_config_sets_no_key_in_vain(name):
    task = configs.get(name).task
    given = [f.name for f in fields(task) if getattr(task, f.name) != f.default]
    keys.require_read(task, [f"task.{key}" for key in given])


def test_it_loads_no_jax():
    code = "import sys; import transformer_jax.tasks.keys; assert not {'jax', 'tensorflow_datasets'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], check=True)
