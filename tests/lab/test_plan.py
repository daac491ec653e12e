"""Experiments are found by being there; plans build every config; the code's version follows the sources."""

import os

import pytest

from transformer_jax import experiment
from transformer_jax.config import Config, ConfigError, MeasureConfig
from transformer_jax.lab.sweep import chain, grid

SOURCE = '''"""Tiny."""
from transformer_jax.config import Config
from transformer_jax.lab.sweep import grid
BASE = Config()
SWEEP = grid({"model.num_heads": [1, 2, 4], "train.weight_decay": [0, 1]})
def cell(config): return {}
def report(rows): return None
'''


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "FOLDER", tmp_path)
    (tmp_path / "_hidden.py").write_text("")
    (tmp_path / "tiny.py").write_text(SOURCE)
    return tmp_path / "tiny.py"


def test_an_experiment_is_found_by_its_being_there(path):
    assert experiment.names() == ["tiny"]
    assert experiment.find("tiny") == path


@pytest.mark.parametrize("name", ["tinny", "../tiny", "os.system", "/etc/passwd", "", "tiny.py"])
def test_nothing_else_is_an_experiment(path, name):
    """F17: a name is one of the files' names, never a path or a module."""
    with pytest.raises(ConfigError, match="unknown experiment"):
        experiment.find(name)


def test_what_is_missing_of_the_contract_is_named(path):
    path.write_text("BASE = 1\ndef cell(config): ...")
    with pytest.raises(ConfigError, match="tiny.py is not an experiment: it has no SWEEP and no report"):
        experiment.load(path)
    path.write_text("BASE = 1\ndef cell(config: ...")
    with pytest.raises(ConfigError, match="tiny.py, line 2"):
        experiment.load(path)


def test_a_plan_has_whole_configs_and_overrides_as_the_config_holds_them(path):
    cells = experiment.plan(experiment.load(path), {"model.d_model": 32}, {"num_heads": ["2"]})
    assert [cell.overrides for cell in cells] == [
        {"model.num_heads": 2, "train.weight_decay": 0.0},
        {"model.num_heads": 2, "train.weight_decay": 1.0},
    ]
    assert all(type(cell.overrides["train.weight_decay"]) is float for cell in cells)
    assert {cell.config.model.d_model for cell in cells} == {32}


def test_a_given_value_wins_over_the_sweep_and_equal_cells_collapse(path):
    cells = experiment.plan(experiment.load(path), {"model.num_heads": 8})
    assert [cell.config.model.num_heads for cell in cells] == [8, 8]
    assert len(experiment.plan(experiment.load(path), limit=5)) == 5


def test_the_number_of_rounds_is_no_part_of_a_cells_identity(path):
    module = experiment.load(path)
    few = experiment.plan(module)
    module.BASE = Config(measure=MeasureConfig(rounds=50))
    assert [cell.identity for cell in experiment.plan(module)] == [cell.identity for cell in few]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"model.num_head": 3}, "unknown config key 'model.num_head'; did you mean model.num_heads"),
        ({"model.d_model": 6}, r"model.d_model=6 is not divisible .*in the cell model.num_heads=4"),
        ({"task.seq_len": 0}, "task.seq_len=0: must be at least 1"),
        ({"model.mixer": "rnm"}, "did you mean rnn"),
        ({"task.seq_len": 2**20}, "longer than model.max_len"),
    ],
)
def test_plans_that_cannot_be_are_refused(path, given, says):
    with pytest.raises(ConfigError, match=says):
        experiment.plan(experiment.load(path), given)


def test_what_the_given_values_make_impossible_is_left_out_and_said(path):
    module, said = experiment.load(path), []
    cells = experiment.plan(module, {"model.num_kv_heads": 2}, say=said.append)
    assert [cell.config.model.num_heads for cell in cells] == [2, 2, 4, 4]
    assert len(said) == 1 and "2 of the sweep's cells: model.num_heads=1 is not a multiple" in said[0]
    assert len(experiment.plan(module, {"model.num_kv_heads": 2}, limit=3)) == 3  # of those that can be
    with pytest.raises(ConfigError, match="num_heads=1 is not a multiple"):
        experiment.plan(module, {"model.num_kv_heads": 2}, {"num_heads": ["1"]})


def test_an_impossible_cell_of_the_sweep_itself_is_an_error(path):
    module = experiment.load(path)
    module.SWEEP = grid({"model.num_heads": [1, 3]})
    with pytest.raises(ConfigError, match="in the cell model.num_heads=3"):
        experiment.plan(module)


def test_cells_that_become_one_program_are_measured_once_and_with_the_most_care(path):
    module = experiment.load(path)
    heads = grid({"model.mixer": ["attention"], "model.num_heads": [1, 2], "model.attention": ["auto", "reference"]})
    often = grid({"model.mixer": ["attention"], "measure.rounds": [9], "measure.min_sample_seconds": [0.3]})
    module.SWEEP = chain(heads, grid({"model.mixer": ["lstm"]}), often)
    assert len(experiment.plan(module)) == 6
    (cell,) = experiment.plan(module, {"model.mixer": "lstm"})
    assert (cell.config.measure.rounds, cell.config.measure.min_sample_seconds) == (9, 0.3)
    matched = {"model.mixer": "lstm", "measure.matching": "params"}  # to attention with so many heads
    assert len(experiment.plan(module, matched)) > 1


def test_the_code_version_follows_the_package_and_the_experiment_but_not_the_report(path, tmp_path, monkeypatch):
    package = tmp_path / "package"
    (package / "report").mkdir(parents=True)
    monkeypatch.setattr(experiment, "PACKAGE", package)
    versions = []
    for file, text in [
        (path, SOURCE + "#"),
        (package / "ops.py", "one"),
        (package / "ops.py", "two"),
        (package / "report" / "page.py", "three"),
    ]:
        file.write_text(text)
        versions.append(experiment.code_version(path))
    assert len(set(versions)) == 3 and versions[2] == versions[3]
    (package / "layers").mkdir()
    (package / "ops.py").rename(package / "layers" / "ops.py")
    assert experiment.code_version(path) not in versions


def test_an_edit_of_the_same_second_and_length_is_read(tmp_path):
    """Bytecode is cached by second and length: it would be the old text that runs."""
    path = tmp_path / "edited.py"
    for answer in ("11", "22"):
        path.write_text(f"BASE = SWEEP = cell = report = {answer}\n")
        os.utime(path, (1_000_000_000, 1_000_000_000))
        assert int(answer) == experiment.load(path).BASE
