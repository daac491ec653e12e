"""Training speed: a cell trains to a loss and times a lane beside attention; the rule decides over planted seconds."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from matplotlib import figure

from experiments.training_speed import cells
from transformer_jax.config import ConfigError, flatten, with_overrides
from transformer_jax.lab import plan
from transformer_jax.lab.sweep import Job, parse
from transformer_jax.report import digest, write
from transformer_jax.tasks import sets

PATH = Path(__file__).parents[2] / "experiments" / "training_speed" / "report.py"
spec = importlib.util.spec_from_file_location("training_speed_report", PATH)
page = importlib.util.module_from_spec(spec)
spec.loader.exec_module(page)

SHORT = {"train.num_steps": 6, "train.warmup_steps": 2, "train.chunk_steps": 2, "train.eval_every": 2}
SHORT |= {"train.checkpoint_every": 2, "train.lanes": 2, "model.num_layers": 1, "model.d_model": 32, "task.seq_len": 8}
SHORT |= {"task.batch_size": 3, "measure.min_sample_seconds": 1e-3, "task.name": "number_words"}


@pytest.fixture
def brief(monkeypatch):
    monkeypatch.setattr(cells, "CHOOSING", 4)
    monkeypatch.setattr(cells, "RATES", (1e-3, 1e-2))


@pytest.mark.parametrize("mixer", ["attention", "gru"])
def test_a_cell_gives_steps_and_times_of_every_lane(tmp_path, brief, mixer):
    rows = cells.cell(with_overrides(cells.BASE, SHORT | {"model.mixer": mixer}), Job(0, tmp_path, 0))
    assert [(row["lane"], row["step"], row["steps"]) for row in rows] == [(0, 6, None), (1, 6, None)]
    assert all(row["step_seconds"] > 0 < row["compile_seconds"] and row["target"] == 0.32 for row in rows)
    assert ("twin_step_seconds" in rows[0]) == (mixer == "gru") and rows[0]["device"]


def test_training_ends_once_every_lane_came_to_the_loss(tmp_path, brief, monkeypatch):
    monkeypatch.setitem(cells.TARGETS, "number_words", 9.0)
    config = with_overrides(cells.BASE, SHORT)
    rows = cells.cell(config, Job(0, tmp_path, 0))
    assert [(row["step"], row["steps"]) for row in rows] == [(2, 2), (2, 2)]
    again = cells.cell(config, Job(0, tmp_path, 0))
    assert [row["loss"] for row in again] == [row["loss"] for row in rows]


def test_the_text_is_the_one_that_is_prepared_and_part_of_a_row(monkeypatch, tmp_path):
    assert cells.data(with_overrides(cells.BASE, {"task.name": "number_words"})) == {}
    elsewhere = {"task.name": "shakespeare_char", "task.data_dir": str(tmp_path)}
    with pytest.raises(sets.MissingData, match="prepare tiny_shakespeare"):
        cells.data(with_overrides(cells.BASE, elsewhere))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert plan.load("training_speed").cells.BASE.task.name == "number_words"
    folder = tmp_path / "tiny_shakespeare" / "1.0.0"
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text("{}")
    assert plan.load("training_speed").cells.BASE.task.name == "shakespeare_char"


def test_cells_are_chosen_and_swept_as_those_of_others():
    planned = plan.plan(cells)
    assert {cell.config.task.seq_len * cell.config.task.batch_size for cell in planned} == {1024} and len(planned) == 6
    assert len(plan.plan(cells, wanted=parse("--only", ["seq_len=64"]))) == 3
    assert len(plan.plan(cells, swept=parse("--sweep", ["mixer=attention,min_gru"]))) == 4
    with pytest.raises(ConfigError, match="this experiment runs on shakespeare_char, number_words alone"):
        plan.plan(cells, {"task.name": "parity"})
    with pytest.raises(ConfigError, match="task.num_items: the task number_words does not read it"):
        plan.plan(cells, {"task.name": "number_words", "task.num_items": 3})


def planted(step=lambda mixer, T: 0.02, steps=lambda mixer, T: 300, lanes=5, beside=lambda T: 0.02, study="speed"):
    """A cell for each mixer and window: seconds of a step, attention's beside a recurrence, steps to the loss."""
    rng, found = np.random.default_rng(0), []
    for number, override in enumerate((cells.FULL | cells.STUDIES)[study]):
        config = flatten(with_overrides(cells.BASE, override))
        mixer, T = config["model.mixer"], config["task.seq_len"]
        for lane in range(lanes):
            count = steps(mixer, T)
            noise = rng.normal(1, 0.02, 3)
            row = {"status": "ok", "round": 0, "part": lane, "key": f"{study}{number}", "studies": (study,),
                   "header": "h", "lane": lane, "step": 400, "loss": 1.9, "target": 2.0, "rate": 5e-3, "device": "cpu",
                   "rate_at_edge": mixer == "lstm", "steps": None if count is None else float(count * noise[0]),
                   "step_seconds": float(step(mixer, T) * noise[1]), "compile_seconds": 3.0}  # fmt: skip
            twin = {} if mixer == "attention" else {"twin_step_seconds": float(beside(T) * noise[2])}
            found.append(config | row | twin)
    return found


