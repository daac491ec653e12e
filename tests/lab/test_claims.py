"""The claims are rows of one table; each says what its experiments' rules make of the rows, or that nobody asked."""

import json
import os
from math import inf, nan
from types import SimpleNamespace

import pytest
from markupsafe import escape

from tests.experiments import (
    planted,
    test_complexity,
    test_forgetting,
    test_full_sizes,
    test_gradient_flow,
    test_interaction,
    test_long_range,
    test_parallelism,
    test_recall_report,
    test_training_speed,
)
from transformer_jax import cli
from transformer_jax.cli.main import main
from transformer_jax.config import Config, ConfigError
from transformer_jax.host.accelerator import Device
from transformer_jax.host.folders import FolderError
from transformer_jax.intervals import NOTHING, Estimate
from transformer_jax.lab import claims, ledger, plan, preview, rows
from transformer_jax.lab.sweep import parse


def folder_of(path, found):
    """A folder with rows.jsonl, measured as a launch would have."""
    overrides = [{k: v for k, v in row.items() if "." in k} for row in found if row["round"] == 0]
    header = {"kind": "header", "id": "h1", "experiment": "complexity", "base": planted.BASE, "code": "c",
              "accept_stale": False, "studies": {"length": overrides}, "commit": "abcdef0123", "device": "cpu",
              "versions": {"jax": "0"}}  # fmt: skip
    path.mkdir(parents=True)
    rows.append(path / rows.FILE, header)
    for row in found:
        rows.append(path / rows.FILE, {k: v for k, v in row.items() if k != "studies"})
    return path


@pytest.fixture
def measured(tmp_path):
    folder_of(tmp_path / "complexity", test_complexity.rows_of())
    return tmp_path


def test_every_claim_is_asked_by_experiments_and_rules_that_are_there():
    every = [one for claim in claims.CLAIMS.values() for one in claim.asked]
    for one in every:
        report = plan.load(one.experiment).report
        assert set(one.rules) <= set(report.RULES)
        assert one.rules and all(report.RULES[name].reads for name in one.rules)  # its digest holds the estimates
        plan.plan(plan.load(one.experiment).cells, wanted=parse("--only", one.only))
    runs = claims.experiments(claims.CLAIMS)
    for one in every:  # a folder has one run: where they differ, another claim asks for all of it
        assert one.only == runs[one.experiment].only or not runs[one.experiment].only
    assert len(claims.CLAIMS) == 8
    for claim in claims.CLAIMS.values():
        assert claim.says.count("{}") == len(claim.decides) == len(set(claim.decides.values()))


def test_an_experiment_is_run_as_far_as_the_chosen_claims_need_it():
    alone = claims.experiments(claims.chosen(["context"]))
    assert list(alone) == ["recall", "long_range"] and alone["long_range"].only == ("name=copy_memory",)
    assert claims.experiments(claims.CLAIMS)["long_range"].only == ()


def test_the_proposal_is_measured_only_by_its_name():
    assert list(claims.CLAIMS) == [*claims.chosen([]), "forgetting"]
    assert list(claims.experiments(claims.chosen(["forgetting"]))) == ["forgetting"]


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate(100, 90, 110, 5), "100"),
        (Estimate(-20.06, -21, -19, 5), "-20"),
        (Estimate(0.0154, -0.001, 0.03, 5), "0.02"),
        (Estimate(0.996, 0.996, 0.996, 1), "1.00"),
        (Estimate(nan, 1400, inf, 5), "more than 1,400"),
        (Estimate(nan, 2, 3, 5), "between 2 and 3"),
        (NOTHING, "(no number)"),
    ],
)
def test_a_number_in_a_sentence_is_short(estimate, text):
    claim = claims.CLAIMS["architecture"]._replace(says="It is {}.", decides={"x": "x"})
    assert claims.sentence(claim, {"x": estimate}) == f"It is {text}."
    known = claims.sentence(claim, {"x": estimate}, intervals=True)
    assert known == f"It is {text}." or (known.startswith(f"It is {text} [") and "[-0.00" not in known)


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
    assert list(claims.chosen(["context"])) == ["context"]
    with pytest.raises(ConfigError, match="no claim 'recall': the experiment is asked by context"):
        claims.chosen(["recall"])


