"""How far a training inside a cell is, seen from outside."""

import json
import os

from transformer_jax.lab import training


def config(folder, steps=200, lanes=1):
    (folder / "config.json").write_text(json.dumps({"train.num_steps": steps, "train.lanes": lanes}))


def test_the_last_whole_row_says_the_step(tmp_path):
    assert training.stage(tmp_path) is None and training.stage(tmp_path / "nowhere") is None
    config(tmp_path)
    path = tmp_path / "metrics.jsonl"
    path.write_text("")
    assert training.stage(tmp_path) == (0, 200, "training")
    rows = [json.dumps({"step": step, "split": "train", "loss": 1 / 3}) for step in range(200)]
    path.write_text("\n".join(rows) + '\n{"step": 2')
    assert training.stage(tmp_path) == (199, 200, "training")
    path.write_text("no row\n")
    assert training.stage(tmp_path) is None


def test_a_step_is_shown_once(tmp_path, monkeypatch):
    now, seen = [0.0], []
    config(tmp_path)
    monkeypatch.setattr(training.time, "monotonic", lambda: now[0])
    watch = training.Watch(tmp_path, lambda stage: seen.append(stage.step))
    for now[0], step in ((0.5, 1), (1.5, 2), (1.6, 3), (2.6, 3), (3.7, 3), (4.8, 4)):
        (tmp_path / "metrics.jsonl").write_text(json.dumps({"step": step}) + "\n")
        watch.look()
    assert seen == [2, 3, 4]


def test_of_trainings_one_after_another_the_last_counts(tmp_path):
    """Which phase it is, and of how many steps: those that the cell trains may be others than its config's."""
    for name, step, time, steps in (("rates", 150, 1, 300), ("seeds", 25, 2, 600)):
        (tmp_path / name).mkdir()
        config(tmp_path / name, steps, lanes=5)
        path = tmp_path / name / "metrics.jsonl"
        path.write_text(json.dumps({"step": step}) + "\n")
        os.utime(path, (time, time))
        assert training.stage(tmp_path) == (step, steps, {"rates": "choosing the rate", "seeds": "5 seeds"}[name])
