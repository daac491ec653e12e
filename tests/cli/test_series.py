"""A series of the user's own from its file to an evaluation; and that a model which learns beats the last step."""

from datetime import datetime, timedelta
from math import sin

import pytest

from transformer_jax.cli import main
from transformer_jax.train.log import read_metrics

SHORT = ["--train.num-steps", 2, "--train.warmup-steps", 0, "--train.eval-every", 2, "--train.checkpoint-every", 2]


def command(*words):
    return main.main([str(word) for word in words])


@pytest.fixture
def meter(tmp_path):
    path = tmp_path / "meter.csv"
    lines = (f"{datetime(2024, 1, 1) + n * timedelta(hours=1)},{sin(n / 4) + n / 50:.4f}" for n in range(400))
    path.write_text("when,load\n" + "\n".join(lines) + "\n")
    return path


def test_a_series_of_ones_own_is_prepared_trained_on_and_evaluated(meter, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
    assert command("prepare", "series", "--from", meter, "--name", "meter") == 0
    shown = capsys.readouterr().out
    assert "train 280, validation 40 (held out by time: 70, 10 and 20 % of the steps" in shown and "test 80 (" in shown
    assert "python run.py train etth1_patch --task.name meter --task.seq-len 70 --task.horizon 20\n" in shown
    sizes = ["--task.name", "meter", "--task.seq-len", 48, "--task.horizon", 12]
    assert command("train", "etth1_dlinear", *sizes, *SHORT, "--out", tmp_path / "run") == 0
    assert "Forecasts, over what came" in (tmp_path / "run" / "run.html").read_text()
    capsys.readouterr()
    assert command("evaluate", tmp_path / "run", "--split", "test") == 0
    title, metrics = capsys.readouterr().out.splitlines()
    assert title == "meter (horizon 12), test split, step 2 (best)"
    assert [word for word in metrics.split() if word.isalpha()] == ["loss", "mae", "mse"]


def test_mistakes_end_with_code_2_and_nothing_written(meter, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
    meter.write_text(meter.read_text().replace("2024-01-01 05:00:00,", "2024-01-01 05:00:00,x"))
    for words, message in (
        (["--name", "meter"], "meter.csv, line 7, column load has 'x"),
        ([], "prepare series needs --name: a series, a CSV file"),
        (["--name", "meter", "--source", "a"], "prepare series has no use for --source"),
        (["--name", "meter", "--time-column", "wen"], "no column 'wen'; did you mean when?"),
    ):
        assert command("prepare", "series", "--from", meter, *words) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1 and not (tmp_path / "data").exists()
    assert command("prepare", "ett_h1", "--from", tmp_path, "--time-column", "when") == 2
    assert "prepare ett_h1 has no use for --time-column: a series, a CSV file" in capsys.readouterr().err


@pytest.mark.slow
def test_patches_of_sines_beat_the_last_step(tmp_path):
    """0.013 against 0.397 of the variance in 600 steps; an eighth of it, of the last step's error, in a quarter."""
    learned, last = tmp_path / "learned", tmp_path / "last"
    quarter = ["--train.num-steps", 150, "--train.eval-every", 150, "--train.checkpoint-every", 150]
    assert command("train", "sine_patch", *quarter, "--out", learned) == 0
    assert command("train", "sine_patch", "--model.forecaster", "repeat_last", *SHORT, "--out", last) == 0
    mse, of_last = (read_metrics(folder / "metrics.jsonl")[-1]["mse"] for folder in (learned, last))
    assert mse < of_last / 8
