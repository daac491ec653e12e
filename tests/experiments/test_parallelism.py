"""Parallelism: cells count what the report reads, and the rule decides from planted rows."""

import importlib.util
from pathlib import Path

import pytest

from experiments.parallelism import cells
from transformer_jax.config import ConfigError, flatten, with_overrides
from transformer_jax.lab import plan
from transformer_jax.lab.sweep import Job, parse
from transformer_jax.report import write

PATH = Path(__file__).parents[2] / "experiments" / "parallelism" / "report.py"
spec = importlib.util.spec_from_file_location("parallelism_report", PATH)
page = importlib.util.module_from_spec(spec)
spec.loader.exec_module(page)

TINY = {"model.d_model": 8, "model.num_heads": 2, "model.num_layers": 1, "task.vocab_size": 16, "measure.tokens": 16}


def config_of(**more):
    return with_overrides(cells.BASE, TINY | {key.replace("__", "."): value for key, value in more.items()})


@pytest.mark.parametrize("mixer", ["attention", "lstm"])
def test_a_cell_has_the_depth_of_both_phases(tmp_path, mixer):
    job = Job(0, tmp_path / "none", 0)
    found = [cells.cell(config_of(model__mixer=mixer, task__seq_len=T), job) for T in (4, 16)]
    assert all(0 < row["forward_depth"] < row["train_depth"] for row in found)
    assert (found[1]["train_depth"] > 3 * found[0]["train_depth"]) == (mixer == "lstm")
    assert not (tmp_path / "none").exists()


def test_writing_is_one_token_after_another(tmp_path):
    found = [cells.cell(config_of(measure__probe="generation", task__seq_len=T), Job(0, tmp_path, 0)) for T in (4, 16)]
    assert found[1]["generation_depth"] > 3 * found[0]["generation_depth"]


def test_the_batch_follows_from_the_length():
    planned = plan.plan(cells)
    assert {c.config.task.batch_size * c.config.task.seq_len for c in planned} == {4096}
    found = plan.plan(cells, {"measure.tokens": 600}, swept=parse("--sweep", ["seq_len=100,300"]))
    assert {(c.config.task.seq_len, c.config.task.batch_size) for c in found} == {(100, 6), (300, 2)}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"task.batch_size": 7}, "task.batch_size: it changes nothing that this experiment measures"),
        ({"task.seq_len": 100}, "measure.tokens=4096 is no multiple of task.seq_len=100"),
        ({"measure.tokens": 0}, "measure.tokens=0: must be at least 1"),
        ({"train.peak_lr": 1.0}, "train.peak_lr: it changes nothing"),
    ],
)
def test_what_cannot_be_or_changes_nothing_is_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        plan.plan(cells, overrides)


DEPTH = {"attention": 0.05, "rnn": 1.0, "gru": 1.0, "lstm": 1.0, "min_gru": 0.12}


def planted(depth=DEPTH, written=1.0):
    """Powers of depth by mixer, in its least deep form; of the others 1."""
    found = []
    for name, study in cells.STUDIES.items():
        for number, override in enumerate(study):
            config = flatten(with_overrides(cells.BASE, override))
            T, forms = config["task.seq_len"], (config["model.attention"], config["model.recurrence"])
            least = forms in (("reference", "auto"), ("auto", "auto"), ("auto", "associative"))
            power = depth[config["model.mixer"]] if least else 1.0
            row = config | {"status": "ok", "round": 0, "studies": (name,), "key": f"{name}{number}", "header": "h"}
            deep = {"forward_depth": 20 * T**power, "train_depth": 50 * T**power}
            found.append(row | (deep if name == "depth" else {"generation_depth": 80 * T**written}))
    return found


def verdicts(rows):
    return [finding.verdict for finding in page.report(rows).answers]


def test_the_rule_decides():
    assert verdicts(planted()) == ["TASK-DEPENDENT", "REFUTED"]
    assert verdicts(planted(depth=DEPTH | {"min_gru": 0.95}))[0] == "SUPPORTED"
    assert verdicts(planted(depth=DEPTH | {"attention": 1.0}))[0] == "REFUTED"
    assert verdicts(planted(depth=dict.fromkeys(DEPTH, 0.1)))[0] == "REFUTED"
    assert verdicts(planted(depth=DEPTH | {"min_gru": 0.5}))[0] == "INCONCLUSIVE"
    assert verdicts(planted(depth=DEPTH | {"attention": 0.5}))[0] == "INCONCLUSIVE"
    assert verdicts([]) == ["INCONCLUSIVE"] * 2
    two = [row for row in planted() if row["task.seq_len"] in (16, 4096)]  # any two lie on some power
    assert verdicts(two) == ["INCONCLUSIVE"] * 2
    for recurrence in page.WRITERS[1:]:
        assert verdicts([row for row in planted() if row["model.mixer"] != recurrence]) == ["INCONCLUSIVE"] * 2


def test_the_numbers_are_the_planted_powers():
    deep, written = page.report(planted()).answers
    assert {name: e.value for name, e in deep.estimates.items()} == pytest.approx(
        {"attention (reference)": 0.05, "rnn": 1.0, "gru": 1.0, "lstm": 1.0, "min_gru (associative)": 0.12}
    )
    assert {name: e.value for name, e in written.estimates.items()} == pytest.approx(
        {f"{one}, writing": 1.0 for one in ("attention", "rnn", "gru", "lstm", "min_gru")}
    )


def test_the_page_has_its_figure(tmp_path):
    rows = planted()
    write(tmp_path, page.report(rows), [{"id": "h"}], rows)
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {"depth_by_length"}
