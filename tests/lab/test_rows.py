"""Rows on disk: whole lines from many writers, torn ends, the lock, what must not be written or mixed."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer_jax import rows

ROOT = Path(__file__).parent.parent


def header(name="h", **changes):
    facts = dict.fromkeys(rows.COMPARED, "same")
    versions = {"jax": "1", "jaxlib": "1"}
    base = {"task.seq_len": 8, "measure.rounds": 5}
    made = {
        "kind": "header",
        "id": name,
        "base": base,
        "versions": versions,
        "code": "c",
        "accept_stale": False,
    }
    return made | facts | changes


def row(key="k", round_=0, head="h", **columns):
    return {"kind": "row", "key": key, "round": round_, "status": "ok", "header": head} | columns


def write(folder, *entries):
    for entry in entries:
        rows.append(folder / rows.FILE, entry)


def test_rows_come_back_filled_with_the_base(tmp_path):
    write(tmp_path, header(), row(tokens=3), row(round_=1, **{"task.seq_len": 16}))
    read = rows.read(tmp_path)
    assert [(r["task.seq_len"], r.get("tokens")) for r in read.rows] == [(8, 3), (16, None)]
    assert read.headers == [header()] and read.notes == []


def test_a_retried_row_replaces_the_first_try(tmp_path):
    write(tmp_path, header(), row(status="failed"), row(round_=1), row(tokens=1))
    assert [(r["round"], r["status"]) for r in rows.read(tmp_path).rows] == [(0, "ok"), (1, "ok")]


WRITER = """if True:
    import sys
    from pathlib import Path
    from transformer_jax import rows
    for number in range(500):
        entry = {"kind": "row", "key": sys.argv[2], "round": number, "text": "x" * (number % 200)}
        rows.append(Path(sys.argv[1]), entry)
"""


def test_eight_writers_lose_duplicate_and_tear_nothing(tmp_path):
    write(tmp_path, header())
    command = [sys.executable, "-c", WRITER, tmp_path / rows.FILE]
    writers = [subprocess.Popen([*command, str(n)], cwd=ROOT) for n in range(8)]
    assert [writer.wait() for writer in writers] == [0] * 8
    lines = (tmp_path / rows.FILE).read_text().splitlines()
    seen = {(r["key"], r["round"]) for r in map(json.loads, lines[1:])}
    assert len(lines) == 1 + 8 * 500
    assert seen == {(str(w), n) for w in range(8) for n in range(500)}


@pytest.mark.parametrize("cut", [1, 30, 60])
def test_a_torn_last_line_is_dropped_with_a_note_and_cut_off_by_the_next_append(tmp_path, cut):
    write(tmp_path, header(), row(), row(round_=1))
    path = tmp_path / rows.FILE
    path.write_bytes(path.read_bytes()[:-cut])
    read = rows.read(tmp_path)
    assert [r["round"] for r in read.rows] == [0]
    assert read.notes == ["rows.jsonl line 3: torn or damaged, dropped; a re-run measures again what it held"]
    write(tmp_path, row(round_=1))
    assert [json.loads(line)["round"] for line in path.read_text().splitlines()[1:]] == [0, 1]


def test_a_damaged_line_in_the_middle_costs_that_line_alone(tmp_path):
    write(tmp_path, header(), row(), row(round_=1))
    path = tmp_path / rows.FILE
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"\x00\xff" + lines[1][2:] + b"[1]\n" + lines[2])
    read = rows.read(tmp_path)
    assert [r["round"] for r in read.rows] == [1] and "line 2 and 1 more" in read.notes[0]


@given(st.binary(max_size=200))
def test_reading_never_fails_on_content(tmp_path_factory, junk):
    folder = tmp_path_factory.mktemp("junk")
    (folder / rows.FILE).write_bytes(junk)
    assert rows.read(folder).rows == []


def test_a_full_disk_leaves_whole_lines(tmp_path):
    """The limit on a file's size stands in for the disk: the last write is cut short in the same way."""
    code = """if True:
        import resource, sys
        from pathlib import Path
        from transformer_jax import rows
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            for n in range(100):
                rows.append(Path(sys.argv[1]), {"kind": "row", "round": n})
        except OSError as error:
            print(n, error.strerror)
    """
    path = tmp_path / rows.FILE
    ran = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, cwd=ROOT, check=True)
    count = int(ran.stdout.split()[0])
    assert 0 < count < 100
    assert [json.loads(line)["round"] for line in path.read_text().splitlines()] == list(range(count))
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000