def test_a_claim_says_what_its_rows_say_and_one_without_rows_that_it_is_not_measured(measured):
    one = claims.answer("complexity", claims.CLAIMS["complexity"], measured)
    assert one.finding.verdict == "TASK-DEPENDENT"  # planted: quadratic in time and FLOPs, linear in memory
    assert one.finding.estimates["in blocks, time"].low > 1.8 > one.finding.estimates["in blocks, memory"].high
    assert "attention's FLOPs" in one.numbers and "stores none, as T^2.00" in one.finding.text
    assert "Linear with sequence length" in one.finding.question and one.figures[0].name.startswith("complexity_")
    other = claims.answer("context", claims.CLAIMS["context"], measured)
    assert other.finding.verdict == "not measured" and other.figures == () and other.finding.text == "Not measured."
    alone = claims.answer("forgetting", claims.CLAIMS["forgetting"], measured, ["--out", "my runs"])
    assert alone.finding.verdict == "not measured"
    assert alone.finding.text == "Not measured: run.py claims --only forgetting --out 'my runs'"


def found_in(rows_of, tmp_path, monkeypatch):
    """A folder in which experiments have these rows, by name."""
    for name in rows_of:
        (tmp_path / name).mkdir()
        (tmp_path / name / rows.FILE).touch()
    monkeypatch.setattr(claims.rows, "read", lambda folder: folder.name)
    results = {name: rows.Results([{"id": "h", "experiment": name}], found, []) for name, found in rows_of.items()}
    monkeypatch.setattr(claims.rows, "current", results.get)
    return tmp_path


def answers_of(folder):
    return {name: claims.answer(name, claim, folder) for name, claim in claims.CLAIMS.items()}


def test_every_number_that_decides_is_one_of_the_reports(tmp_path, monkeypatch):
    rows_of = {
        "parallelism": test_parallelism.planted(),
        "recall": test_recall_report.planted(lambda n: 200, lambda n: None),
        "long_range": test_long_range.planted(lambda *_: 100, lambda *_: None),
        "interaction": test_interaction.planted(),
        "training_speed": test_training_speed.planted(),
        "gradient_flow": test_gradient_flow.planted(),
        "complexity": test_complexity.rows_of(),
        "forgetting": test_forgetting.rows(),
    }
    found = answers_of(found_in(rows_of, tmp_path, monkeypatch))
    for one in found.values():
        assert one.finding.estimates and all(estimate.n for estimate in one.finding.estimates.values())
        assert "not measured)" not in one.finding.text and "{" not in one.finding.text
    context = found["context"]
    assert context.finding.verdict == "SUPPORTED" and (len(context.figures), len(context.headers)) == (1, 2)
    assert "attention needs 100, a GRU or an LSTM more than 600" in context.finding.text
    assert "To recall 2 pairs attention needs 200 steps of training, a GRU more than 600" in context.finding.text
    assert "to recall 8 of them 200, more than 600 and more than 600." in context.finding.text
    assert {"2 pairs, gru", "copying: attention"} <= set(context.numbers) and len(context.rules) == 2
    forgetting = found["forgetting"]
    assert forgetting.finding.verdict == "SUPPORTED" and "What drifts more forgets more: SUPPORTED." in (
        forgetting.finding.text
    )
    assert forgetting.finding.question.startswith("Proposal: “If we combine EWC with Self-Attention")
    of_streams = [label for label in forgetting.numbers if label.endswith("? split (task)")]
    assert [label[:3] for label in of_streams] == ["H1:", "H2:", "H3:"] and "split (task)" not in forgetting.numbers


