"""Faults injected into real worker processes, and what the folder then holds."""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from transformer_jax.config import Config, ConfigError, with_overrides
from transformer_jax.host.folders import FolderError
from transformer_jax.lab import display, rows, sampling, schedule, supervisor, training
from transformer_jax.lab.plan import Experiment, plan

ROOT = Path(__file__).parents[2]

# Three cells of two rounds; the one with seq_len 13 misbehaves. No jax: a worker starts in 0.1 s.
EXPERIMENT = '''"""A tiny experiment."""
import os, signal, subprocess, sys, time
from transformer_jax.config import Config, MeasureConfig
from transformer_jax.lab.sweep import grid

USES_JAX = False
SIDE_BY_SIDE = True
BASE = Config(measure=MeasureConfig(rounds=2))
STUDIES = {"length": grid({"task.seq_len": [11, 13, 17]})}

def cell(config, job):
    seq_len = config.task.seq_len
    if seq_len == 13:
        FAULT
    return {"doubled": 2 * seq_len}
'''
REPORT = '''"""Its report."""
def report(rows):
    raise AssertionError("the schedule draws nothing")
'''


def write_experiment(folder: Path, fault: str = "pass", name: str = "tiny") -> Path:
    """The cells.py of an experiment made of the two texts."""
    path = folder / name / "cells.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(EXPERIMENT.replace("FAULT", fault.replace("\n", "\n        ")))
    path.with_name("report.py").write_text(REPORT)
    return path


def load(path: Path) -> Experiment:
    return Experiment(path.parent.name, path.parent)


def run(path: Path, folder: Path, given=None, **options) -> schedule.Summary:
    experiment = load(path)
    return schedule.run(experiment, plan(experiment.cells, given), folder, given=given, **options)


def rows_by_cell(folder: Path) -> dict[int, list[dict]]:
    by_cell = {}
    for row in rows.read(folder).rows:
        by_cell.setdefault(row["task.seq_len"], []).append(row)
    return by_cell


def sorted_lines(folder: Path) -> list[str]:
    return sorted((folder / rows.FILE).read_text().splitlines())


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition, seconds: float = 60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


@pytest.fixture
def hang(tmp_path, monkeypatch) -> str:
    """A fault that never answers; when it is reached, the runner's clock jumps past every deadline."""
    reached = tmp_path / "reached"
    looks = itertools.count()  # the first may set the deadline: the jump comes after it

    def monotonic():
        return time.monotonic() + (1000 if reached.exists() and next(looks) else 0)

    clock = SimpleNamespace(sleep=time.sleep, monotonic=monotonic)
    monkeypatch.setattr(supervisor, "time", clock)
    return f"open({str(reached)!r}, 'w').close()\ntime.sleep(600)"


@pytest.mark.parametrize(
    ("fault", "status", "columns"),
    [
        ("raise MemoryError('Unable to allocate 2.00 KiB')", "oom", {"requested_bytes": 2048}),
        (
            "raise RuntimeError('RESOURCE_EXHAUSTED: Out of memory allocating 123456 bytes.')",
            "oom",
            {"requested_bytes": 123456},
        ),
        (
            "os.write(2, b'what():  std::bad_alloc'); os.abort()",
            "oom",
            {"message": "the worker was killed by SIGABRT", "requested_bytes": None},
        ),
        ("os.kill(os.getpid(), 9)", "killed", {"message": "the worker was killed by SIGKILL"}),
        ("os._exit(3)", "killed", {"message": "the worker exited with code 3"}),
        ("os.closerange(3, 100); os._exit(4)", "killed", {"message": "the worker exited with code 4"}),
        ("raise ValueError('no <such> thing')", "failed", {"message": "ValueError: no <such> thing"}),
        ("sys.exit('enough')", "failed", {"message": "SystemExit: enough"}),
        ("return {'doubled': float('nan'), 'kept': 1}", "nan", {"doubled": None, "kept": 1}),
        ("return {'doubled': -float('inf')}", "nan", {"doubled": None}),
        ("return [1]", "failed", {"message": "TypeError: cell must return a dict or a list of dicts, not int"}),
        ("hang", "timeout", {"message": "no answer within 60 s"}),
    ],
)
def test_a_fault_is_a_row_and_no_other_cell_notices(tmp_path, hang, fault, status, columns):
    """F10, F11: the cell's status says what happened, once; the others have all their rounds."""
    path = write_experiment(tmp_path, hang if fault == "hang" else fault)
    summary = run(path, tmp_path / "out", timeout=60)
    cells = rows_by_cell(tmp_path / "out")
    assert [(row["status"], row.get("doubled")) for n in (11, 17) for row in cells[n]] == [
        ("ok", 2 * n) for n in (11, 17) for _ in range(2)
    ]
    (row,) = cells[13]
    assert row["status"] == status and {name: row[name] for name in columns} == columns
    assert summary.cells == {"ok": 2, status: 1} and summary.added == {"ok": 4, status: 1}
    if status == "failed":
        assert "Traceback" in row["traceback"]
    assert "NaN" not in (tmp_path / "out" / rows.FILE).read_text()


