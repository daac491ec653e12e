"""Every experiment keeps the contract, and its first cell runs under a tiny config."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from transformer_jax import experiment
from transformer_jax.config import flatten, with_overrides

TINY = {"model.d_model": 16, "model.num_heads": 2, "model.num_layers": 1, "model.vocab_size": 16}
TINY |= {"task.seq_len": 8, "task.batch_size": 2, "measure.min_sample_seconds": 1e-4}


@pytest.fixture(params=experiment.names())
def module(request):
    return experiment.load(experiment.find(request.param))


def test_every_cell_has_a_config(module):
    cells = experiment.plan(module)
    assert len(cells) == len({cell.identity for cell in cells}) > 1
    assert len(module.__doc__) > 80


def test_the_first_cell_runs_and_reports(module):
    first = experiment.plan(module, limit=1)[0]
    config = with_overrides(first.config, {k: v for k, v in TINY.items() if k in flatten(first.config)})
    row = module.cell(config)
    assert row and all(value is None or isinstance(value, (bool, int, float, str)) for value in row.values())
    assert all(math.isfinite(value) for value in row.values() if isinstance(value, float))
    again = module.cell(config)
    assert again.keys() == row.keys()
    whole = flatten(config) | row | {"kind": "row", "key": "k", "round": 0, "status": "ok", "header": "h"}
    report = module.report([whole, whole | again | {"round": 1}])
    assert report.title and report.sentences


def test_loading_and_planning_touches_no_device():
    """The worker may be the only process that holds one: here JAX is told to use a platform that is not there."""
    code = "from transformer_jax.lab.plan import *\nfor name in names(): plan(load(find(name)))"
    env = os.environ | {"JAX_PLATFORMS": "no_such_platform"}
    ran = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], env=env, capture_output=True)
    assert ran.returncode == 0, ran.stderr.decode()
