"""Cores: cells sample what the report reads, and the rules decide from planted rows."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from experiments.cores import cells
from transformer_jax.config import ConfigError, flatten, with_overrides
from transformer_jax.host import cores
from transformer_jax.lab import plan
from transformer_jax.lab.sweep import Job, parse
from transformer_jax.report import write

PATH = Path(__file__).parents[2] / "experiments" / "cores" / "report.py"
spec = importlib.util.spec_from_file_location("cores_report", PATH)
page = importlib.util.module_from_spec(spec)
spec.loader.exec_module(page)

TINY = {"model.d_model": 8, "model.num_heads": 2, "model.num_layers": 1, "task.vocab_size": 16, "task.seq_len": 8,
        "measure.tokens": 16, "measure.min_sample_seconds": 1e-4}  # fmt: skip


def config_of(**more):
    return with_overrides(cells.BASE, TINY | {key.replace("__", "."): value for key, value in more.items()})


def test_a_cell_is_a_sample_of_a_training_step_on_as_many_tokens(tmp_path):
    config = config_of(model__mixer="gru")
    settle = cells.prepare(config)
    assert settle()["sample_seconds"] > 0
    rows = [cells.cell(config, Job(0, tmp_path / "none", round_)) for round_ in (0, 1)]
    assert all(row["tokens"] == 16 and row["step_seconds"] > 0 and row["jaxpr_flops"] > 0 for row in rows)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("possible", [True, False])
def test_one_core_is_all_that_a_sample_has_or_there_is_no_time(tmp_path, monkeypatch, possible):
    if possible and not cores.can_withhold():
        pytest.skip("Linux on several cores alone can withhold some")
    monkeypatch.setattr(cores, "can_withhold", lambda: possible)
    config, found = config_of(model__mixer="gru", measure__cores="one"), []
    compiled = cells.prepare(config).__self__.compiled
    step = compiled.program
    monkeypatch.setattr(type(compiled), "__call__", lambda self, *args: found.append(cores.count()) or step(*args))
    cells.prepare(config)()
    found.clear()
    row = cells.cell(config, Job(0, tmp_path, 0))
    assert ("step_seconds" in row) == possible and row["jaxpr_flops"] > 0
    assert set(found) == ({1} if possible else set()) and (not possible or cores.count() > 1)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"task.batch_size": 7}, "task.batch_size: it changes nothing that this experiment measures"),
        ({"task.seq_len": 100}, "measure.tokens=4096 is no multiple of task.seq_len=100"),
        ({"measure.cores": "two"}, "measure.cores='two': must be one of all, one"),
    ],
)
def test_what_cannot_be_or_changes_nothing_is_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        plan.plan(cells, overrides)


def test_a_length_of_ones_own_is_measured_on_one_core_and_on_all():
    found = plan.plan(cells, swept=parse("--sweep", ["seq_len=64"]))
    assert len(found) == 12 and {c.config.measure.cores for c in found} == {"all", "one"}
    pairs = list(zip(found[::2], found[1::2], strict=True))  # beside each other
    assert all(a.config.model == b.config.model and a.config.measure != b.config.measure for a, b in pairs)


def planted(attention=2.0, recurrent=1.2, work=3.0, rounds=5, faster=(1.8, 1.2)):
    """Factors of a token's time, and of attention's FLOPs per token, from T = 16 to 4096; speed-ups of attention and
    of recurrences from one core to all at T = 4096, half as much more than 1 at T = 256."""
    rng, found = np.random.default_rng(0), []
    for number, override in enumerate(cells.STUDIES["steps"]):
        config = flatten(with_overrides(cells.BASE, override))
        T, mine = config["task.seq_len"], config["model.mixer"] == "attention"
        along = np.log(T / 16) / np.log(256)
        for round_ in range(rounds):
            seconds = 0.1 * (attention if mine else recurrent) ** along * np.exp(rng.normal(0, 0.01))
            if config["measure.cores"] == "one":
                seconds *= 1 + (faster[not mine] - 1) * along
            found.append(config | {
                "status": "ok", "studies": ("steps",), "key": f"{number}", "header": "h", "round": round_,
                "step_seconds": float(seconds), "tokens": 4096, "jaxpr_flops": 1e9 * (work if mine else 1.0) ** along,
            })  # fmt: skip
    return found


def verdicts(rows):
    return [finding.verdict for finding in page.report(rows).answers]


def without(rows, **where):
    where = {key.replace("__", "."): value for key, value in where.items()}
    return [row for row in rows if any(row[key] != value for key, value in where.items())]


def test_the_rules_decide():
    assert verdicts(planted()) == ["REFUTED", "SUPPORTED", "SUPPORTED"]
    assert verdicts(planted(attention=1.1, work=1.0))[:2] == ["SUPPORTED", "SUPPORTED"]
    assert verdicts(planted(attention=2.0, work=1.0))[:2] == ["REFUTED", "REFUTED"]
    assert verdicts(planted(faster=(1.2, 1.8)))[2] == "REFUTED"
    for speed_ups in ((1.5, 1.5), (1.55, 1.5), (1.5, 1.55)):  # as much, and by less than the clock can tell
        assert verdicts(planted(faster=speed_ups))[2] == "INCONCLUSIVE"
    assert verdicts(planted(rounds=1)) == ["INCONCLUSIVE"] * 3 and verdicts([]) == ["INCONCLUSIVE"] * 3


def test_attention_may_gain_more_than_some():
    alike = [row | {"step_seconds": row["step_seconds"] * 2} if row["measure.cores"] == "one"
             and row["model.mixer"] == "min_gru" else row for row in planted()]  # fmt: skip
    assert verdicts(alike)[2] == "TASK-DEPENDENT"
    noise = np.random.default_rng(1)
    noisy = [row | {"step_seconds": row["step_seconds"] * np.exp(noise.normal(0, 0.5))}
             if row["measure.cores"] == "one" else row for row in planted()]  # fmt: skip
    assert verdicts(noisy)[2] == "INCONCLUSIVE"


def test_what_was_not_measured_decides_nothing():
    rows = planted()
    for lacking in (
        {"model.mixer": "min_gru"},
        {"measure.cores": "one"},
        {"measure.cores": "one", "task.seq_len": 4096},
    ):
        assert verdicts(without(rows, **lacking))[2] == "INCONCLUSIVE"
    failed = [{k: v for k, v in row.items() if k != "step_seconds"} | {"status": "oom"}
              if row["measure.cores"] == "one" and row["task.seq_len"] == 4096 else row for row in rows]  # fmt: skip
    assert verdicts(failed) == ["REFUTED", "SUPPORTED", "INCONCLUSIVE"]
    on_one = [row for row in rows if row["measure.cores"] == "one"]
    assert verdicts(on_one) == ["INCONCLUSIVE"] * 3  # nothing is said of all cores


def test_the_numbers_are_the_planted_factors():
    time, speed, more = page.report(planted()).answers
    assert time.estimates["over lstm"].value == pytest.approx(2 / 1.2, rel=0.03)
    assert speed.estimates["over min_gru (associative)"].value == pytest.approx(3 / 2 * 1.2, rel=0.03)
    assert "at T = 4,096 over that at 16: attention: " in time.text
    assert more.estimates["over gru"].value == pytest.approx(1.8 / 1.2, rel=0.03)
    assert more.text.startswith("Time on one core over that on all: attention: 1.8") and more.of == "T = 4,096"


def test_the_page_has_its_figures(tmp_path):
    rows = planted()
    write(tmp_path, page.report(rows), [{"id": "h"}], rows)
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {"token_time_by_length", "speed_up_by_length"}