def test_nan_is_not_written(tmp_path):
    with pytest.raises(ValueError):
        rows.append(tmp_path / rows.FILE, {"x": float("nan")})
    assert not (tmp_path / rows.FILE).exists()


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(rows.FolderError, match="holds no results"):
        rows.read(tmp_path)


def test_a_second_runner_is_refused_and_a_dead_one_is_not_waited_for(tmp_path):
    code = """if True:
        import sys, time
        from pathlib import Path
        from transformer_jax import rows
        with rows.locked(Path(sys.argv[1])):
            print("locked", flush=True)
            time.sleep(60)
    """
    other = subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, cwd=ROOT)
    try:
        other.stdout.readline()
        with pytest.raises(rows.FolderError, match=f"in use by process {other.pid}"):
            with rows.locked(tmp_path):
                pass
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    with rows.locked(tmp_path):
        assert (tmp_path / ".lock").read_text() == str(os.getpid())


def test_a_folder_that_cannot_be_written_is_refused_before_any_work(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(rows.FolderError, match="cannot be written: Not a directory"):
        with rows.locked(tmp_path / "file" / "below"):
            pass
    monkeypatch.setattr(os, "access", lambda *_: False)  # the tests may run as root, who may write anything
    write(tmp_path, header())
    with pytest.raises(rows.FolderError, match="rows.jsonl cannot be written: it is read-only"):
        with rows.locked(tmp_path):
            pass


def test_a_full_disk_is_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(rows.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 5 * 2**20}))
    with pytest.raises(rows.FolderError, match="a disk with 5 MB left; at least 32 MB are needed"):
        with rows.locked(tmp_path):
            pass


def test_home_and_secrets_are_not_written(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    monkeypatch.setenv("SHORT_TOKEN", "no")
    write(tmp_path, header(), row(message="no 0123456789abcdef in /home/somebody/x, /home/somebody2 or ~"))
    text = (tmp_path / rows.FILE).read_text()
    assert "no *** in ~/x, /home/somebody2 or ~" in text
    assert "0123456789abcdef" not in text


@pytest.mark.parametrize("what", rows.COMPARED)
def test_rows_of_another_device_threads_or_precision_are_not_compared(tmp_path, what):
    write(tmp_path, header("one"), row(head="one"), header("two", **{what: "other"}), row("k2", 1, "two"))
    with pytest.raises(rows.FolderError, match=rf"differ in {what} \(same and other\) cannot be compared"):
        rows.current(rows.read(tmp_path))


def test_rows_of_other_code_or_jax_are_left_out_with_a_note(tmp_path):
    new_jax = {"jax": "2", "jaxlib": "1"}
    write(
        tmp_path,
        header("code", code="old"),
        row("k1", 0, "code", tokens=1),
        header("jax", versions=new_jax),
        row("k2", 0, "jax", tokens=2),
        header("now"),
        row("k3", 1, "now", tokens=3),
    )
    kept = rows.current(rows.read(tmp_path))
    assert [r["tokens"] for r in kept.rows] == [3]
    assert kept.notes == [
        "2 rows of other code or another jax were left out (--accept-stale takes those of other code)"
    ]
    write(tmp_path, header("accepting", accept_stale=True))
    assert [r["tokens"] for r in rows.current(rows.read(tmp_path)).rows] == [1, 3]


def test_one_row_for_a_cell_and_round_though_two_versions_of_the_code_measured_it(tmp_path):
    write(tmp_path, header("a", code="old"), row("k1", 0, "a", tokens=1))
    write(tmp_path, header("b", accept_stale=True), row("k2", 0, "b", tokens=2))
    assert [r["tokens"] for r in rows.current(rows.read(tmp_path)).rows] == [2]


def test_many_damaged_lines_are_one_note_and_a_folder_is_no_file(tmp_path):
    write(tmp_path, header("h"), row(head="h"))
    with (tmp_path / rows.FILE).open("a") as file:
        file.write("not ours\n" * 500)
    (note,) = rows.read(tmp_path).notes
    assert "line 3 and 499 more" in note
    (tmp_path / rows.FILE).unlink()
    (tmp_path / rows.FILE).mkdir()
    with pytest.raises(rows.FolderError, match="is a folder"):
        rows.read(tmp_path)