@pytest.mark.parametrize("study", ["flops", "seconds"])
def test_the_sentence_of_a_full_size_has_the_numbers_of_its_first_question(tmp_path, monkeypatch, study):
    found = test_full_sizes.rows_of("long_range")
    for row in found:  # with as much of something else recurrences solve all
        if study in row["studies"] and row["model.mixer"] != "attention":
            row["solved_step"] = row["step"] / 4
    one = answers_of(found_in({"long_range": found}, tmp_path, monkeypatch))["long_range"]
    assert "need 1,000 steps of training, of a GRU or an LSTM more than 20,000; to tell" in one.finding.text
    assert one.finding.estimates["parity, GRU or LSTM"].low == 20_000
    of_each = {label: number for label, number in one.numbers.items() if label.endswith("? parity: recurrences")}
    assert sorted(number.low for number in of_each.values()) == [5000, 20_000, 20_000]


def test_the_verdict_of_the_proposal_is_that_of_all_statements_that_were_made_of_it(tmp_path, monkeypatch):
    def turned(row):  # queries and keys are worse to protect than others, and hold attention maps still all the same
        own = row["continual.part"] == "query_key" and not row["continual.control"]
        return row | ({"stability": row["stability"] - 0.2} if own else {})

    rows_of = {"forgetting": test_forgetting.rows(turned)}
    one = answers_of(found_in(rows_of, tmp_path, monkeypatch))["forgetting"]
    assert dict(one.verdicts) == {"H1": "SUPPORTED", "H2": "SUPPORTED", "H3": "REFUTED"}
    assert one.finding.verdict == "TASK-DEPENDENT"


def test_a_claim_of_two_experiments_is_open_while_one_has_no_rows(tmp_path, monkeypatch):
    rows_of = {"recall": test_recall_report.planted(lambda n: 200, lambda n: None)}
    one = answers_of(found_in(rows_of, tmp_path, monkeypatch))["context"]
    assert one.finding.verdict == "INCONCLUSIVE"
    assert "To copy four symbols over 50 blanks attention needs (no number), a GRU" in one.finding.text


def test_a_report_that_fails_leaves_its_claim_unmeasured_and_the_others_as_they_are(tmp_path, monkeypatch):
    (tmp_path / "recall").mkdir()
    (tmp_path / "recall" / rows.FILE).touch()
    monkeypatch.setattr(claims.rows, "read", lambda folder: None)
    monkeypatch.setattr(claims.rows, "current", lambda _: rows.Results([], [], []))
    failing = SimpleNamespace(report=lambda _: {}["two rows differ"])
    monkeypatch.setattr(claims.plan, "load", lambda _: SimpleNamespace(report=failing))
    one = claims.answer("context", claims.CLAIMS["context"], tmp_path)
    assert one.finding.verdict == claims.UNMEASURED and one.finding.text == "Not measured."
    assert len(one.doubts) == 1 and "recall: its report failed: KeyError" in one.doubts[0]


def test_the_command_runs_each_experiment_once_and_writes_the_page_of_all_claims(measured, monkeypatch, capsys):
    ran = []
    monkeypatch.setattr(cli.claims.Experiment, "run", lambda self, overrides: ran.append(self.name) or 0)
    assert main(["claims", "--only", "complexity", "--out", str(measured)]) == 0
    printed = capsys.readouterr().out
    assert ran == ["complexity"]
    again = f"Not measured: run.py claims --only forgetting --out {measured}"
    assert "complexity      TASK-DEPENDENT" in printed and "context         Not measured.\n" in printed
    assert f"forgetting      {again}" in printed
    page = (measured / "claims.html").read_text()
    assert "Quadratic with sequence length" in page and "Rule of complexity: SUPPORTED if" in page
    assert "Not measured.<" in page and again in page and "Introduction to Transformers in Keras" in page
    for entry in ledger.published():
        assert all(str(escape(text)) in page for text in (entry.what, entry.value, entry.source, entry.because))
    found = json.loads((measured / "claims.json").read_text())
    assert found["complexity"]["verdict"] == "TASK-DEPENDENT" and "T^2.00" in found["complexity"]["found"]
    assert found["complexity"]["quotes"]["RNN"] == "Linear with sequence length"
    assert (found["forgetting"]["verdict"], found["forgetting"]["found"]) == ("not measured", again)
    assert list(found["forgetting"]["quotes"]) == ["Proposal"]
    assert found["complexity"]["numbers"]["attention's time"]["value"] == pytest.approx(2, abs=0.05)
    assert (measured / "claims.png").read_bytes().startswith(b"\x89PNG")