def test_the_full_size_is_judged_with_as_many_flops_too():
    rows = planted(step=lambda mixer, T: 0.04) + planted(step=lambda mixer, T: 0.01, study="flops")
    report = page.report(rows + planted(study="long"))
    assert [finding.verdict for finding in report.answers] == ["SUPPORTED", "", "", "REFUTED", ""]
    assert report.answers[4].estimates["T 1024, over lstm"].n == 5
    full = plan.load("training_speed", size="full")
    planned = plan.plan(full.cells, studies=full.studies)
    assert {cell.config.task.seq_len * cell.config.task.batch_size for cell in planned} == {16_384}
    assert len(planned) == 13 and len(cells.RATES) == 3 and len(cells.MORE_RATES) == 5


def verdict(rows):
    return page.report(rows).answers[0].verdict


def test_the_rule_decides_over_seconds():
    assert verdict(planted(step=lambda mixer, T: 0.04)) == "SUPPORTED"
    assert verdict(planted(step=lambda mixer, T: 0.01)) == "REFUTED"
    assert verdict(planted(step=lambda mixer, T: 0.01 if T == 64 else 0.04)) == "TASK-DEPENDENT"
    assert verdict(planted()) == "INCONCLUSIVE"
    seconds, steps, step = page.report(planted(step=lambda mixer, T: 0.04, steps=lambda mixer, T: 300 + T)).answers
    assert (
        seconds.estimates["T 64, over gru"].value == pytest.approx(0.5, rel=0.05)
        and seconds.estimates["T 256, over lstm"].n == 5
    )
    assert steps.estimates["T 64, over gru"].value == pytest.approx(1, rel=0.03) and not steps.verdict
    assert step.estimates["T 64, over gru"].value == pytest.approx(0.5, rel=0.03)


def test_attention_is_timed_beside_the_recurrence():
    """What attention's own cell took, at another time, is not compared."""
    found = planted(step=lambda mixer, T: 9.0 if mixer == "attention" else 0.04)
    assert verdict(found) == "SUPPORTED"


def test_what_is_missing_or_did_not_come_to_the_loss_decides_nothing():
    good = planted(step=lambda mixer, T: 0.04)
    assert verdict([]) == "INCONCLUSIVE" == verdict(planted(step=lambda mixer, T: 0.04, lanes=4))
    assert verdict([row for row in good if row["model.mixer"] != "lstm"]) == "INCONCLUSIVE"
    assert verdict([row for row in good if row["model.mixer"] != "attention"]) == "INCONCLUSIVE"
    for row in good:
        if row["model.mixer"] == "lstm":
            row["status"] = "nan"
            if row["lane"] == 2:
                row |= {"steps": None, "loss": None}
    report = page.report(good)
    assert report.answers[0].verdict == "INCONCLUSIVE"
    numbers = report.answers[0].estimates
    assert numbers["T 64, over lstm"].n == 0 and numbers["T 64, over gru"].high < 1
    assert report.answers[1].estimates["T 64, over lstm"].n == 0 < report.answers[2].estimates["T 64, over lstm"].n
    assert report.notes[0] == "A seed did not come to the loss within the steps: lstm at T 64, lstm at T 256."
    failed = {key: value for key, value in good[0].items() if "." in key}
    failed |= {"status": "timeout", "round": 0, "key": "0", "studies": ("speed",), "header": "h"}
    assert verdict([failed, *good[5:]]) == "INCONCLUSIVE"


def test_a_seed_of_attention_that_did_not_come_to_the_loss_is_no_point_of_the_figure():
    rows = planted(step=lambda mixer, T: 0.04)
    for row in rows:
        if row["model.mixer"] == "attention" and row["lane"] == 1:
            row["steps"] = None
    drawn = figure.Figure()
    next(one for one in page.report(rows).figures if one.name == "seconds_by_window").draw(drawn)
    heights = [y for line in drawn.axes[0].lines if len(line.get_ydata()) == 2 for y in line.get_ydata()]
    assert sum(y == pytest.approx(0.5, rel=0.05) for y in heights) >= 4  # a GRU and an LSTM at two lengths


def test_more_rounds_are_more_seeds():
    rows = planted(step=lambda mixer, T: 0.04)
    report = page.report(rows + [row | {"round": 1, "part": row["part"] + 5} for row in rows])
    assert report.answers[0].estimates["T 64, over gru"].n == 10 and report.tables[0].columns[-1] == "10"


def test_the_page_names_text_and_device_and_shows_every_seed(tmp_path):
    rows = [row | {"task.name": "number_words"} for row in planted(step=lambda mixer, T: 0.04)]
    report = page.report(rows)
    assert "numbers in words (generated)" in report.setting and "device: cpu" in report.setting
    assert report.tables[0].columns == ("seq_len", "mixer", "1", "2", "3", "4", "5") and len(report.tables[0].rows) == 6
    rules = {name: digest(rule) for name, rule in page.RULES.items()}
    write(tmp_path, report, [{"id": "h", "rules": rules}], rows)
    text = (tmp_path / "report.html").read_text()
    assert "SUPPORTED" in text and "was changed" not in text and "an end of its grid: lstm at T 64" in text
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {"seconds_by_window", "steps_by_seed"}
