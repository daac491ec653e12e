"""The claims are rows of one table; each says what its experiment's rules make of the rows, or that nobody asked."""

import json

import pytest

from tests.experiments import planted
from transformer_jax import cli
from transformer_jax.cli.main import main
from transformer_jax.config import ConfigError
from transformer_jax.host.accelerator import Device
from transformer_jax.lab import claims, plan, rows


def folder_of(path, found):
    """A folder with rows.jsonl, measured as a launch would have."""
    overrides = [{k: v for k, v in row.items() if "." in k} for row in found if row["round"] == 0]
    header = {"kind": "header", "id": "h1", "experiment": "attention_cost", "base": planted.BASE, "code": "c",
              "accept_stale": False, "studies": {"length": overrides}, "commit": "abcdef0123", "device": "cpu",
              "versions": {"jax": "0"}}  # fmt: skip
    path.mkdir(parents=True)
    rows.append(path / rows.FILE, header)
    for row in found:
        rows.append(path / rows.FILE, {k: v for k, v in row.items() if k != "studies"})
    return path


@pytest.fixture
def measured(tmp_path):
    found = planted.make_rows(noise=0.002)
    found = [row for row in found if "length" in row["studies"] and row["measure.level"] == "op"]
    folder_of(tmp_path / "attention_cost", found)
    return tmp_path


def test_every_claim_is_asked_by_an_experiment_and_rules_that_are_there():
    for claim in claims.CLAIMS.values():
        report = plan.load(claim.experiment).report
        assert set(claim.rules) <= set(report.RULES)
        assert claim.rules or callable(report.claim)
    asked = {(claim.experiment, claim.only, claim.budget) for claim in claims.CLAIMS.values()}
    assert len(asked) == len({experiment for experiment, *_ in asked})  # a folder has one run
    assert len(claims.CLAIMS) == 7


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (["SUPPORTED", "SUPPORTED"], "SUPPORTED"),
        (["SUPPORTED", "REFUTED"], "TASK-DEPENDENT"),
        (["SUPPORTED", "TASK-DEPENDENT", "INCONCLUSIVE"], "TASK-DEPENDENT"),
        (["SUPPORTED", "INCONCLUSIVE"], "INCONCLUSIVE"),
        (["INCONCLUSIVE"], "INCONCLUSIVE"),
    ],
)
def test_verdicts_of_several_questions_are_one(found, word):
    assert claims.combined(found) == word


def test_an_unknown_claim_is_named_with_the_nearest():
    with pytest.raises(ConfigError, match="no claim 'complexty'; did you mean .*complexity"):
        claims.chosen(["complexty"])
    assert list(claims.chosen(["context"])) == ["context"] and claims.chosen([]) == claims.CLAIMS


def test_a_claim_says_what_its_rows_say_and_one_without_rows_that_it_is_not_measured(measured):
    one = claims.answer("complexity", claims.CLAIMS["complexity"], measured / "attention_cost")
    assert one.finding.verdict == "TASK-DEPENDENT"  # planted: quadratic in time and FLOPs, linear in memory
    assert one.finding.estimates["attention's time"].low > 1.8 > one.finding.estimates["attention's memory"].high
    assert "Linear with sequence length" in one.finding.question and one.figure.name.startswith("complexity_")
    other = claims.answer("context", claims.CLAIMS["context"], measured / "recall")
    assert other.finding.verdict == "not measured" and other.figure is None


def test_the_command_runs_each_experiment_once_and_writes_the_page_of_all_claims(measured, monkeypatch, capsys):
    ran = []
    monkeypatch.setattr(cli.claims.Experiment, "run", lambda self, overrides: ran.append(self.name) or 0)
    assert main(["claims", "--only", "complexity", "--out", str(measured)]) == 0
    printed = capsys.readouterr().out
    assert ran == ["attention_cost"]
    assert "complexity      TASK-DEPENDENT" in printed and "context         not measured" in printed
    page = (measured / "claims.html").read_text()
    assert (
        "Quadratic with sequence length" in page
        and "Rule of complexity: SUPPORTED if" in page
        and "Not measured." in page
    )
    found = json.loads((measured / "claims.json").read_text())
    assert found["complexity"]["verdict"] == "TASK-DEPENDENT"
    assert found["complexity"]["numbers"]["attention's time"]["value"] == pytest.approx(2, abs=0.05)


def test_a_stopped_experiment_stops_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr(cli.claims.Experiment, "run", lambda self, overrides: 75)
    assert main(["claims", "--out", str(tmp_path / "new")]) == 75
    assert not (tmp_path / "new" / "claims.html").exists()


@pytest.mark.parametrize(
    ("options", "platform", "free", "many"),
    [([], "cpu", 100, 8), ([], "cpu", 7, 3), ([], "cpu", 1, 1), (["--workers", "2"], "cpu", 1, 2), ([], "gpu", 99, 1)],
)
def test_experiments_that_time_nothing_get_several_workers(tmp_path, monkeypatch, options, platform, free, many):
    ran = {}
    monkeypatch.setattr(cli.claims.os, "sched_getaffinity", lambda _: range(8))
    monkeypatch.setattr(cli.claims, "first_device", lambda: Device(platform, None))
    monkeypatch.setattr(cli.claims, "available_bytes", lambda: free * 2**30)
    monkeypatch.setattr(cli.claims.Experiment, "run", lambda self, _: ran.update({self.name: self.workers}) or 0)
    assert main(["claims", "--out", str(tmp_path), *options]) == 0
    trains = {"recall", "long_range", "gradient_flow", "interaction"}
    assert {name: ran[name] for name in trains} == dict.fromkeys(trains, many)
    assert all(workers == 1 for name, workers in ran.items() if name not in trains) and len(ran) == 7


def test_only_needs_a_name(capsys):
    assert main(["claims", "--only"]) == 2
    assert "--only needs a claim or several: processing, context" in capsys.readouterr().err


def test_a_dry_run_shows_the_commands(tmp_path, capsys):
    assert main(["claims", "--dry-run", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert f"run.py experiment recall --out {tmp_path}/recall" in printed
    assert "--only level=op phase=train" in printed and list(tmp_path.iterdir()) == []