def test_memory_that_xla_does_not_get_is_a_row_and_the_next_cell_is_unaffected(tmp_path):
    """F10, with the message of the allocator itself."""
    path = write_experiment(tmp_path, "import jax.numpy\njax.numpy.zeros(2**46, 'int8').block_until_ready()")
    path.write_text(
        path.read_text().replace("USES_JAX = False", "").replace("2 * seq_len", "int(numpy.int32(2)) * seq_len")
    )
    path.write_text(path.read_text().replace("import os", "import jax.numpy as numpy, os"))
    assert run(path, tmp_path / "out").cells == {"ok": 2, "oom": 1}
    cells = rows_by_cell(tmp_path / "out")
    assert [row["doubled"] for n in (11, 17) for row in cells[n]] == [22, 22, 34, 34]
    (row,) = cells[13]
    assert "RESOURCE_EXHAUSTED" in row["message"] and row["requested_bytes"] == 2**46


def test_predictions_come_from_the_worker_and_only_for_what_is_missing(tmp_path, monkeypatch):
    path, predicted = write_experiment(tmp_path), []
    pids = tmp_path / "pids"
    with path.open("a") as file:
        file.write(f"""
def predict(config):
    open({str(pids)!r}, "a").write(f"{{os.getpid()}}\\n")
    return {{"seconds": config.task.seq_len / 2}}
""")
    monkeypatch.setattr(sampling, "Eta", lambda seconds: predicted.append(seconds) or display.Eta(seconds))
    for _ in range(2):
        run(path, tmp_path / "out")
    assert [sorted(seconds.values()) for seconds in predicted] == [[5.5, 6.5, 8.5], []]
    assert len(pids.read_text().split()) == 3 and str(os.getpid()) not in pids.read_text().split()


def test_a_cell_that_its_prediction_finds_impossible_is_a_mistake_and_one_that_fails_to_predict_is_not(tmp_path):
    path, whole = write_experiment(tmp_path), write_experiment(tmp_path).read_text()
    path.write_text(whole + "\ndef predict(config): raise ValueError('how long?')\n")
    assert run(path, tmp_path / "out").cells == {"ok": 3}
    path.write_text(whole + "\nfrom transformer_jax.config import ConfigError as predict\n")
    path.write_text(path.read_text() + "\ndef predict(config, error=predict): raise error('no width fits')\n")
    with pytest.raises(ConfigError, match="^no width fits$"):
        run(path, tmp_path / "out")


