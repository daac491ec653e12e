"""Recall beyond the trained length: one training answers at three lengths, and the report compares the readers."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.recall_length import cells
from transformer_jax.config import ConfigError, with_overrides
from transformer_jax.lab import plan, trained
from transformer_jax.lab.sweep import Job
from transformer_jax.tasks import associative_recall

SHORT = {"train.num_steps": 10, "train.warmup_steps": 5, "train.eval_every": 10, "train.checkpoint_every": 10}
SHORT |= {"train.lanes": 2, "model.num_layers": 1, "task.seq_len": 16, "task.num_items": 3}

PATH = Path(__file__).parents[2] / "experiments" / "recall_length" / "report.py"
spec = importlib.util.spec_from_file_location("recall_length_report", PATH)
page = importlib.util.module_from_spec(spec)
spec.loader.exec_module(page)


@pytest.mark.parametrize("override", [cells.STUDIES["length"][1], cells.STUDIES["length"][-1]], ids=["first", "last"])
def test_one_training_answers_at_three_lengths(tmp_path, override):
    config = with_overrides(cells.BASE, SHORT | override)
    rows = cells.cell(config, Job(0, tmp_path / "cell", 0))
    assert [(row["test_len"], row["lane"]) for row in rows] == [(T, lane) for T in (16, 32, 64) for lane in (0, 1)]
    assert {row["step"] for row in rows} == {10}
    assert all(0 <= row["accuracy"] <= 1 and row["loss"] > 0 for row in rows)
    run = trained.restored(tmp_path / "cell", associative_recall.build, "latest")
    batches = list(run.task.evaluate("validation"))
    assert [row["accuracy"] for row in rows[:2]] == [row["accuracy_of_all"] for row in rows[:2]]
    assert [row["loss"] for row in rows[:2]] == [lane["loss"] for lane in run.metrics(batches)]
    nothing = run.metrics(batches, jax.tree.map(jnp.zeros_like, run.params))
    assert [lane["loss"] for lane in nothing] == pytest.approx([np.log(64)] * 2)  # all of 64 tokens alike


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"task.name": "copy_memory"}, "runs on associative_recall alone"),
        ({"task.seq_len": 48}, "model.max_len=128: what is trained at task.seq_len=48 is tested at up to 192"),
        ({"model.position": "learned"}, "a position that training did not reach has no vector"),
        ({"task.num_items": 9}, "recalling task.num_items=9 takes at least 36"),
    ],
)
def test_what_cannot_be_tested_longer_is_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        plan.plan(cells, overrides)


def planted(attention, others, lanes=3, first=1.0):
    """Accuracy at 32, 64 and 128 steps: 1 at the first (recurrences: what is given), what is given at the last."""
    rng, found = np.random.default_rng(0), []
    readers = [("attention", p) for p in page.POSITIONS] + [(m, "auto") for m in page.RECURRENCES]
    for mixer, position in readers:
        last = attention(position) if mixer == "attention" else others
        for part, (lane, test_len) in enumerate((lane, T) for lane in range(lanes) for T in (32, 64, 128)):
            begin = 1.0 if mixer == "attention" else first
            accuracy = begin - (begin - last) * (test_len - 32) / 96 + rng.normal(0, 0.002)
            found.append({"status": "ok", "round": 0, "part": part, "key": mixer + position, "studies": ("length",),
                          "model.mixer": mixer, "model.position": position, "task.seq_len": 32, "lane": lane,
                          "test_len": test_len, "accuracy": float(accuracy)})  # fmt: skip
    return found


def test_the_rule_decides_at_four_times_the_length():
    def verdict(rows):
        return page.report(rows).answers[0].verdict

    assert verdict(planted(lambda p: 0.9, 0.5)) == "SUPPORTED"
    assert verdict(planted(lambda p: 0.2, 0.5)) == "REFUTED"
    assert verdict(planted(lambda p: 0.2 if p == "sinusoidal" else 0.9, 0.5)) == "TASK-DEPENDENT"
    assert verdict(planted(lambda p: 0.5, 0.5)) == "INCONCLUSIVE" == verdict([])
    assert verdict(planted(lambda p: 0.9, 0.5)[:18]) == "INCONCLUSIVE"
    lost = page.report(planted(lambda p: 0.9, 0.5)).answers[1].estimates
    assert lost["attention, rotary"].value == pytest.approx(-0.1, abs=0.01)
    assert lost["lstm"].value == pytest.approx(-0.5, abs=0.01) and lost["lstm"].n == 3


def test_who_has_learned_nothing_loses_nothing_and_is_not_compared():
    guessing = page.report(planted(lambda p: 0.9, 0.25, first=0.25))
    assert guessing.answers[0].verdict == "INCONCLUSIVE"
    assert guessing.answers[0].missing.startswith("not compared, as one of the two is not measured or had not")
    assert set(guessing.answers[1].estimates) == {f"attention, {p}" for p in page.POSITIONS}
    assert "lstm: 0.25" in " ".join(guessing.answers[2].numbers) and "not learned" in guessing.answers[2].verdict


def test_a_cell_that_failed_is_shown_and_breaks_nothing():
    failed = {"status": "timeout", "round": 0, "key": "x", "studies": ("length",), "model.mixer": "lstm",
              "model.position": "auto", "task.seq_len": 32}  # fmt: skip
    report = page.report([*planted(lambda p: 0.9, 0.5)[:9], failed])
    assert report.answers[0].verdict == "INCONCLUSIVE" and report.figures[0] is not None
