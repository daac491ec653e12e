"""Several workers at once: the rows of one, faults that stay with their cell, and no worker that outlives the run."""

import errno
import signal
from collections import Counter
from types import SimpleNamespace

import pytest

from tests.lab.test_schedule import (
    CURVE,
    is_alive,
    lines_in,
    load,
    rows_by_cell,
    run,
    sorted_lines,
    start_runner,
    wait_until,
    write_experiment,
)
from transformer_jax.lab import closure, crew, display, equal_seconds, plan, rows, schedule, supervisor

# Each of the three cells leaves its process in PIDS and waits until MANY have.
MEETING = """open(PIDS, "a").write(f"{os.getpid()} {seq_len}\\n")
while len(open(PIDS).readlines()) < MANY: time.sleep(0.01)"""


def meeting(folder, many: int, then: str = "pass", where: str = "True"):
    """An experiment of three cells that wait for each other, and do something then where seq_len is as asked."""
    text = MEETING.replace("PIDS", repr(str(folder / "pids"))).replace("MANY", str(many))
    path = write_experiment(folder, f"{text}\nif {where}:\n    {then}")
    path.write_text(path.read_text().replace("if seq_len == 13:", "if True:", 1).replace("rounds=2", "rounds=1"))
    return path


def pids(folder) -> dict[int, int]:
    """By sequence length the process of its last call."""
    return {int(n): int(pid) for pid, n in map(str.split, (folder / "pids").read_text().splitlines())}


def test_as_many_cells_as_workers_run_at_once(tmp_path):
    path = meeting(tmp_path, 3)
    assert run(path, tmp_path / "out", workers=3, timeout=60).cells == {"ok": 3}
    assert len(set(pids(tmp_path).values())) == 3 and not any(map(is_alive, pids(tmp_path).values()))


def test_a_cell_that_times_runs_after_those_that_run_at_once_and_alone(tmp_path):
    ended = tmp_path / "ended"
    ends = f"time.sleep(0.3 * (seq_len != 11)); open({str(ended)!r}, 'a').write('.')"
    path = meeting(tmp_path, 2, f"if seq_len == 11: assert open({str(ended)!r}).read() == '..'\n    {ends}")
    path.write_text(path.read_text().replace("SIDE_BY_SIDE = True", "def SIDE_BY_SIDE(config):\n"
                                             "    return config.task.seq_len != 11"))  # fmt: skip
    assert run(path, tmp_path / "out", workers=3, timeout=60).cells == {"ok": 3}
    assert len({pids(tmp_path)[13], pids(tmp_path)[17]}) == 2


def test_rows_and_files_are_those_of_one_worker(tmp_path):
    path = write_experiment(tmp_path, "raise ValueError('always')")
    one, two = (run(path, tmp_path / str(n), workers=n) for n in (1, 2))
    assert one == two and one.added == {"ok": 4, "failed": 1}
    assert sorted_lines(tmp_path / "1") == sorted_lines(tmp_path / "2")


def test_a_training_is_the_same_bit_for_bit_beside_another(tmp_path):
    given = {"train.num_steps": 6, "train.warmup_steps": 1, "train.eval_every": 3, "train.checkpoint_every": 3,
             "model.num_layers": 1, "train.lanes": 2}  # fmt: skip
    experiment = plan.load("ablations")
    cells = plan.plan(experiment.cells, given, {"model.position": ["none", "rotary"]})
    assert len(cells) == 2
    for n in (1, 2):
        summary = schedule.run(experiment, cells, tmp_path / str(n), given=given, workers=n)
        assert summary.cells == {"ok": 2}
    results = [rows.current(rows.read(tmp_path / str(n))).rows for n in (1, 2)]
    found = [[{k: v for k, v in row.items() if k != "header"} for row in of_run] for of_run in results]
    assert found[0] == found[1] and {row["step"] for row in found[0]} == {6}


def test_a_worker_that_is_killed_costs_its_cell_alone(tmp_path):
    path = meeting(tmp_path, 3, "os.kill(os.getpid(), 9)", "seq_len == 13")
    assert run(path, tmp_path / "out", workers=3, timeout=60).cells == {"ok": 2, "killed": 1}
    assert rows_by_cell(tmp_path / "out")[13][0]["message"] == "the worker was killed by SIGKILL"


@pytest.mark.parametrize("enough_alone", [True, False])
def test_what_has_too_little_memory_beside_others_is_tried_once_more_without_them(tmp_path, enough_alone):
    tries = tmp_path / "tries"
    fault = f"open({str(tries)!r}, 'a').write(f'{{os.getpid()}}\\n')\n    "
    fault += f"if not {enough_alone} or len(open({str(tries)!r}).readlines()) < 2: raise MemoryError"
    path = meeting(tmp_path, 3, fault, "seq_len == 13")
    summary = run(path, tmp_path / "out", workers=3, timeout=60)
    assert summary.cells == ({"ok": 3} if enough_alone else {"ok": 2, "oom": 1})
    assert summary.added.total() == 3 and len(tries.read_text().split()) == 2


def test_the_others_are_gone_when_a_cell_is_tried_alone(tmp_path):
    with crew.Crew(write_experiment(tmp_path).parent, 3) as workers:
        cells = plan.plan(load(tmp_path / "tiny" / "cells.py").cells)
        job = SimpleNamespace(seed=0, folder=tmp_path, round=0)

        def call(worker, cell) -> bool:
            assert worker.run(cell.config, 60, job)["status"] == "ok"
            return cell.config.task.seq_len == 11

        assert [cell.config.task.seq_len for cell in workers.share(cells[:1], call)] == []
        refused = workers.share(cells, call)
        assert sorted(cell.config.task.seq_len for cell in refused) == [13, 17]
        assert [worker.pid for worker in workers.workers[1:]] == [None, None]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 75), (signal.SIGTERM, 75), (signal.SIGKILL, -9)])
