"""Every experiment keeps the contract, and its first cell runs under a tiny config."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from transformer_jax.config import SAMPLING, ConfigError, canonical_json, flatten, with_overrides
from transformer_jax.lab import plan, rows
from transformer_jax.lab.sweep import Job

TINY = {"model.d_model": 16, "model.num_heads": 2, "model.num_layers": 1, "task.vocab_size": 16}
TINY |= {"task.seq_len": 8, "task.batch_size": 2, "measure.min_sample_seconds": 1e-4}
MEASURING = ["attention_cost", "peers", "vectorized_heads"]
COST = plan.load("attention_cost").cells


@pytest.mark.parametrize("name", plan.names())
def test_every_cell_has_a_config(name):
    cells = plan.load(name).cells
    planned = plan.plan(cells)
    assert len(planned) == len({cell.identity for cell in planned}) > 1
    assert set(cells.STUDIES) == {study for cell in planned for study in cell.studies}
    assert len(cells.__doc__) > 80


@pytest.mark.parametrize("name", plan.with_full())
def test_the_full_size_has_a_config_for_every_cell_and_asks_all_that_the_quick_one_does(name):
    full = plan.load(name, size="full")
    planned = plan.plan(full.cells, studies=full.studies)
    assert set(full.studies) == {study for cell in planned for study in cell.studies} >= set(full.cells.STUDIES)
    assert {cell.config.train.lanes >= 5 for cell in planned} == {True}


@pytest.mark.parametrize("name", plan.names())
def test_a_row_is_read_back_as_that_of_its_cell(name):
    """It holds the header's base and the cell's overrides: what a config works out itself must be among them."""
    experiment = plan.load(name)
    for size in ("quick", "full")[: 2 if name in plan.with_full() else 1]:
        for cell in plan.plan(experiment.cells, studies=plan.load(name, size=size).studies):
            base = json.loads(json.dumps(flatten(experiment.base)))
            assert rows.identity(base | json.loads(json.dumps(cell.overrides)), {"base": base}) == cell.identity


@pytest.mark.parametrize("name", MEASURING)
def test_the_first_cell_runs_and_reports(name, tmp_path):
    experiment = plan.load(name)
    cells, first = experiment.cells, plan.plan(experiment.cells, limit=1)[0]
    config = with_overrides(first.config, {k: v for k, v in TINY.items() if k in flatten(first.config)})
    job = Job(seed=0, folder=tmp_path / "none", round=0)
    row = cells.cell(config, job)
    assert row and all(value is None or isinstance(value, (bool, int, float, str)) for value in row.values())
    assert all(math.isfinite(value) for value in row.values() if isinstance(value, float))
    again = cells.cell(config, job)
    assert again.keys() == row.keys() and not job.folder.exists()
    assert cells.predict(config)["seconds"] > 0
    whole = flatten(config) | {"studies": first.studies, "kind": "row", "key": "k", "status": "ok", "header": "h"}
    report = experiment.report.report([whole | row | {"round": 0}, whole | again | {"round": 1}])
    assert report.question and report.limits


def test_loading_and_planning_needs_no_jax():
    """Nor any device: the worker may be the only process that holds one."""
    code = "import sys\nfrom transformer_jax.lab.plan import *\n"
    code += f"for name in {MEASURING}: plan(load(name).cells)\nassert 'jax' not in sys.modules"
    env = os.environ | {"JAX_PLATFORMS": "no_such_platform"}
    ran = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], env=env, capture_output=True)
    assert ran.returncode == 0, ran.stderr.decode()


def test_what_attention_cost_studies():
    """Each study varies what its name says and holds the rest, and starts from programs that others measure too."""
    planned = plan.plan(COST)
    assert len(planned) == 133

    def values(study, key):
        return {flatten(cell.config)[key] for cell in planned if study in cell.studies}

    assert values("length", "measure.level") == {"op", "block", "model"}
    assert values("length", "measure.phase") == {"train", "forward"}
    assert values("length", "model.mixer") == {"attention", "rnn", "gru", "lstm", "min_gru"}
    assert values("length", "model.recurrence") == {"auto", "associative"}
    assert values("matching", "measure.matching") == {"width", "params", "flops"}
    assert values("heads", "model.num_heads") == {1, 2, 4, 8, 16} and values("heads", "model.head_dim") == {None}
    widths = {c.config.model.sizes["head_dim"] for c in planned if "head_dim" in c.studies}
    assert widths == {16} and values("head_dim", "model.num_heads") == {1, 2, 4, 8}
    assert values("model_heads", "measure.level") == {"model"} and values("model_heads", "model.num_heads") == {
        1,
        4,
        16,
    }
    assert values("depth", "model.num_layers") == {2, 4, 8} and values("decode", "measure.phase") == {"decode"}
    assert values("twins", "measure.repeat") == {0, 1} and values("length", "measure.repeat") == {0}


def test_a_program_of_several_studies_is_one_cell_as_careful_as_any_of_them_asks():
    cells = plan.plan(COST)
    programs = [canonical_json(cell.config, without=SAMPLING) for cell in cells]
    assert len(set(programs)) == len(programs)
    of_program = dict(zip(programs, cells, strict=True))
    for name, study in COST.STUDIES.items():
        for overrides in study:
            wanted = with_overrides(COST.BASE, overrides)
            cell = of_program[canonical_json(wanted, without=SAMPLING)]
            assert name in cell.studies
            assert cell.config.measure.rounds >= wanted.measure.rounds
            assert cell.config.measure.min_sample_seconds >= wanted.measure.min_sample_seconds


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"measure.phase": "decode", "measure.level": "op"}, "measured on the whole model; measure.level=op"),
        ({"measure.repeat": -1}, "measure.repeat=-1: must be at least 0"),
        ({"model.mixer": "lstm", "model.recurrence": "cudnn", "measure.level": "op"}, "projects its input itself"),
        ({"measure.level": "layer"}, "one of op, block, model"),
        ({"measure.matching": "size"}, "one of width, params, flops"),
    ],
)
def test_what_cannot_be_measured_is_no_config(overrides, message):
    with pytest.raises(ConfigError, match=message):
        COST.check(with_overrides(COST.BASE, overrides))


def test_attention_reads_no_recurrence():
    COST.check(with_overrides(COST.BASE, {"model.recurrence": "cudnn", "measure.level": "op"}))


def test_another_task_is_refused_before_anything_compiles():
    with pytest.raises(ConfigError, match="task.name: it changes nothing that this experiment measures"):
        plan.plan(COST, {"task.name": "copy_memory"})


@pytest.mark.parametrize("name", plan.names())
def test_every_rule_names_what_makes_its_estimates(name):
    """They are part of its digest: a page says that a rule was changed where they were."""
    assert all(rule.reads for rule in getattr(plan.load(name).report, "RULES", {}).values())