def test_a_run_leaves_the_accelerator_to_the_worker(tmp_path):
    """A TPU has one owner, and on a GPU a second process would take memory: the runner does not even load jax."""
    path = write_experiment(tmp_path, "import jax\njax.devices()")
    with path.open("a") as file:
        file.write("""
def predict(config):
    import jax
    return {"seconds": float(jax.numpy.ones(()))}
""")
    path.write_text(path.read_text().replace("USES_JAX = False", ""))
    code = DRIVER.replace("sys.exit(", "assert summary.cells == {'ok': 3} and 'jax' not in sys.modules; sys.exit(")
    command = [sys.executable, "-c", code, str(path), str(tmp_path / "out"), "1"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_prints_of_a_cell_do_not_garble_the_protocol(tmp_path):
    path = write_experiment(tmp_path, "print('{}'); os.write(1, b'\\n[]\\n'); os.write(2, b'x' * 300000)")
    assert run(path, tmp_path / "out").cells == {"ok": 3}


def test_a_timeout_ends_the_whole_process_group(tmp_path, hang):
    """F11: no grandchild is left to hold the device."""
    fault = f"""child = subprocess.Popen(["sleep", "600"])
open({str(tmp_path / "pid")!r}, "w").write(str(child.pid))
{hang}"""
    assert run(write_experiment(tmp_path, fault), tmp_path / "out", timeout=60).cells["timeout"] == 1
    wait_until(lambda: not is_alive(int((tmp_path / "pid").read_text())))


def test_a_grandchild_that_holds_the_pipe_does_not_hide_a_death(tmp_path):
    fault = f"""pid = os.fork()
if pid == 0:
    time.sleep(600)
open({str(tmp_path / "pid")!r}, "w").write(str(pid))
os.kill(os.getpid(), 9)"""
    began = time.monotonic()
    assert run(write_experiment(tmp_path, fault), tmp_path / "out", timeout=60).cells["killed"] == 1
    assert time.monotonic() - began < 30
    wait_until(lambda: not is_alive(int((tmp_path / "pid").read_text())))


def test_a_kill_is_out_of_memory_only_where_the_kernel_says_so(tmp_path, monkeypatch):
    counts = iter(range(100))
    monkeypatch.setattr(supervisor, "oom_kills", lambda: next(counts))
    assert run(write_experiment(tmp_path, "os.kill(os.getpid(), 9)"), tmp_path / "out").cells["oom"] == 1
    (row,) = rows_by_cell(tmp_path / "out")[13]
    assert row["message"] == "the worker was killed by SIGKILL when memory ran out"


def test_a_worker_that_cannot_start_says_why(tmp_path):
    path = write_experiment(tmp_path)
    experiment = load(path)
    cells = plan(experiment.cells)
    path.write_text("raise RuntimeError('no device here')")
    with pytest.raises(supervisor.WorkerError, match="no device here"):
        schedule.run(experiment, cells, tmp_path / "out")
    assert not (tmp_path / "out" / rows.FILE).exists()


def test_a_rerun_adds_nothing_and_more_rounds_only_add(tmp_path):
    path = write_experiment(tmp_path)
    assert run(path, tmp_path / "out").added == {"ok": 6}
    before = (tmp_path / "out" / rows.FILE).read_bytes()
    assert run(path, tmp_path / "out").added == {}
    assert (tmp_path / "out" / rows.FILE).read_bytes() == before
    assert run(path, tmp_path / "out", given={"measure.rounds": 5}).added == {"ok": 9}
    assert {n: len(of) for n, of in rows_by_cell(tmp_path / "out").items()} == {11: 5, 13: 5, 17: 5}


def test_retry_failed_tries_again_and_goes_on_when_it_works(tmp_path):
    fault = f"if not os.path.exists({str(tmp_path / 'mended')!r}): raise ValueError"
    path, out = write_experiment(tmp_path, fault), tmp_path / "out"
    assert run(path, out).cells == {"ok": 2, "failed": 1}
    assert run(path, out).added == {}
    assert run(path, out, retry_failed=True).added == {"failed": 1}
    (tmp_path / "mended").touch()
    assert run(path, out, retry_failed=True).added == {"ok": 2}
    assert run(path, out).cells == {"ok": 3}


def test_rows_torn_anywhere_are_refilled_to_the_same_file(tmp_path):
    """F12, F15: whatever a kill leaves of the file, the resumed run ends with the rows of an unbroken one."""
    path = write_experiment(tmp_path, "raise ValueError('always')")
    run(path, tmp_path / "whole")
    whole = (tmp_path / "whole" / rows.FILE).read_bytes()
    for cut in [0, 50, *random.Random(0).sample(range(len(whole)), 4), len(whole) - 1]:
        out = tmp_path / f"cut{cut}"
        out.mkdir()
        (out / rows.FILE).write_bytes(whole[:cut])
        run(path, out)
        assert sorted_lines(out) == sorted_lines(tmp_path / "whole"), f"cut at byte {cut}"


DRIVER = """if True:
    import sys
    from pathlib import Path
    from transformer_jax.host.signals import RESUMABLE
    from transformer_jax.lab import plan, schedule
    folder = Path(sys.argv[1]).parent
    experiment = plan.Experiment(folder.name, folder)
    summary = schedule.run(experiment, plan.plan(experiment.cells), Path(sys.argv[2]), workers=int(sys.argv[3]))
    sys.exit(RESUMABLE if summary.interrupted else 0)
"""


def start_runner(path: Path, folder: Path, workers: int = 1) -> subprocess.Popen:
    command = [sys.executable, "-c", DRIVER, str(path), str(folder), str(workers)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def lines_in(folder: Path) -> int:
    file = folder / rows.FILE
    return file.read_bytes().count(b"\n") if file.exists() else 0


def test_a_runner_killed_again_and_again_ends_with_the_rows_of_an_unbroken_run(tmp_path):
    """F12; its workers do not outlive it, even in the middle of a cell."""
    pids = tmp_path / "pids"
    path = write_experiment(tmp_path, f"open({str(pids)!r}, 'a').write(f'{{os.getpid()}}\\n')\ntime.sleep(0.3)")
    path.write_text(path.read_text().replace("if seq_len == 13:", "if True:"))
    run(path, tmp_path / "whole")
    broken = tmp_path / "broken"
    for _ in range(3):
        lines = lines_in(broken)
        launch = start_runner(path, broken)
        wait_until(lambda before=lines: lines_in(broken) > before)
        launch.kill()
        launch.communicate()
    run(path, broken)
    assert sorted_lines(broken) == sorted_lines(tmp_path / "whole")
    wait_until(lambda: not any(is_alive(int(pid)) for pid in pids.read_text().split()))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_cleanly_with_code_75_and_the_run_can_go_on(tmp_path, number):
    """F4 for sweeps: the worker is gone, the folder is whole, the next launch ends what this one began."""
    pid = tmp_path / "pid"
    path = write_experiment(tmp_path, f"open({str(pid)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)")
    stopped = start_runner(path, tmp_path / "out")
    wait_until(lambda: pid.exists() and pid.read_text())
    began = time.monotonic()
    stopped.send_signal(number)
    _, text = stopped.communicate(timeout=20)
    assert (stopped.returncode, time.monotonic() - began < 5) == (75, True)
    assert "Traceback" not in text and "stopping" in text
    assert not is_alive(int(pid.read_text()))
    assert rows.read(tmp_path / "out").notes == []
    path.write_text(path.read_text().replace("time.sleep(600)", "pass"))
    assert run(path, tmp_path / "out", accept_stale=True).cells == {"ok": 3}


def test_a_signal_while_programs_compile_stops_as_cleanly(tmp_path):
    pid = tmp_path / "pid"
    path = write_experiment(tmp_path)
    prepare = f"def prepare(config):\n    open({str(pid)!r}, 'w').write(str(os.getpid()))\n    time.sleep(600)\n"
    path.write_text(path.read_text() + prepare)
    stopped = start_runner(path, tmp_path / "out")
    wait_until(lambda: pid.exists() and pid.read_text())
    stopped.send_signal(signal.SIGINT)
    _, text = stopped.communicate(timeout=20)
    assert stopped.returncode == 75 and "Traceback" not in text and not is_alive(int(pid.read_text()))
    path.write_text(path.read_text().replace("time.sleep(600)", "return lambda: None"))
    assert run(path, tmp_path / "out").cells == {"ok": 3}


def test_the_second_signal_ends_the_process_at_once():
    code = """if True:
        import os, signal, time
        from transformer_jax.host.signals import stop_signals
        with stop_signals() as stopping:
            os.kill(os.getpid(), signal.SIGINT)
            assert stopping()
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
    """
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=20)
    assert ran.returncode == 75


def test_two_runners_on_one_folder(tmp_path, hang):
    """F13: the second is refused while the first works, and only then."""
    path, out = write_experiment(tmp_path, hang), tmp_path / "out"
    first = start_runner(path, out)
    wait_until((tmp_path / "reached").exists)
    with pytest.raises(FolderError, match=f"in use by process {first.pid}"):
        run(path, out)
    first.kill()
    first.communicate()
    (tmp_path / "reached").unlink()
    assert run(path, out, timeout=60).cells == {"ok": 2, "timeout": 1}


def test_edited_code_is_measured_again_unless_stale_rows_are_accepted(tmp_path):
    """F26."""
    path, out = write_experiment(tmp_path), tmp_path / "out"
    run(path, out)
    path.write_text(path.read_text().replace("2 * seq_len", "3 * seq_len"))
    assert run(path, out, accept_stale=True).added == {}
    assert [r["doubled"] for r in rows.current(rows.read(out)).rows if r["round"] == 0 and r["task.seq_len"] == 11] == [
        22
    ]
    assert run(path, out).added == {"ok": 6}
    kept = rows.current(rows.read(out))
    assert {(r["task.seq_len"], r["doubled"]) for r in kept.rows} == {(11, 33), (13, 39), (17, 51)}
    assert kept.notes == ["6 rows of other code, data or jax were left out (--accept-stale takes those of other code)"]


def test_a_folder_holds_one_experiment_one_base_and_one_kind_of_machine(tmp_path, monkeypatch):
    """F24: what must not be compared is not put together."""
    path, out = write_experiment(tmp_path), tmp_path / "out"
    run(path, out)
    before = (out / rows.FILE).read_bytes()
    with pytest.raises(FolderError, match="cells with model.d_model=128, this run has 64: choose another --out"):
        run(path, out, given={"model.d_model": 64})
    other = write_experiment(tmp_path, name="other")
    with pytest.raises(FolderError, match="holds the experiment tiny"):
        run(other, out)
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_use_thunk_runtime=false")
    with pytest.raises(FolderError, match="differ in xla_flags"):
        run(path, out)
    assert (out / rows.FILE).read_bytes() == before


def test_another_value_of_a_swept_axis_joins_the_folder(tmp_path):
    path, out = write_experiment(tmp_path), tmp_path / "out"
    run(path, out)
    assert run(path, out, given={"task.seq_len": 19}).added == {"ok": 2}
    assert sorted(rows_by_cell(out)) == [11, 13, 17, 19]


def test_a_config_that_cannot_be_is_found_before_anything_runs(tmp_path):
    """F16, F30: all configs are built first."""
    path = write_experiment(tmp_path)
    path.write_text(path.read_text().replace("[11, 13, 17]", "[11, 13, 0]"))
    with pytest.raises(ConfigError, match=r"task.seq_len=0: must be at least 1 \(in the cell task.seq_len=0\)"):
        run(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_header_has_what_the_rows_rest_on_and_no_home(tmp_path, monkeypatch):
    """F29: the home directory is ~ and the environment is not listed."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PRIVATE_NOTE", "do not print me")
    path, out = write_experiment(tmp_path, "raise ValueError(__file__)"), tmp_path / "out"
    run(path, out)
    (header,) = rows.read(out).headers
    names = "experiment base studies rules data commit dirty code versions platform cpu_model threads dtype".split()
    assert set(names) < set(header) and header["dtype"] == "float32"
    text = (out / rows.FILE).read_text()
    assert str(tmp_path) not in text and "do not print me" not in text
    assert rows_by_cell(out)[13][0]["message"] == "ValueError: ~/tiny/cells.py"


@pytest.mark.alone
@pytest.mark.slow
def test_the_runner_costs_less_than_50_ms_a_measurement(tmp_path):
    path = write_experiment(tmp_path)
    experiment = load(path)
    experiment.cells.STUDIES = {"length": [{"task.seq_len": n} for n in range(1, 51)]}
    took = []

    class Stopwatch(display.View):
        def done(self, cell, row, seconds, left, eta):
            took.append(time.monotonic())

    schedule.run(experiment, plan(experiment.cells), tmp_path / "out", view=Stopwatch())
    assert len(took) == 100 and (took[-1] - took[0]) / 99 < 0.05


def test_rows_are_json_with_the_columns_of_the_contract(tmp_path):
    run(write_experiment(tmp_path), tmp_path / "out")
    header, *lines = map(json.loads, (tmp_path / "out" / rows.FILE).read_text().splitlines())
    for line in lines:
        assert list(line) == ["kind", "key", "round", "status", "header", "task.seq_len", "doubled"]
        assert line["header"] == header["id"]
    assert len({line["key"] for line in lines}) == 3


def test_a_cell_is_given_a_seed_a_folder_and_its_round(tmp_path):
    """Two rounds have seeds so different that their lanes never share one, and a folder each."""
    path = write_experiment(tmp_path)
    answer = """return {"seed": job.seeded(config).train.seed, "place": str(job.folder), "at": job.round}"""
    path.write_text(path.read_text().replace('return {"doubled": 2 * seq_len}', answer))
    out = tmp_path / "out"
    run(path, out, given={"train.seed": 7})
    assert not (out / "cells").exists()  # no cell asked for it
    found = {(r["task.seq_len"], r["round"]): r for r in rows.read(out).rows}
    assert {(r["seed"], r["at"]) for r in found.values()} == {(7, 0), (1007, 1)}
    for (_, round_), row in found.items():
        assert row["place"] == str(out.absolute() / "cells" / f"{row['key']}-{round_}")
    assert len({row["place"] for row in found.values()}) == 6


CURVE = """job.folder.mkdir(parents=True, exist_ok=True)
for step in range(len(list(job.folder.iterdir())), 4):
    (job.folder / str(step)).write_text(str(os.getpid()))
    if step == 1 and not os.path.exists("MENDED"):
        STOP
return [{"step": step, "loss": 8.0 / (step + 1)} for step in range(4)]"""


@pytest.mark.parametrize("stop", ["os.kill(os.getpid(), 9)", "raise ValueError('no')"])
def test_a_cell_that_failed_or_was_killed_goes_on_in_its_folder(tmp_path, stop):
    fault = CURVE.replace("STOP", stop).replace("MENDED", str(tmp_path / "mended"))
    path, out = write_experiment(tmp_path, fault), tmp_path / "out"
    assert run(path, out).cells["ok"] == 2
    (folder,) = (out / "cells").iterdir()
    before = {file.name: file.read_text() for file in folder.iterdir()}
    assert sorted(before) == ["0", "1"]
    (tmp_path / "mended").touch()
    assert run(path, out, retry_failed=True).cells == {"ok": 3}
    assert {name: (folder / name).read_text() for name in before} == before  # steps that were done were not repeated
    (first, *_) = [r for r in rows_by_cell(out)[13] if r["round"] == 0]
    assert [(r["part"], r["step"], r["loss"]) for r in rows_by_cell(out)[13] if r["round"] == 0] == [
        (n, n, 8.0 / (n + 1)) for n in range(4)
    ]
    assert first["status"] == "ok" and lines_in(out) == 1 + 4 + 1 + 2  # header, good cells, the failure, its two rounds


def test_a_stopped_cell_goes_on_in_its_folder_at_the_next_launch(tmp_path):
    fault = CURVE.replace("STOP", "time.sleep(600)").replace("MENDED", str(tmp_path / "mended"))
    path, out = write_experiment(tmp_path, fault), tmp_path / "out"
    stopped = start_runner(path, out)
    wait_until(lambda: list(out.glob("cells/*/1")))
    stopped.send_signal(signal.SIGTERM)
    stopped.communicate(timeout=20)
    assert stopped.returncode == 75
    (first,) = out.glob("cells/*/0")
    pid = first.read_text()
    (tmp_path / "mended").touch()
    assert run(path, out).cells == {"ok": 3}
    assert first.read_text() == pid


def test_a_worker_leaves_signals_to_its_parent(tmp_path):
    """A cell that trains listens to signals itself, and must not take one for a request to end with half a curve."""
    fault = """from transformer_jax.host.signals import stop_signals
with stop_signals() as stopping:
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.1)
    assert not stopping()
child = subprocess.Popen(["sleep", "600"])
child.terminate()
assert child.wait(10) == -signal.SIGTERM"""
    assert run(write_experiment(tmp_path, fault), tmp_path / "out").cells == {"ok": 3}


def test_a_cell_has_its_own_time_limit_and_the_options_wins(tmp_path):
    path, limits = write_experiment(tmp_path), []
    config = with_overrides(Config(), {"task.seq_len": 13})
    assert schedule._limits(load(path), None)(config) == 300.0
    path.write_text(path.read_text() + "\ndef time_limit(config): return 3.0 * config.task.seq_len\n")
    limits = [schedule._limits(load(path), timeout)(config) for timeout in (None, 5.0)]
    assert limits == [39.0, 5.0]
    number = path.with_name("number.py")
    number.write_text(path.read_text().replace("def time_limit(config): return 3.0 * config.task.seq_len", ""))
    (tmp_path / "number").mkdir()
    number = number.rename(tmp_path / "number" / "cells.py")
    number.write_text(number.read_text() + "time_limit = 60.0\n")
    for steps in (100, 300):  # half a second is added for each step of training
        assert schedule._limits(load(number), None, 2)(with_overrides(config, {"train.num_steps": steps})) == 2 * (
            60 + steps / 2
        )
    path.write_text(path.read_text().replace("pass", "time.sleep(600)").replace("3.0 * config.task.seq_len", "0.5"))
    assert run(path, tmp_path / "out").cells == {"ok": 2, "timeout": 1}
    assert rows_by_cell(tmp_path / "out")[13][0]["message"] == "no answer within 0.5 s"


def test_rows_rest_on_prepared_data(tmp_path):
    """Other data under the same name make what was measured on them stale, and only that."""
    path, digest = write_experiment(tmp_path), tmp_path / "digest"
    digest.write_text("aa")
    path.write_text(
        path.read_text()
        + f"""
def data(config):
    return {{f"set/{{config.task.seq_len}}.0": open({str(digest)!r}).read() if config.task.seq_len == 13 else "bb"}}
"""
    )
    out = tmp_path / "out"
    assert run(path, out).added == {"ok": 6}
    found = sorted(map(str, rows.read(out).headers[-1]["data"].values()))
    assert found == ["{'set/11.0': 'bb'}", "{'set/13.0': 'aa'}", "{'set/17.0': 'bb'}"]
    assert run(path, out).added == {}
    keys = {row["key"] for row in rows_by_cell(out)[13]}
    digest.write_text("cc")
    run(path, out)
    assert len({row["key"] for row in rows_by_cell(out)[13]} - keys) == 1
    digest.unlink()
    with pytest.raises(ConfigError, match="No such file"):
        run(path, out)


def test_the_rules_of_the_report_are_in_the_header_before_the_first_row(tmp_path, monkeypatch):
    rules_module = SimpleNamespace(digest=lambda rule: f"digest of {rule}")
    monkeypatch.setitem(sys.modules, "transformer_jax.report.rules", rules_module)
    path, out = write_experiment(tmp_path), tmp_path / "out"
    path.with_name("report.py").write_text(REPORT + "RULES = {'rises': 'a rule'}\n")
    run(path, out)
    assert json.loads((out / rows.FILE).read_text().splitlines()[0])["rules"] == {"rises": "digest of a rule"}
    path.with_name("report.py").write_text(REPORT + "RULES = {'rises': 'another'}\n")
    assert run(path, out).added == {}  # nothing was measured by a rule
    assert [h["rules"]["rises"] for h in rows.read(out).headers] == ["digest of a rule", "digest of another"]


def test_a_report_that_cannot_be_loaded_is_found_before_anything_runs(tmp_path):
    path, out = write_experiment(tmp_path), tmp_path / "out"
    path.with_name("report.py").write_text("import no_such_module\n")
    with pytest.raises(ConfigError, match="tiny/report.py, line 1: ModuleNotFoundError: No module named"):
        run(path, out)
    assert not out.exists()


def test_a_cell_that_trains_shows_its_steps_while_it_does(tmp_path, monkeypatch):
    class Seen(display.View):
        def training(self, cell, stage):
            steps.append((cell.config.task.seq_len, stage.step))

    steps = []
    monkeypatch.setattr(training, "SECONDS", 0.05)
    log = """job.folder.mkdir(parents=True)
(job.folder / "config.json").write_text('{"train.num_steps": 9, "train.lanes": 1}')
(job.folder / "metrics.jsonl").write_text('{"step": 7}\\n')
time.sleep(1.5)"""
    run(write_experiment(tmp_path, log), tmp_path / "out", {"measure.rounds": 1}, view=Seen())
    assert steps == [(13, 7)]
