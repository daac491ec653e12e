"""Where a cell failed, read off the traceback in its row."""

from transformer_jax.lab.place import place
from transformer_jax.lab.worker import attempt

CELL = """
from transformer_jax.config import ModelConfig

def within(config):
    return ModelConfig(d_model=7)

def here(config):
    return {"x": 1}["y"]

def far(config):
    import json
    return json.loads("{")
"""


def failed(tmp_path, name):
    path = tmp_path / "mine" / "cells.py"
    path.parent.mkdir()
    path.write_text(CELL)
    space = {}
    exec(compile(CELL, str(path), "exec"), space)
    return place(attempt(space[name], None)["traceback"])


def test_the_line_of_the_experiment_is_named(tmp_path):
    assert failed(tmp_path, "here") == " (mine/cells.py, line 8)"


def test_not_that_of_a_library(tmp_path):
    assert failed(tmp_path, "far") == " (mine/cells.py, line 12)"


def test_and_that_of_the_package_where_it_was_raised_there(tmp_path):
    shown = failed(tmp_path, "within")
    assert shown.startswith(" (mine/cells.py, line 5; transformer_jax/typed.py, line "), shown


def test_what_the_worker_itself_finds_wrong_has_no_place():
    assert place(attempt(lambda config: 3, None)["traceback"]) == ""
    assert place("") == ""
