"""Experiments are found by being there; plans build every config."""

import os
from dataclasses import dataclass

import pytest

from transformer_jax.config import Config, ConfigError, MeasureConfig, TaskConfig, with_overrides
from transformer_jax.lab import plan
from transformer_jax.lab.sweep import chain, grid
from transformer_jax.tasks import keys
from transformer_jax.typed import require

SOURCE = '''"""Tiny."""
from transformer_jax.config import Config
from transformer_jax.lab.sweep import grid
BASE = Config()
STUDIES = {"heads": grid({"model.num_heads": [1, 2, 4], "train.weight_decay": [0, 1]})}
def cell(config, job): return {}
'''


@pytest.fixture
def path(tmp_path, monkeypatch):
    """The cells.py of an experiment."""
    monkeypatch.setattr(plan, "FOLDER", tmp_path)
    for name in ("_hidden", "tiny"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cells.py").write_text(SOURCE)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.py").write_text(SOURCE)
    (tmp_path / "tiny" / "report.py").write_text("def report(rows): return None\n")
    return tmp_path / "tiny" / "cells.py"


def cells_of(path):
    return plan.Experiment(path.parent.name, path.parent).cells


def test_an_experiment_is_found_by_its_being_there(path):
    assert plan.names() == ["tiny"]
    assert plan.find("tiny") == path.parent
    assert plan.load("tiny").cells.BASE == Config() and plan.load("tiny").report.report([]) is None


def test_the_full_size_has_studies_of_its_own(path):
    with pytest.raises(ConfigError, match="^--size full: tiny has one size; no experiment has a full one$"):
        plan.load("tiny", size="full").studies  # noqa: B018
    other = path.parents[1] / "other" / "cells.py"
    other.parent.mkdir()
    other.write_text(SOURCE + 'FULL = {"heads": grid({"model.num_heads": [1, 2, 4, 8]})}\n')
    with pytest.raises(ConfigError, match="^--size full: tiny has one size; a full one: other$"):
        plan.load("tiny", size="full").studies  # noqa: B018
    assert plan.with_full() == ["other"] and plan.load("other").studies == plan.load("tiny").studies
    full = plan.load("other", size="full")
    cells = plan.plan(full.cells, studies=full.studies)
    assert [cell.config.model.num_heads for cell in cells] == [1, 2, 4, 8]
    assert {cell.studies for cell in cells} == {("heads",)}


@pytest.mark.parametrize(
    "name", ["tinny", "../tiny", "os.system", "/etc/passwd", "", "tiny.py", "empty", "_hidden", "file"]
)
def test_nothing_else_is_an_experiment(path, name):
    """F17: a name is one of the folders' names, never a path or a module."""
    with pytest.raises(ConfigError, match="unknown experiment"):
        plan.find(name)


def test_what_is_missing_of_the_contract_is_named(path):
    path.write_text("BASE = 1\ndef cell(config, job): ...")
    with pytest.raises(ConfigError, match="tiny/cells.py is not what an experiment needs: it has no STUDIES$"):
        cells_of(path)
    path.write_text("BASE = 1\ndef cell(config: ...")
    with pytest.raises(ConfigError, match="cells.py, line 2"):
        cells_of(path)
    path.write_text("\nimport no_such_module\n")
    with pytest.raises(ConfigError, match="tiny/cells.py, line 2: ModuleNotFoundError"):
        cells_of(path)
    path.with_name("report.py").write_text("")
    with pytest.raises(ConfigError, match="tiny/report.py is not what an experiment needs: it has no report$"):
        plan.load("tiny").report  # noqa: B018
    path.with_name("report.py").unlink()
    with pytest.raises(ConfigError, match="the experiment tiny has no report.py"):
        plan.load("tiny").report  # noqa: B018


def test_a_report_may_take_what_its_cells_define(path):
    path.with_name("report.py").write_text("from experiments.tiny.cells import BASE\ndef report(rows): return BASE\n")
    experiment = plan.load("tiny")
    base = experiment.cells.BASE
    assert experiment.report.report([]) is base


def test_a_plan_has_whole_configs_and_overrides_as_the_config_holds_them(path):
    cells = plan.plan(cells_of(path), {"model.d_model": 32}, {"num_heads": ["2"]})
    assert [cell.overrides for cell in cells] == [
        {"model.num_heads": 2, "train.weight_decay": 0.0},
        {"model.num_heads": 2, "train.weight_decay": 1.0},
    ]
    assert all(type(cell.overrides["train.weight_decay"]) is float for cell in cells)
    assert {cell.config.model.d_model for cell in cells} == {32}


