"""Everything is compiled first, then passes are made: what fails is a row, and the clock or a number ends the run."""

import json
import os
from pathlib import Path

import pytest

from transformer_jax.lab import display, passes, plan, rows, sampling, schedule, supervisor

EXPERIMENT = '''"""Cells that are prepared; the one with seq_len 13 misbehaves."""
import os, signal, threading, time
from transformer_jax.config import Config, MeasureConfig
from transformer_jax.lab.sweep import grid

USES_JAX = False
BASE = Config(measure=MeasureConfig(rounds=2))
STUDIES = {"length": grid({"task.seq_len": [11, 13, 17, 19]})}
ready = set()

def log(*entry):
    with open(LOG, "a") as file:
        file.write(repr((os.getpid(), *entry)) + "\\n")

def prepare(config):
    seq_len = config.task.seq_len
    if seq_len == 13:
        FAULT
    log("compiled", seq_len)
    return lambda: settle(seq_len)

def settle(seq_len):
    if seq_len == 13:
        LATE
    ready.add(seq_len)
    log("ready", seq_len)
    return {"sample_seconds": 0.5}

def cell(config, job):
    log("cell", config.task.seq_len)
    if config.task.seq_len == 13:
        IN_CELL
    return {"ready": config.task.seq_len in ready}
'''


class Seen(display.View):
    def start(self, todo, notes):
        super().start(todo, notes)
        self.prepared, self.notes, self.rows = [], list(notes), []

    def preparing(self, stage, count, total, seconds):
        self.prepared.append((stage, count, total))

    def note(self, text):
        self.notes.append(text)

    def done(self, cell, row, seconds, left, eta):
        super().done(cell, row, seconds, left, eta)
        self.rows.append(row)


def experiment(folder: Path, fault="pass", late="pass", in_cell="pass") -> plan.Experiment:
    (folder / "tiny").mkdir(exist_ok=True)
    text = EXPERIMENT.replace("LOG", repr(str(folder / "log")))
    for name, body in (("FAULT", fault), ("LATE", late), ("IN_CELL", in_cell)):
        text = text.replace(name, body)
    (folder / "tiny" / "cells.py").write_text(text)
    (folder / "tiny" / "report.py").write_text("def report(rows): pass\n")
    return plan.Experiment("tiny", folder / "tiny")


def run(one: plan.Experiment, folder: Path, view=None, **options) -> schedule.Summary:
    return schedule.run(one, plan.plan(one.cells, options.get("given")), folder, view=view, **options)


