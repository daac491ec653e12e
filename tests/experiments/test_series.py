"""Series: a cell tests what it trained, and the rule decides from planted right answers."""

import importlib.util
from pathlib import Path

import pytest

from experiments.series import cells
from transformer_jax.config import ConfigError, flatten, with_overrides
from transformer_jax.lab import plan
from transformer_jax.lab.sweep import Job
from transformer_jax.report import write
from transformer_jax.tasks import generated

PATH = Path(__file__).parents[2] / "experiments" / "series" / "report.py"
spec = importlib.util.spec_from_file_location("series_report", PATH)
page = importlib.util.module_from_spec(spec)
spec.loader.exec_module(page)

SHORT = {"train.num_steps": 4, "train.warmup_steps": 1, "train.chunk_steps": 2, "train.eval_every": 2,
         "train.checkpoint_every": 4, "train.lanes": 2, "model.num_layers": 1}  # fmt: skip


@pytest.mark.parametrize("study", ["digits", "shapes_1d"])
def test_a_cell_gives_a_row_for_each_lane(tmp_path, monkeypatch, study):
    monkeypatch.setattr(cells, "RATES", (1e-3, 1e-2))
    config = with_overrides(cells.BASE, cells.STUDIES[study][1] | SHORT | {"task.batch_size": 8})
    assert config.model.mixer == "gru"
    rows = cells.cell(config, Job(0, tmp_path / "cell", 0))
    assert [row["lane"] for row in rows] == [0, 1] and len({row["loss"] for row in rows}) == 2
    assert all(row["step"] == 4 and 0 <= row["accuracy"] <= 1 and row["rate"] in cells.RATES for row in rows)
    assert cells.cell(config, Job(0, tmp_path / "cell", 0)) == rows  # what is done is not trained again


def test_its_plan():
    assert [(c.studies, c.config.model.mixer) for c in plan.plan(cells)] == [
        ((name,), mixer) for name in page.SERIES for mixer in page.MIXERS
    ]
    full = plan.plan(cells, studies=cells.FULL)
    assert {c.config.train.num_steps for c in full} == {20_000} and len(full) == 6
    for overrides, message in (
        ({"task.name": "parity"}, "task.name=parity: this experiment runs on digits, shapes_1d alone"),
        ({"train.num_steps": 100}, "train.num_steps=100: a rate is chosen in half, and its warm-up takes longer"),
    ):
        with pytest.raises(ConfigError, match=message):
            plan.plan(cells, overrides)


def planted(digits, shapes, lanes=5):
    """Right answers of attention, a GRU and an LSTM by seed, on the two series."""
    found = []
    for study, shares in zip(page.SERIES, (digits, shapes), strict=True):
        for number, (override, share) in enumerate(zip(cells.STUDIES[study], shares, strict=True)):
            for lane in range(lanes):
                found.append(flatten(with_overrides(cells.BASE, override)) | {
                    "status": "ok", "round": 0, "part": lane, "key": f"{study}{number}", "studies": (study,),
                    "header": "h", "lane": lane, "step": 200, "accuracy": share + 0.01 * (lane % 3),
                    "rate_at_edge": number == 0,
                })  # fmt: skip
    return found


def ahead(*shares, **more):
    return page.report(planted(*shares, **more)).answers[0]


def test_the_rule_decides():
    assert ahead((0.9, 0.7, 0.8), (0.5, 0.4, 0.3)).verdict == "SUPPORTED"
    assert ahead((0.6, 0.7, 0.8), (0.2, 0.4, 0.3)).verdict == "REFUTED"
    assert ahead((0.9, 0.7, 0.95), (0.5, 0.4, 0.3)).verdict == "TASK-DEPENDENT"
    assert ahead((0.9, 0.7, 0.9), (0.5, 0.4, 0.3)).verdict == "INCONCLUSIVE"
    assert ahead((0.9, 0.7, 0.8), (0.5, 0.4, 0.3), lanes=4).verdict == "INCONCLUSIVE"
    found = ahead((0.9, 0.7, 0.8), (0.5, 0.4, 0.3)).estimates
    assert found["permuted digits, over gru"].value == pytest.approx(0.2) and len(found) == 4
    rows = planted((0.9, 0.7, 0.8), (0.5, 0.4, 0.3))
    assert page.report([row for row in rows if row["model.mixer"] != "lstm"]).answers[0].verdict == "INCONCLUSIVE"
    assert page.report([]).answers[0].verdict == "INCONCLUSIVE"


def test_a_lane_without_a_number_got_nothing_right():
    rows = [row | {"accuracy": None} if row["model.mixer"] == "gru" and row["lane"] == 0 else row
            for row in planted((0.9, 0.7, 0.8), (0.5, 0.4, 0.3))]  # fmt: skip
    finding = page.report(rows).answers[1]
    assert finding.estimates["shapes, gru"].n == 5 and finding.estimates["shapes, gru"].value < 0.35


def test_the_page_says_how_many_series_there_are(tmp_path):
    rows = planted((0.9, 0.7, 0.8), (0.5, 0.4, 0.3))
    report = page.report(rows)
    assert "359 digits and 256 shapes" in report.answers[0].of and page.BATCHES == generated.EVALUATE_BATCHES
    assert "digits by attention" in report.notes[0] and len(report.tables[0].rows) == 6
    write(tmp_path, report, [{"id": "h"}], rows)
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {"accuracy_by_seed"}