def test_a_given_value_wins_over_the_sweep_and_equal_cells_collapse(path):
    cells = plan.plan(cells_of(path), {"model.num_heads": 8})
    assert [cell.config.model.num_heads for cell in cells] == [8, 8]
    assert len(plan.plan(cells_of(path), limit=5)) == 5


def test_the_number_of_rounds_is_no_part_of_a_cells_identity(path):
    module = cells_of(path)
    few = plan.plan(module)
    module.BASE = Config(measure=MeasureConfig(rounds=50))
    assert [cell.identity for cell in plan.plan(module)] == [cell.identity for cell in few]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"model.num_head": 3}, "unknown config key 'model.num_head'; did you mean model.num_heads"),
        ({"model.d_model": 6}, r"model.d_model=6 is not divisible .*in the cell model.num_heads=4"),
        ({"task.seq_len": 0}, "task.seq_len=0: must be at least 1"),
        ({"model.mixer": "rnm"}, "did you mean rnn"),
        ({"task.seq_len": 2**20}, "longer than model.max_len"),
    ],
)
def test_plans_that_cannot_be_are_refused(path, given, message):
    with pytest.raises(ConfigError, match=message):
        plan.plan(cells_of(path), given)


@pytest.mark.parametrize(
    ("tasks", "possible"),
    [("", ["random_tokens"]), ("TASKS = ('copy_memory', 'parity')", ["copy_memory", "parity"]),
     ("TASKS = None", ["random_tokens", "copy_memory", "parity"])],
)  # fmt: skip
def test_an_experiment_runs_on_the_tasks_that_it_names_or_on_its_own_alone(path, tasks, possible):
    path.write_text(SOURCE + tasks)
    for name in ("random_tokens", "copy_memory", "parity"):
        if name in possible:
            assert {cell.config.task.name for cell in plan.plan(cells_of(path), {"task.name": name})} == {name}
        else:
            wrong = f"^task.name={name}: this experiment runs on {', '.join(possible)} alone$"
            with pytest.raises(ConfigError, match=wrong):
                plan.plan(cells_of(path), {"task.name": name})


def test_an_experiment_that_reads_sizes_alone_takes_those_of_any_config(path):
    path.write_text(SOURCE + "UNREAD = ('task.name',)")
    other = Config(task=TaskConfig(name="parity", seq_len=24))
    base = plan.load("tiny", other).base
    assert (base.task.name, base.task.seq_len) == ("random_tokens", 24)
    with pytest.raises(ConfigError, match="task.name: it changes nothing that this experiment measures"):
        plan.plan(cells_of(path), {"task.name": "parity"})
    path.write_text(SOURCE)
    assert plan.load("tiny", other).base.task.name == "parity"


@pytest.mark.parametrize("name", plan.names())
def test_the_tasks_of_an_experiment_are_there(name):
    cells = plan.load(name).cells
    assert {cells.BASE.task.name, *(getattr(cells, "TASKS", ()) or ())} <= keys.TASKS.keys()


def test_what_a_cell_costs_follows_from_the_step_that_it_times(path):
    assert not hasattr(cells_of(path), "predict")
    work = """
from transformer_jax.measure.work import Work, next_token
def work(config): return Work(config, next_token(config), "op")
"""
    path.write_text(SOURCE + work)
    few, many = (cells_of(path).predict(with_overrides(Config(), {"task.seq_len": T})) for T in (64, 128))
    assert many["flops"] > 2 * few["flops"] > 0 and many["seconds"] > 0
    path.write_text(SOURCE + work + "def predict(config): return {'seconds': 7}\n")
    assert cells_of(path).predict(Config()) == {"seconds": 7}


def test_an_experiment_checks_every_config_of_its_own(path):
    path.write_text(
        SOURCE
        + """
from transformer_jax.typed import require
def check(config):
    require(config.model.num_heads > 1 or config.task.seq_len >= 64, "one head needs 64 steps")
    require(config.task.batch_size > 1, f"task.batch_size={config.task.batch_size}: at least two")
"""
    )
    module, notes = cells_of(path), []
    assert len(plan.plan(module)) == 6
    assert len(plan.plan(module, {"task.seq_len": 32}, note=notes.append)) == 4
    assert "2 cells cannot be with these options and are left out: one head needs" in notes[0]
    with pytest.raises(ConfigError, match="^task.batch_size=1: at least two \\(in the cell"):
        plan.plan(module, {"task.batch_size": 1})
    swept = plan.plan(module, swept={"seq_len": ["32"]}, note=notes.append)
    assert {cell.config.model.num_heads for cell in swept} == {2, 4} and len(notes) == 2