def log_of(folder: Path) -> list[tuple]:
    path = folder / "log"
    return [eval(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_all_is_prepared_before_the_first_sample(tmp_path):
    view = Seen()
    assert run(experiment(tmp_path), tmp_path / "out", view).cells == {"ok": 4}
    stages = [stage for _, stage, _ in log_of(tmp_path)]
    assert sorted(stages[:4]) == ["compiled"] * 4 and stages[4:8] == ["ready"] * 4 and set(stages[8:]) == {"cell"}
    assert view.prepared == [(stage, n, 4) for stage in ("compiled", "ready") for n in (1, 2, 3, 4)]
    assert all(row["ready"] for row in rows.read(tmp_path / "out").rows)
    before = len(log_of(tmp_path))
    assert run(experiment(tmp_path), tmp_path / "out").added == {}
    assert len(log_of(tmp_path)) == before  # nothing is missing: nothing is prepared


def test_programs_are_compiled_beside_each_other(tmp_path, monkeypatch):
    """Two that wait for each other both get through."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(2), raising=False)  # cells.py is read here as well
    one = experiment(tmp_path)
    source = (tmp_path / "tiny" / "cells.py").read_text()
    source = source.replace("ready = set()", "ready, both = set(), threading.Barrier(2, timeout=30)")
    source = source.replace("[11, 13, 17, 19]", "[11, 17]").replace(
        '    log("compiled"', '    both.wait()\n    log("compiled"'
    )
    (tmp_path / "tiny" / "cells.py").write_text(
        source.replace("import os,", "import os\nos.sched_getaffinity = lambda _: range(2)\nimport")
    )
    assert run(one, tmp_path / "out").cells == {"ok": 2}


@pytest.mark.parametrize("stage", ["fault", "late"])
@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("raise ValueError('no such program')", "failed"),
        ("raise MemoryError('Unable to allocate 2.00 KiB')", "oom"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "killed"),
        ("os._exit(3)", "killed"),
    ],
)
def test_what_cannot_be_prepared_is_a_row_and_the_others_go_on(tmp_path, stage, fault, status):
    summary = run(experiment(tmp_path, **{stage: fault}), tmp_path / "out")
    assert summary.cells == {"ok": 3, status: 1} and summary.added == {"ok": 6, status: 1}
    found = rows.read(tmp_path / "out").rows
    assert [(r["round"], r["status"]) for r in found if r["task.seq_len"] == 13] == [(0, status)]
    # however the processes ended: whatever was sampled had been prepared in that process before its first sample
    assert all(row["ready"] for row in found if row["status"] == "ok")
    assert run(experiment(tmp_path, **{stage: fault}), tmp_path / "out").added == {}
    assert run(experiment(tmp_path), tmp_path / "out", retry_failed=True, accept_stale=True).cells == {"ok": 4}


def test_a_preparation_that_hangs_is_a_timeout(tmp_path):
    summary = run(experiment(tmp_path, fault="time.sleep(600)"), tmp_path / "out", timeout=3)
    assert summary.cells == {"ok": 3, "timeout": 1}


def test_a_process_that_dies_while_sampling_is_made_ready_again(tmp_path):
    fault = "os.kill(os.getpid(), signal.SIGKILL)"
    assert run(experiment(tmp_path, in_cell=fault), tmp_path / "out").cells == {"ok": 3, "killed": 1}
    assert all(row["ready"] for row in rows.read(tmp_path / "out").rows if row["status"] == "ok")


def test_cells_that_cannot_be_prepared_together_are_prepared_alone(tmp_path, monkeypatch):
    """The process dies whenever two programs are compiled at once, as where memory holds but one."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(4), raising=False)  # cells.py is read here as well
    one = experiment(tmp_path)
    path = tmp_path / "tiny" / "cells.py"
    body = ["busy.append(seq_len)", "if len(busy) > 1: os._exit(9)", "time.sleep(0.2)", "busy.remove(seq_len)", "log("]
    source = path.read_text().replace("ready = set()", "ready, busy = set(), []")
    source = source.replace("import os,", "import os\nos.sched_getaffinity = lambda _: range(4)\nimport")
    path.write_text(source.replace('log("compiled', "\n    ".join(body) + '"compiled'))
    assert run(one, tmp_path / "out").cells == {"ok": 4}
    assert all(row["ready"] for row in rows.read(tmp_path / "out").rows)


class Ticking:
    """A clock of the runner's that moves by a second at each look."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        self.now += 1.0
        return self.now


def passes_of(folder: Path) -> dict[int, list[int]]:
    found = {}
    for row in rows.read(folder).rows:
        found.setdefault(row["task.seq_len"], []).append(row["round"])
    return found


@pytest.fixture
def ticking(monkeypatch):
    clock = Ticking()
    for module in (passes, sampling, schedule):
        monkeypatch.setattr(module, "time", clock)
    return clock


def test_a_budget_makes_whole_passes_and_a_rerun_adds_none(tmp_path, ticking):
    one, out = experiment(tmp_path), tmp_path / "out"
    summary = run(one, out, budget=200.0)
    made = len(passes_of(out)[11])
    assert made > 5 and all(rounds == list(range(made)) for rounds in passes_of(out).values())
    assert summary.cells == {"ok": 4} and not summary.interrupted
    assert rows.read(out).headers[-1]["ended"]["passes"] == made
    before = (out / rows.FILE).read_bytes()
    assert run(one, out, budget=200.0).added == {} and run(one, out, budget=100.0).added == {}
    assert (out / rows.FILE).read_bytes() == before
    more = run(one, out, budget=400.0)
    assert more.added["ok"] % 4 == 0 and set(map(len, passes_of(out).values())) == {made + more.added["ok"] // 4}
    assert run(one, out, budget=400.0).added == {}
    fixed = run(one, out, given={"measure.rounds": made * 9}).added["ok"]
    assert set(map(len, passes_of(out).values())) == {made * 9} and fixed % 4 == 0


def test_what_a_kill_took_of_a_finished_run_is_filled_in_and_no_more(tmp_path, ticking):
    one, out = experiment(tmp_path), tmp_path / "out"
    run(one, out, budget=200.0)
    lines = (out / rows.FILE).read_text().splitlines()
    gone = [line for line in lines if json.loads(line).get("round") == 2]
    (out / rows.FILE).write_text("\n".join(line for line in lines if line not in gone) + "\n")
    assert run(one, out, budget=200.0).added == {"ok": 4}
    assert sorted((out / rows.FILE).read_text().splitlines()) == sorted(lines)


def test_a_run_that_was_stopped_ends_its_pass_and_has_its_budget_again(tmp_path, ticking):
    one, out = experiment(tmp_path), tmp_path / "out"
    run(one, out, budget=200.0)
    lines, made = (out / rows.FILE).read_text().splitlines(), len(passes_of(out)[11])
    (out / rows.FILE).write_text("\n".join(lines[:7]) + "\n")  # a header, a pass and a half; no end
    run(one, out, budget=200.0)
    found = (out / rows.FILE).read_text().splitlines()
    assert found[:7] == lines[:7] and found[7:9] == lines[7:9]  # as if it had not been stopped
    assert abs(len(passes_of(out)[11]) - made) <= 2 and set(map(len, passes_of(out).values())) == {
        len(passes_of(out)[11])
    }


def test_a_stop_in_the_middle_of_a_pass_is_no_end(tmp_path, ticking, monkeypatch):
    one, out, calls = experiment(tmp_path), tmp_path / "out", []
    whole = supervisor.Worker.run

    def stopped(worker, *arguments):
        calls.append(1)
        if len(calls) == 7:
            raise supervisor.Stopped
        return whole(worker, *arguments)

    monkeypatch.setattr(supervisor.Worker, "run", stopped)
    summary = run(one, out, budget=200.0)
    assert summary.interrupted and summary.added == {"ok": 6} and summary.cells == {"ok": 2, "missing": 2}
    assert "ended" not in rows.read(out).headers[-1]
    summary = run(one, out, budget=200.0)
    assert not summary.interrupted and summary.cells == {"ok": 4}
    assert set(map(len, passes_of(out).values())) == {rows.read(out).headers[-1]["ended"]["passes"]}


def test_a_budget_that_holds_no_five_passes_is_said_before_the_first(tmp_path):
    one, out, view = experiment(tmp_path), tmp_path / "out", Seen()
    run(one, out, view, budget=0.001)  # over before the worker has started, on any machine
    assert [len(rounds) for rounds in passes_of(out).values()] == [1] * 4
    began, text = view.notes
    assert began.startswith("tiny: 4 cells into ") and began.endswith("out, for 0s")
    assert "a pass takes about 2 s" in text and "--budget 30s" in text and "--measure.rounds 5" in text
    view = Seen()
    run(one, tmp_path / "long", view, given={"measure.rounds": 1})
    assert [note.endswith("long, 4 measurements") for note in view.notes] == [True]
