"""Parallelism: cells count and sample what the report reads, and the rules decide from planted rows."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest

from experiments.parallelism import cells
from transformer_jax.config import ConfigError, flatten, with_overrides
from transformer_jax.host import cores
from transformer_jax.lab import plan
from transformer_jax.lab.sweep import Job, parse
from transformer_jax.report import write

PATH = Path(__file__).parents[2] / "experiments" / "parallelism" / "report.py"
spec = importlib.util.spec_from_file_location("parallelism_report", PATH)
page = importlib.util.module_from_spec(spec)
spec.loader.exec_module(page)

TINY = {"model.d_model": 8, "model.num_heads": 2, "model.num_layers": 1, "task.vocab_size": 16, "task.seq_len": 8,
        "measure.tokens": 16, "measure.min_sample_seconds": 1e-4}  # fmt: skip


def config_of(**more):
    return with_overrides(cells.BASE, TINY | {key.replace("__", "."): value for key, value in more.items()})


@pytest.mark.parametrize("mixer", ["attention", "lstm"])
def test_a_counted_cell_has_the_depth_of_both_phases(tmp_path, mixer):
    short, long = (config_of(model__mixer=mixer, measure__probe="depth", task__seq_len=T) for T in (4, 16))
    job = Job(0, tmp_path / "none", 0)
    found = [cells.cell(config, job) for config in (short, long)]
    assert all(0 < row["forward_depth"] < row["train_depth"] for row in found)
    assert (found[1]["train_depth"] > 3 * found[0]["train_depth"]) == (mixer == "lstm")
    assert cells.prepare(short)() == {} and cells.predict(short)["seconds"] > 0


def test_writing_is_one_token_after_another(tmp_path):
    found = [cells.cell(config_of(measure__probe="generation", task__seq_len=T), Job(0, tmp_path, 0)) for T in (4, 16)]
    assert found[1]["generation_depth"] > 3 * found[0]["generation_depth"]


def test_a_timed_cell_is_a_sample_of_a_training_step_on_as_many_tokens(tmp_path):
    config = config_of(model__mixer="gru")
    settle = cells.prepare(config)
    assert settle()["sample_seconds"] > 0
    rows = [cells.cell(config, Job(0, tmp_path / "none", round_)) for round_ in (0, 1)]
    assert all(row["tokens"] == 16 and row["step_seconds"] > 0 and row["jaxpr_flops"] > 0 for row in rows)
    assert cells.predict(config)["seconds"] > 0 and not (tmp_path / "none").exists()


@pytest.mark.parametrize("possible", [True, False])
def test_one_core_is_withheld_the_others_or_there_is_no_time(tmp_path, monkeypatch, possible):
    if possible and not cores.can_withhold():
        pytest.skip("Linux on several cores alone can withhold some")
    monkeypatch.setattr(cores, "can_withhold", lambda: possible)
    cells._ready.cache_clear()
    config, found = config_of(model__mixer="gru", measure__cores="one"), []
    step = cells._ready(config).compiled.program
    monkeypatch.setattr(cells._ready(config).compiled.__class__, "__call__",
                        lambda self, *args: found.append(len(os.sched_getaffinity(0))) or step(*args))  # fmt: skip
    cells.prepare(config)()
    found.clear()
    row = cells.cell(config, Job(0, tmp_path, 0))
    assert ("step_seconds" in row) == possible and row["jaxpr_flops"] > 0
    assert set(found) == ({1} if possible else set()) and (not possible or len(os.sched_getaffinity(0)) > 1)
    cells._ready.cache_clear()


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
        ({"measure.cores": "one", "measure.probe": "depth"}, "measure.cores=one: a count"),
    ],
)
def test_what_cannot_be_or_changes_nothing_is_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        plan.plan(cells, overrides)


DEPTH = {"attention": 0.05, "rnn": 1.0, "gru": 1.0, "lstm": 1.0, "min_gru": 0.12}


def planted(depth=DEPTH, written=1.0, attention=2.0, recurrent=1.2, work=3.0, rounds=5, faster=(1.8, 1.2)):
    """Powers of depth by mixer; factors of a token's time, and of attention's FLOPs per token, from T = 16 to 4096;
    speed-ups of attention and of recurrences from one core to all at T = 4096, half as much more than 1 at T = 256."""
    rng, found = np.random.default_rng(0), []
    for name, study in cells.STUDIES.items():
        for number, override in enumerate(study):
            config = flatten(with_overrides(cells.BASE, override))
            T, mixer = config["task.seq_len"], config["model.mixer"]
            shared = config | {"status": "ok", "studies": (name,), "key": f"{name}{number}", "header": "h"}
            along = np.log(T / 16) / np.log(256)
            power = depth[mixer]
            if (config["model.attention"], config["model.recurrence"]) not in (
                ("reference", "auto"), ("auto", "auto"), ("auto", "associative"),
            ):  # fmt: skip
                power = 1.0
            for round_ in range(rounds if name in ("time", "cores") else 1):
                row = shared | {"round": round_}
                if name == "depth":
                    row |= {"forward_depth": 20 * T**power, "train_depth": 50 * T**power}
                elif name == "generation":
                    row |= {"generation_depth": 80 * T**written}
                else:
                    mine = mixer == "attention"
                    seconds = 0.1 * (attention if mine else recurrent) ** along * np.exp(rng.normal(0, 0.01))
                    if config["measure.cores"] == "one":
                        seconds *= 1 + (faster[not mine] - 1) * along
                    row |= {"step_seconds": float(seconds), "tokens": 4096,
                            "jaxpr_flops": 1e9 * (work if mine else 1.0) ** along}  # fmt: skip
                found.append(row)
    return found


def verdicts(rows):
    return [finding.verdict for finding in page.report(rows).answers]


def test_the_rules_decide():
    assert verdicts(planted()) == ["TASK-DEPENDENT", "REFUTED", "REFUTED", "SUPPORTED", "SUPPORTED"]
    assert verdicts(planted(depth=DEPTH | {"min_gru": 0.95}))[0] == "SUPPORTED"
    assert verdicts(planted(depth=DEPTH | {"attention": 1.0}))[0] == "REFUTED"
    assert verdicts(planted(depth=dict.fromkeys(DEPTH, 0.1)))[0] == "REFUTED"
    assert verdicts(planted(depth=DEPTH | {"min_gru": 0.5}))[0] == "INCONCLUSIVE"
    assert verdicts(planted(depth=DEPTH | {"attention": 0.5}))[0] == "INCONCLUSIVE"
    assert verdicts(planted(attention=1.1, work=1.0))[2:4] == ["SUPPORTED", "SUPPORTED"]
    assert verdicts(planted(attention=2.0, work=1.0))[2:4] == ["REFUTED", "REFUTED"]
    assert verdicts(planted(faster=(1.2, 1.8)))[4] == "REFUTED"
    assert verdicts(planted(faster=(1.5, 1.5)))[4] == "REFUTED"
    alike = [row | {"step_seconds": 1.5 * row["step_seconds"]} if row["measure.cores"] == "one"
             and row["model.mixer"] == "min_gru" else row for row in planted()]  # fmt: skip
    assert verdicts(alike)[4] == "TASK-DEPENDENT"  # as much as a minGRU
    noise = np.random.default_rng(1)
    noisy = [row | {"step_seconds": row["step_seconds"] * np.exp(noise.normal(0, 0.5))}
             if row["measure.cores"] == "one" else row for row in planted()]  # fmt: skip
    assert verdicts(noisy)[4] == "INCONCLUSIVE"
    assert verdicts(planted(rounds=1))[2:] == ["INCONCLUSIVE"] * 3
    assert verdicts([]) == ["INCONCLUSIVE"] * 5
    withheld = [row for row in planted() if row["measure.cores"] == "all"]
    assert verdicts(withheld) == ["TASK-DEPENDENT", "REFUTED", "REFUTED", "SUPPORTED", "INCONCLUSIVE"]
    untimed = [{k: v for k, v in row.items() if row["measure.cores"] == "all" or k != "step_seconds"}
               for row in planted()]  # fmt: skip
    assert verdicts(untimed) == verdicts(withheld) and not page.report(untimed).answers[4].text
    assert verdicts([row for row in planted() if row["model.mixer"] != "gru"])[0] == "INCONCLUSIVE"


def test_the_numbers_are_the_planted_powers_and_factors():
    depth, written, time, speed, more = page.report(planted()).answers
    assert {name: e.value for name, e in depth.estimates.items()} == pytest.approx(
        {"attention (reference)": 0.05, "rnn": 1.0, "gru": 1.0, "lstm": 1.0, "min_gru (associative)": 0.12}
    )
    assert set(written.estimates) == {f"{one}, writing" for one in ("attention", "rnn", "gru", "lstm", "min_gru")}
    assert time.estimates["over lstm"].value == pytest.approx(2 / 1.2, rel=0.03)
    assert speed.estimates["over min_gru (associative)"].value == pytest.approx(3 / 2 * 1.2, rel=0.03)
    assert "at T = 4,096 over that at 16: attention: 1.98; rnn: 1.22" in time.text
    assert (
        more.estimates["over gru"].value == pytest.approx(1.8 / 1.2, rel=0.03) and "all: attention: 1.79;" in more.text
    )


def test_the_page_has_its_figures(tmp_path):
    rows = planted()
    write(tmp_path, page.report(rows), [{"id": "h"}], rows)
    drawn = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert drawn == {"depth_by_length", "token_time_by_length", "speed_by_length", "speed_up_by_length"}
