"""Which device there is, asked without taking it."""

import subprocess
from types import SimpleNamespace

import pytest

from transformer_jax.host import accelerator


@pytest.fixture
def asked(monkeypatch):
    """What a process that asks prints; an exception is raised instead."""
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.setattr(accelerator, "_plugin_is_there", lambda: True)
    answers = []

    def run(*arguments, **options):
        if isinstance(answers[0], Exception):
            raise answers[0]
        return SimpleNamespace(stdout=answers[0])

    monkeypatch.setattr(accelerator.subprocess, "run", run)
    return answers


def test_without_a_plugin_or_where_the_cpu_is_asked_for_nothing_is_started(asked, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert accelerator.first_device().platform == "cpu"
    monkeypatch.delenv("JAX_PLATFORMS")
    monkeypatch.setattr(accelerator, "_plugin_is_there", lambda: False)
    found = accelerator.first_device()
    assert found.platform == "cpu" and 2**28 < found.memory_bytes < 2**50


def test_a_device_and_what_it_holds(asked):
    asked.append('a warning of a library\n["gpu", 85000000000]\n')
    assert accelerator.first_device() == ("gpu", 85_000_000_000)
    asked[:] = ['["cpu", null]\n']
    assert accelerator.first_device().platform == "cpu" and accelerator.first_device().memory_bytes
    asked[:] = ['["tpu", null]\n']
    assert accelerator.first_device() == ("tpu", None)


@pytest.mark.parametrize("answer", ["", "not JSON", subprocess.CalledProcessError(1, "python"), OSError("no python")])
def test_where_none_answers_it_is_the_cpu(asked, answer):
    asked.append(answer)
    assert accelerator.first_device().platform == "cpu"
