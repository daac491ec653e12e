"""The experiment on recall end to end: a cell trains, is broken off and goes on, and its curve is reported."""

import json

import pytest

from experiments.recall import cells
from transformer_jax.config import ConfigError, flatten, with_overrides
from transformer_jax.lab import equal_seconds, plan, trained, trial
from transformer_jax.lab.sweep import Job
from transformer_jax.measure.matching import matched
from transformer_jax.tasks import associative_recall
from transformer_jax.train.log import read_config

SHORT = {
    "train.num_steps": 20,
    "train.warmup_steps": 5,
    "train.chunk_steps": 5,
    "train.eval_every": 10,
    "train.checkpoint_every": 10,
    "train.lanes": 2,
    "model.num_layers": 1,
}


@pytest.fixture(autouse=True, scope="module")
def two_rates():
    """As many as the lanes of SHORT, so that both trainings of a cell are one program."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells, "RATES", (1e-3, 3e-3))
        yield


def config_of(override):
    return with_overrides(cells.BASE, SHORT | override)


def job(folder, number=0):
    return Job(seed=1000 * number, folder=folder, round=number)


ATTENTION = config_of({"model.mixer": "attention", "task.num_items": 2})


@pytest.fixture(scope="module")
def whole(tmp_path_factory, two_rates):
    """The folder and the rows of ATTENTION's cell, trained once and in one go: tests only read them."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, cells.cell(ATTENTION, job(folder))


@pytest.mark.parametrize("override", [cells.STUDIES["pairs"][0], cells.STUDIES["pairs"][-1]], ids=["first", "last"])
def test_a_cell_gives_a_row_for_each_lane_and_evaluation(tmp_path, override):
    config = config_of(override)
    rows = cells.cell(config, job(tmp_path / "cell"))
    assert [(row["step"], row["lane"]) for row in rows] == [(10, 0), (10, 1), (20, 0), (20, 1)]
    assert all(0 <= row["accuracy"] <= 1 and row["loss"] > 0 for row in rows)
    assert all(
        row["solved_step"] is None or row["accuracy"] >= 0.99 or row["step"] != row["solved_step"] for row in rows
    )
    assert len({row["loss"] for row in rows}) == 4  # every lane has parameters and data of its own
    assert cells.cell(config, job(tmp_path / "cell")) == rows  # what is done is not trained again
    counts = trained.describe(tmp_path / "cell" / "seeds", associative_recall.build)
    assert {row["parameters"] for row in rows} == {counts["parameters"]}
    state = 4 * 32 * 2 * 64 if config.model.mixer == "attention" else 4 * {"gru": 1, "lstm": 2}[config.model.mixer]
    state *= 1 if config.model.mixer == "attention" else counts["width"]
    assert {row["state_bytes"] for row in rows} == {state}  # one block: keys and values of every token, or the carry


def test_an_lstm_has_the_parameters_of_attention(tmp_path, whole):
    """Within the two per cent that matching allows."""
    lstm = config_of({"model.mixer": "lstm", "task.num_items": 2})
    counts, found = {}, {"attention": whole, "lstm": (tmp_path, cells.cell(lstm, job(tmp_path)))}
    for mixer, (folder, rows) in found.items():
        counts[mixer] = trained.describe(folder / "seeds", associative_recall.build)
        assert {row["parameters"] for row in rows} == {counts[mixer]["parameters"]}
    assert counts["lstm"]["mixer"] == "lstm"
    assert abs(counts["lstm"]["parameters"] / counts["attention"]["parameters"] - 1) <= 0.02


def test_the_rate_is_chosen_on_a_seed_of_its_own(whole):
    folder, rows = whole
    chosen, judged = (read_config(folder / part).train for part in ("rates", "seeds"))
    assert chosen.same_seed and chosen.lane_lrs == cells.RATES and chosen.num_steps == judged.num_steps
    assert chosen.seed not in range(judged.seed, judged.seed + judged.lanes)
    assert {row["rate"] for row in rows} == {judged.peak_lr} <= set(cells.RATES)


def test_a_cell_that_is_broken_off_gives_the_rows_of_an_unbroken_one(tmp_path, monkeypatch, whole):
    _, rows = whole

    class Broken(trial.Progress):
        def advance(self, step, lanes):
            super().advance(step, lanes)
            if step == 15:  # between two checkpoints
                raise KeyboardInterrupt

    train = trial.train
    with monkeypatch.context() as power_cut:
        power_cut.setattr(trial, "train", lambda *args, **given: train(*args, **given, progress=Broken()))
        with pytest.raises(KeyboardInterrupt):
            cells.cell(ATTENTION, job(tmp_path / "broken"))
    assert {row["step"] for row in trial.curve(tmp_path / "broken" / "rates", "train")} == {5, 10, 15}
    assert cells.cell(ATTENTION, job(tmp_path / "broken")) == rows
    assert cells.cell(ATTENTION, job(tmp_path / "other", number=1)) != rows


def test_a_cell_counted_in_seconds_trains_the_steps_that_were_measured_before_it_was_killed(tmp_path, monkeypatch):
    config = config_of({"model.mixer": "gru", "task.num_items": 2, "measure.matching": "seconds"})
    monkeypatch.setattr(equal_seconds, "TURNS", 3)

    class Broken(trial.Progress):
        def advance(self, step, lanes):
            raise KeyboardInterrupt

    train = trial.train
    with monkeypatch.context() as power_cut, pytest.raises(KeyboardInterrupt):
        power_cut.setattr(trial, "train", lambda *args, **given: train(*args, **given, progress=Broken()))
        cells.cell(config, job(tmp_path))
    measured = json.loads((tmp_path / equal_seconds.FILE).read_text())
    assert 0 < measured["step_seconds_ratio_low"] < measured["step_seconds_ratio"] < 1000
    steps = equal_seconds.in_the_same_seconds(config.train, measured["step_seconds_ratio"])["train.num_steps"]
    monkeypatch.setattr(equal_seconds, "_measured", None)  # it is not measured again
    rows = cells.cell(config, job(tmp_path))
    assert max(row["step"] for row in rows) == rows[0]["trained_steps"] == steps and rows[0].items() >= measured.items()
    parts = [read_config(tmp_path / part) for part in ("rates", "seeds")]
    assert {part.train.num_steps for part in parts} == {steps}
    alike = matched(config, associative_recall.build(config).shape, "params")
    assert {part.model for part in parts} == {alike.model}


def test_the_cells_config_is_what_the_folder_says(tmp_path):
    rate = cells.cell(ATTENTION, job(tmp_path, number=3))[0]["rate"]
    written = json.loads((tmp_path / "seeds" / "config.json").read_text())
    chosen = {"train.seed": 3000, "train.peak_lr": rate, "train.nan_policy": "skip"}
    expected = flatten(with_overrides(ATTENTION, chosen))
    assert written == json.loads(json.dumps(expected)) and written["measure.matching"] == "params"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"task.name": "copy_memory"}, "task.name=copy_memory: this experiment runs on associative_recall alone"),
        ({"task.num_items": 9}, "task.seq_len=32: recalling task.num_items=9 takes at least 36"),
    ],
)
def test_what_cannot_be_recalled_is_refused_before_anything_runs(overrides, message):
    with pytest.raises(ConfigError, match=message):
        plan.plan(cells, overrides)