def test_a_stopped_experiment_stops_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr(cli.claims.Experiment, "run", lambda self, overrides: 75)
    assert main(["claims", "--out", str(tmp_path / "new")]) == 75
    assert not (tmp_path / "new" / "claims.html").exists()


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)


@pytest.mark.parametrize(
    ("options", "platform", "free", "many"),
    [([], "cpu", 100, 8), ([], "cpu", 7, 3), ([], "cpu", 1, 1), (["--workers", "2"], "cpu", 1, 2), ([], "gpu", 99, 1)],
)
def test_experiments_that_time_nothing_get_several_workers(tmp_path, monkeypatch, options, platform, free, many):
    ran = {}
    monkeypatch.setattr(cli.claims, "first_device", lambda: Device(platform, None))
    monkeypatch.setattr(cli.claims, "available_bytes", lambda: free * 2**30)
    monkeypatch.setattr(cli.claims.Experiment, "run", lambda self, _: ran.update({self.name: self.workers}) or 0)
    assert main(["claims", "--out", str(tmp_path), *options]) == 0
    trains = {"parallelism", "recall", "long_range", "gradient_flow", "interaction"}
    assert {name: ran[name] for name in trains} == dict.fromkeys(trains, many)
    assert all(workers == 1 for name, workers in ran.items() if name not in trains) and len(ran) == 7


@pytest.fixture
def foreseen(monkeypatch):
    """No worker starts: of every experiment ten cells are foreseen, four of them there."""
    cell = plan.Cell({}, Config(), "")
    looks = [preview.Outlook(cell, {}, int(n < 4), None, None, 1) for n in range(10)]
    found = preview.Preview(looks, [], None)
    monkeypatch.setattr(cli.claims.Experiment, "foresee", lambda self, given: (found, f"6 measurements of {self.name}"))


def commands(capsys):
    """The lines of a dry run that are commands, by experiment."""
    return {line.split()[2]: line for line in capsys.readouterr().out.splitlines() if line.startswith("run.py ")}


@pytest.mark.parametrize("nothing", [[], [","]])
def test_only_needs_a_name(nothing, capsys):
    assert main(["claims", "--only", *nothing]) == 2
    assert "--only needs a claim or several: processing, context" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["context", "architecture"], ["context,architecture"], ["context, architecture,"]])
def test_claims_are_named_with_blanks_or_commas_between_them(words, foreseen, capsys):
    assert main(["claims", "--dry-run", "--only", *words]) == 0
    assert list(commands(capsys)) == ["recall", "long_range", "interaction"]
    assert main(["claims", "--dry-run", "--only", "context,architectur"]) == 2
    assert "no claim 'architectur'; did you mean architecture?" in capsys.readouterr().err


def test_a_dry_run_refuses_a_folder_that_cannot_be_made(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["claims", "--dry-run", "--out", str(tmp_path / "file" / "new")]) == 2
    assert capsys.readouterr().err == f"error: {tmp_path}/file is a file: choose another --out\n"