def test_a_config_that_the_check_refuses_may_be_mended_by_what_is_given(path):
    module = cells_of(path)
    module.check = lambda config: require(config.task.batch_size > 1, "at least two")
    narrow = with_overrides(module.BASE, {"task.batch_size": 1})
    assert {c.config.task.batch_size for c in plan.plan(module, {"task.batch_size": 3}, base=narrow)} == {3}


def test_cells_that_cannot_be_with_the_given_values_are_left_out_with_a_note(path):
    module, notes = cells_of(path), []
    cells = plan.plan(module, {"model.num_kv_heads": 2}, note=notes.append)
    assert [cell.config.model.num_heads for cell in cells] == [2, 2, 4, 4]
    (text,) = notes
    assert text.startswith("2 cells cannot be with these options and are left out: model.num_heads=1 is not a multiple")
    assert len(plan.plan(module, {"model.num_kv_heads": 2}, limit=3)) == 3  # of those that can be
    with pytest.raises(ConfigError, match="num_heads=1 is not a multiple"):
        plan.plan(module, {"model.num_kv_heads": 2}, {"num_heads": ["1"]})


def test_an_impossible_cell_of_the_sweep_itself_is_an_error(path):
    module = cells_of(path)
    module.STUDIES = {"heads": grid({"model.num_heads": [1, 3]})}
    with pytest.raises(ConfigError, match="in the cell model.num_heads=3"):
        plan.plan(module)


def test_cells_that_become_one_program_are_measured_once_and_with_the_most_care(path):
    module = cells_of(path)
    heads = grid({"model.mixer": ["attention"], "model.num_heads": [1, 2], "model.attention": ["auto", "reference"]})
    often = grid({"model.mixer": ["attention"], "measure.rounds": [9], "measure.min_sample_seconds": [0.3]})
    module.STUDIES = {"kinds": chain(heads, grid({"model.mixer": ["lstm"]})), "often": often}
    assert len(plan.plan(module)) == 6
    (cell,) = plan.plan(module, {"model.mixer": "lstm"})
    assert (cell.config.measure.rounds, cell.config.measure.min_sample_seconds) == (9, 0.3)
    assert cell.studies == ("kinds", "often")


def test_a_mixer_whose_width_is_matched_to_attention_reads_attentions_keys(path):
    @dataclass(frozen=True)
    class Axes(MeasureConfig):
        matching: str = "width"

    module = cells_of(path)
    module.BASE = Config(measure=Axes())
    module.STUDIES = {"heads": grid({"model.mixer": ["attention"], "model.num_heads": [1, 2]})}
    assert len(plan.plan(module, {"model.mixer": "lstm"})) == 1
    assert len(plan.plan(module, {"model.mixer": "lstm", "measure.matching": "params"})) == 2


def test_a_cell_of_several_studies_is_there_once(path):
    module = cells_of(path)
    heads, lengths = grid({"model.num_heads": [1, 4]}), grid({"model.num_heads": [4], "task.seq_len": [64, 256]})
    module.STUDIES = {"heads": heads, "lengths": lengths, "both": chain(heads, lengths)}
    found = [(c.config.model.num_heads, c.config.task.seq_len, c.studies) for c in plan.plan(module)]
    assert found == [(1, 256, ("heads", "both")), (4, 256, ("heads", "both", "lengths")), (4, 64, ("lengths", "both"))]
    kept = plan.plan(module, wanted={"seq_len": ["64"]})
    assert [(c.config.task.seq_len, c.studies) for c in kept] == [(64, ("lengths", "both"))]
    module.STUDIES = {"heads": []}
    with pytest.raises(ConfigError, match="studies are empty"):
        plan.plan(module)


def test_an_edit_of_the_same_second_and_length_is_read(tmp_path):
    """Bytecode is cached by second and length: it would be the old text that runs."""
    path = tmp_path / "cells.py"
    for answer in ("11", "22"):
        path.write_text(f"BASE = STUDIES = cell = {answer}\n")
        os.utime(path, (1_000_000_000, 1_000_000_000))
        assert int(answer) == cells_of(path).BASE
