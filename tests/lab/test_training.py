"""How far a training inside a cell is, seen from outside."""

import json
import os

from transformer_jax.lab import training


def test_the_last_whole_row_says_the_step(tmp_path):
    assert training.step(tmp_path) is None and training.step(tmp_path / "nowhere") is None
    path = tmp_path / "metrics.jsonl"
    path.write_text("")
    assert training.step(tmp_path) == 0
    rows = [json.dumps({"step": step, "split": "train", "loss": 1 / 3}) for step in range(200)]
    path.write_text("\n".join(rows) + '\n{"step": 2')
    assert training.step(tmp_path) == 199
    path.write_text("no row\n")
    assert training.step(tmp_path) is None


def test_a_step_is_shown_once(tmp_path, monkeypatch):
    now, seen = [0.0], []
    monkeypatch.setattr(training.time, "monotonic", lambda: now[0])
    watch = training.Watch(tmp_path, seen.append)
    for now[0], step in ((0.5, 1), (1.5, 2), (1.6, 3), (2.6, 3), (3.7, 3), (4.8, 4)):
        (tmp_path / "metrics.jsonl").write_text(json.dumps({"step": step}) + "\n")
        watch.look()
    assert seen == [2, 3, 4]


def test_of_trainings_one_after_another_the_last_counts(tmp_path):
    for name, step, time in (("rates", 400, 1), ("seeds", 25, 2)):
        (tmp_path / name).mkdir()
        path = tmp_path / name / "metrics.jsonl"
        path.write_text(json.dumps({"step": step}) + "\n")
        os.utime(path, (time, time))
    assert training.step(tmp_path) == 25