@pytest.mark.parametrize("dry", [["--dry-run"], []])
def test_a_folder_of_something_else_is_refused(tmp_path, monkeypatch, capsys, dry, foreseen):
    monkeypatch.setattr(cli.claims.Experiment, "run", lambda self, _: 0)
    for name, said in (("notes.md", "something else (notes.md)"), ("rows.jsonl", "an experiment's results")):
        folder = tmp_path / name.partition(".")[0]
        folder.mkdir()
        (folder / name).write_text("")
        assert main(["claims", *dry, "--only", "context", "--out", str(folder)]) == 2
        assert f"{folder} holds {said}" in capsys.readouterr().err and len(list(folder.iterdir())) == 1
    stopped_early = tmp_path / "stopped" / "recall"
    stopped_early.mkdir(parents=True)
    (stopped_early / ".lock").write_text("")
    assert main(["claims", *dry, "--only", "context", "--out", str(stopped_early.parent)]) == 0


def test_a_dry_run_shows_the_commands(tmp_path, foreseen, capsys):
    assert main(["claims", "--dry-run", "--workers", "1", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert f"run.py experiment recall --out {tmp_path}/recall  # context" in printed
    assert (
        f"run.py experiment complexity --out {tmp_path}/complexity  # complexity" in printed
        and list(tmp_path.iterdir()) == []
    )


def test_the_comments_of_a_dry_run_are_of_some_columns_and_still_comments(tmp_path, monkeypatch, foreseen, capsys):
    long = "the run ends with its clock (--budget 3m): " + "about 40 s of compiling, " * 5 + "each a sample"
    found, _ = cli.claims.Experiment.foresee(SimpleNamespace(name=""), {})
    monkeypatch.setattr(cli.claims.Experiment, "foresee", lambda self, given: (found, long))
    assert main(["claims", "--dry-run", "--workers", "2", "--out", str(tmp_path)]) == 0
    comments = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("run.py experiment ")]
    assert all(line.lstrip().startswith("# ") for line in comments) and max(map(len, comments)) <= 100
    assert " ".join(line.lstrip().removeprefix("# ") for line in comments).count(long) == 7


def test_a_dry_run_counts_cells_and_says_how_long_each_and_all_take(tmp_path, foreseen, capsys):
    assert main(["claims", "--dry-run", "--out", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum("10 cells, 4 there; 6 measurements of" in line for line in lines) == 7
    assert lines[-2:] == ["# together: 70 cells, 28 there", f"# all of the quick size took {claims.TAKES['quick']}"]
    assert main(["claims", "--dry-run", "--only", "complexity", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "# together: 10 cells, 4 there"


def test_what_a_dry_run_foresees_is_what_the_experiments_own_does(tmp_path, capsys):
    assert main(["claims", "--dry-run", "--only", "architecture", "--workers", "1", "--out", str(tmp_path)]) == 0
    of_claims = capsys.readouterr().out
    assert main(["experiment", "interaction", "--dry-run", "--out", str(tmp_path / "interaction")]) == 0
    length = next(line for line in capsys.readouterr().out.splitlines() if "measurements" in line)
    assert f"  # 7 cells, 0 there; {length}" in of_claims


@pytest.fixture
def recall_has_a_full_size(monkeypatch):
    monkeypatch.setattr(plan, "with_full", lambda: ["recall"])
    monkeypatch.setattr(plan.load("recall").cells, "FULL", plan.load("recall").cells.STUDIES, raising=False)


def test_the_full_size_is_that_of_the_experiments_that_have_one(
    recall_has_a_full_size, foreseen, monkeypatch, tmp_path, capsys
):
    assert main(["claims", "--dry-run", "--size", "full"]) == 0
    lines = commands(capsys)
    assert [name for name, line in lines.items() if "--size full" in line] == ["recall"] and len(lines) == 7
    assert all(f"--out runs/claims_full/{name}" in line for name, line in lines.items())
    ran = {}
    monkeypatch.setattr(cli.claims.Experiment, "run", lambda self, _: ran.update({self.name: self.size}) or 0)
    assert main(["claims", "--size", "full", "--only", "context", "--out", str(tmp_path)]) == 0
    assert ran == {"recall": "full", "long_range": "quick"}
    assert "measured as always, as they have one size: long_range" in capsys.readouterr().err


def test_what_holds_of_the_quick_size_is_not_said_of_the_full_one():
    claim, quick, full = claims.CLAIMS["gradient_flow"], {"size": "quick"}, {"size": "full"}
    assert "256 steps" in claim.conditions([quick]) == claim.conditions([{}]) and "1,024" in claim.conditions([full])
    architecture = claims.CLAIMS["architecture"]  # its experiment has one size
    assert architecture.conditions([quick]) == architecture.holds
    for one in claims.CLAIMS.values():
        both = {asked.experiment for asked in one.asked} & set(plan.with_full())
        assert bool(one.holds_full) == bool(both)


def test_what_is_not_measured_says_the_command_with_its_size_and_seed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "claims_full").mkdir(parents=True)
    monkeypatch.setattr(cli.claims.Experiment, "run", lambda self, _: 0)
    assert main(["claims", "--size", "full", "--seed", "3", "--only", "context"]) == 0
    assert "run.py claims --only forgetting --size full --seed 3\n" in capsys.readouterr().out


def test_claims_without_a_full_size_name_the_experiments_that_have_one(recall_has_a_full_size, capsys):
    assert main(["claims", "--size", "full", "--only", "processing"]) == 2
    assert capsys.readouterr().err == "error: --size full: parallelism has one size; a full one: recall\n"


def test_a_seed_is_given_to_what_is_trained_or_drawn(tmp_path, foreseen, capsys):
    assert main(["claims", "--dry-run", "--seed", "7", "--out", str(tmp_path)]) == 0
    lines = commands(capsys)
    seeded = {name for name, line in lines.items() if "--train.seed 7" in line}
    assert seeded == {"recall", "interaction", "training_speed", "long_range", "gradient_flow"} and len(lines) == 7


@pytest.mark.parametrize("dry", [["--dry-run"], []])
def test_a_folder_of_the_other_size_is_refused_in_a_dry_run_as_in_a_run(tmp_path, monkeypatch, capsys, dry):
    header = {"kind": "header", "id": "h", "experiment": "recall", "base": {}, "code": "c", "accept_stale": False,
              "versions": {}}  # fmt: skip
    (tmp_path / "recall").mkdir()
    rows.append(tmp_path / "recall" / rows.FILE, header)

    run = cli.claims.Experiment.run
    monkeypatch.setattr(cli.claims.Experiment, "run", lambda self, _: run(self, {}) if self.name == "recall" else 0)
    assert main(["claims", *dry, "--size", "full", "--only", "context", "--out", str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert printed.err.endswith(
        f"error: recall: {tmp_path}/recall holds the quick size of recall, and a folder has one:"
        " --size quick goes on with it, another --out takes the full one\n"
    )
    if dry:
        assert "experiment long_range" in printed.out and "experiment recall" not in printed.out
        assert main(["claims", *dry, "--only", "context", "--out", str(tmp_path)]) == 0


@pytest.mark.parametrize("size", ["quick", "full"])
def test_a_dry_run_shows_workers_where_they_are_taken_and_why_they_are_not(tmp_path, foreseen, size, capsys):
    two = ["--workers", "2", "--size", size, "--only", "gradient_flow", "training_speed"]
    assert main(["claims", "--dry-run", *two, "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out.split("run.py experiment ")[1:]
    of = {text.split()[0]: text for text in printed}
    assert "--workers 2 --out" in of["gradient_flow"] and "one worker here" not in of["gradient_flow"]
    assert (
        "--workers 2 --out" not in of["training_speed"] and "--workers 2: one worker here, as " in of["training_speed"]
    )


def test_a_run_says_which_experiments_have_one_worker_all_the_same(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cli.claims.Experiment, "run", lambda self, _: 0)
    for platform, names in (("cpu", "training_speed"), ("gpu", "gradient_flow")):
        monkeypatch.setattr(cli.claims, "first_device", lambda platform=platform: Device(platform, None))
        two = ["--workers", "2", "--only", "gradient_flow", "training_speed"]
        assert main(["claims", *two, "--out", str(tmp_path)]) == 0
        assert f"--workers 2: one worker for {names}, as " in capsys.readouterr().err


def test_what_cannot_be_run_in_a_dry_run_keeps_no_other_from_it(tmp_path, foreseen, monkeypatch, capsys):
    foresee = cli.claims.Experiment.foresee

    def refuse(self, given):
        if self.name == "training_speed":
            raise ConfigError("its text is gone")
        return foresee(self, given)

    monkeypatch.setattr(cli.claims.Experiment, "foresee", refuse)
    assert main(["claims", "--dry-run", "--out", str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert printed.err == "error: training_speed: its text is gone\n" and "60 cells, 24 there" in printed.out
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_run_keeps_no_other_from_it(tmp_path, monkeypatch, capsys):
    ran = []

    def run(self, given):
        if self.name == "training_speed":
            raise ConfigError("its text is gone")
        ran.append(self.name)
        return 0

    monkeypatch.setattr(cli.claims.Experiment, "run", run)
    assert main(["claims", "--out", str(tmp_path)]) == 2
    assert len(ran) == 6 and "error: training_speed: its text is gone" in capsys.readouterr().err
    assert (tmp_path / "claims.html").exists()


def test_rows_that_cannot_be_read_are_a_doubt_of_their_claim_alone(tmp_path):
    (tmp_path / "interaction" / rows.FILE).mkdir(parents=True)
    found = {name: claims.answer(name, one, tmp_path) for name, one in claims.CLAIMS.items()}
    assert found["architecture"].finding.verdict == "not measured" and found["architecture"].doubts
    page = ledger.ledger(found)
    assert [note.partition(":")[0] for note in page.notes] == ["architecture"]


def test_a_rule_that_was_changed_after_the_rows_is_said_of_every_claim(measured):
    path = measured / "complexity" / rows.FILE
    path.write_text(path.read_text().replace('"code": "c"', '"code": "c", "rules": {"quadratic": "0000"}', 1))
    one = claims.answer("complexity", claims.CLAIMS["complexity"], measured)
    assert any("was changed" in doubt for doubt in one.doubts)


def test_a_claim_rests_on_the_launch_that_measured_not_on_one_that_found_all_there(measured):
    path = measured / "complexity" / rows.FILE
    again = json.loads(path.read_text().splitlines()[0]) | {"id": "h2", "commit": "9999999999"}
    rows.append(path, again)
    one = claims.answer("complexity", claims.CLAIMS["complexity"], measured)
    assert [header["commit"] for header in one.headers] == ["abcdef0123"]


@pytest.mark.parametrize("seed", ["-1", "99999999999999"])
def test_a_seed_that_cannot_be_is_one_error_and_writes_nothing(tmp_path, capsys, seed):
    assert main(["claims", "--only", "architecture", "--seed", seed, "--out", str(tmp_path / "new")]) == 2
    assert capsys.readouterr().err == f"error: --seed {seed}: must be at least 0 and below 2147483648\n"
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_could_be_run_there_is_no_page(tmp_path, monkeypatch, capsys):
    def refuse(self, given):
        raise FolderError("holds cells of another seed")

    monkeypatch.setattr(cli.claims.Experiment, "run", refuse)
    assert main(["claims", "--only", "architecture", "--out", str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert printed.err == "error: interaction: holds cells of another seed\n" and not printed.out
    (tmp_path / "file").write_text("")
    assert main(["claims", "--dry-run", "--out", str(tmp_path / "file")]) == 2