def test_a_run_that_is_ended_leaves_no_worker_loses_no_row_and_goes_on(tmp_path, number, code):
    """Two cells are in the middle of a curve as it ends, one had its row."""
    stop = f"open({str(tmp_path / 'pids')!r}, 'a').write(f'{{os.getpid()}} {{seq_len}}\\n'); time.sleep(600)"
    fault = CURVE.replace("STOP", stop).replace("MENDED", str(tmp_path / "mended"))
    path, out = write_experiment(tmp_path, fault), tmp_path / "out"
    path.write_text(path.read_text().replace("seq_len == 13", "seq_len != 11").replace("rounds=2", "rounds=1"))
    started = start_runner(path, out, workers=3)
    wait_until(lambda: (tmp_path / "pids").exists() and len(pids(tmp_path)) == 2 and lines_in(out) == 2)
    started.send_signal(number)
    _, text = started.communicate(timeout=20)
    assert started.returncode == code and "Traceback" not in text
    wait_until(lambda: not any(map(is_alive, pids(tmp_path).values())))
    assert list(rows_by_cell(out)) == [11]
    before = {file: file.read_text() for file in out.glob("cells/*/*")}
    assert len(before) == 4
    (tmp_path / "mended").touch()
    assert run(path, out, workers=2).added == {"ok": 2}
    assert {file: file.read_text() for file in before} == before and set(rows_by_cell(out)) == {11, 13, 17}


def test_a_row_that_cannot_be_written_ends_the_other_cells_too(tmp_path, monkeypatch):
    path = meeting(tmp_path, 2, "time.sleep(600)", "seq_len != 11")
    append = rows.append

    def full(file, entry):
        if entry["kind"] == "row":
            raise OSError(errno.ENOSPC, "No space left on device")
        append(file, entry)

    monkeypatch.setattr(rows, "append", full)
    with pytest.raises(OSError, match="No space left"):
        run(path, tmp_path / "out", workers=3)
    assert not any(map(is_alive, pids(tmp_path).values()))


def test_a_worker_with_other_code_than_the_first_ends_the_run(tmp_path):
    path = write_experiment(tmp_path)
    with crew.Crew(path.parent, 2) as workers:
        workers.start()
        path.write_text(path.read_text() + "edited = True\n")
        with pytest.raises(supervisor.WorkerError, match="code changed while cells were run"):
            workers.workers[1].start()


def test_a_time_limit_is_stretched_by_the_workers_and_an_option_is_not(tmp_path):
    path = write_experiment(tmp_path)
    path.write_text(path.read_text() + "\ndef time_limit(config): return 7.0\n")
    limits = [schedule._limits(load(path), timeout, 3)(None) for timeout in (None, 5.0)]
    assert limits == [21.0, 5.0]


def test_each_cell_is_shown_and_the_time_left_is_shared(tmp_path):
    class Seen(display.View):
        def done(self, cell, row, seconds, left, eta):
            super().done(cell, row, seconds, left, eta)
            seen.append((left, seconds, eta))

    seen = []
    run(meeting(tmp_path, 2, "time.sleep(0.2)"), tmp_path / "out", workers=2, view=Seen(), timeout=60)
    assert [left for left, *_ in seen] == [2, 1, 0]
    assert seen[0][2] == pytest.approx(seen[0][1])  # two are left, and two run at once
    assert seen[1][2] == pytest.approx((seen[0][1] + seen[1][1]) / 2)


TIMED = {"transformer_jax.measure.timing", "transformer_jax.measure.longest", "transformer_jax.measure.one_step"}


@pytest.mark.parametrize("name", plan.names())
def test_cells_run_at_once_where_no_clock_is_in_their_reach(name):
    experiment = plan.load(name)
    cells, planned = experiment.cells, plan.plan(experiment.cells)
    reached = set(closure.closure(experiment.folder / "cells.py"))
    assert (crew.why_alone(cells, planned, "cpu") is None) == (not reached & TIMED)
    assert "time" not in vars(cells)
    assert crew.why_alone(cells, planned, "gpu")
    beside = getattr(cells, "SIDE_BY_SIDE", False)
    assert (equal_seconds.__name__ in reached) == (getattr(beside, "__module__", "") == equal_seconds.__name__)


@pytest.mark.parametrize("name", ["recall", "long_range"])
def test_cells_that_count_in_seconds_run_alone_and_those_beside_them_at_once(name):
    cells, full = plan.load(name).cells, plan.load(name, size="full").studies
    planned = plan.plan(cells, studies=full)
    assert crew.why_alone(cells, planned, "cpu") is None and crew.why_alone(cells, planned, "gpu")
    timed = [cell for cell in planned if not crew.beside(cells, cell)]
    assert timed and {cell.studies for cell in timed} == {("seconds",)}
    assert crew.why_alone(cells, timed, "cpu")
    assert crew.why_alone(cells, plan.plan(cells, {"measure.matching": "seconds"}), "cpu")
    assert crew.why_alone(cells, plan.plan(cells, wanted={"matching": ["flops"]}, studies=full), "cpu") is None


def test_most_experiments_that_train_may():
    planned = {name: plan.load(name).cells for name in plan.names()}
    may = Counter(crew.why_alone(cells, plan.plan(cells), "cpu") is None for cells in planned.values())
    assert may[True] >= 7 and may[False] >= 5
