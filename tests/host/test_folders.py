"""Folders of results: one writer at a time, whole files, and what is refused before any work."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from transformer_jax.host import folders
from transformer_jax.host.folders import FolderError

ROOT = Path(__file__).parents[2]


def test_a_second_runner_is_refused_and_a_dead_one_is_not_waited_for(tmp_path):
    code = """if True:
        import sys, time
        from pathlib import Path
        from transformer_jax.host import folders
        with folders.locked(Path(sys.argv[1])):
            print("locked", flush=True)
            time.sleep(60)
    """
    other = subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, cwd=ROOT)
    try:
        other.stdout.readline()
        with pytest.raises(FolderError, match=f"in use by process {other.pid}"):
            with folders.locked(tmp_path):
                pass
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    with folders.locked(tmp_path):
        assert (tmp_path / ".lock").read_text() == str(os.getpid())


def test_a_folder_that_cannot_be_written_is_refused_before_any_work(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for below in ("file", "file/below", "file/a/b"):
        with pytest.raises(FolderError, match=f"^{tmp_path}/file is a file: choose another --out$"):
            with folders.locked(tmp_path / below):
                pass
        with pytest.raises(FolderError, match=f"^{tmp_path}/file is a file, not a folder$"):
            folders.contents(tmp_path / below)
    monkeypatch.setattr(os, "access", lambda *_: False)  # the tests may run as root, who may write anything
    (tmp_path / "rows.jsonl").write_text("{}\n")
    with pytest.raises(FolderError, match="rows.jsonl cannot be written: it is read-only"):
        with folders.locked(tmp_path):
            pass


def test_a_file_that_cannot_be_written_is_refused_before_the_work(tmp_path):
    (tmp_path / "file").write_text("before")
    folders.require_writable(tmp_path / "file", "--csv")
    folders.require_writable(tmp_path / "a" / "b" / "file", "--out", made=True)
    assert [path.name for path in tmp_path.iterdir()] == ["file"] and (tmp_path / "file").read_text() == "before"
    for path, made, message in (
        (tmp_path, False, "--csv .* is a folder: name a file in it"),
        (tmp_path / "a" / "file", False, "--csv .*: there is no folder .*/a$"),
        (tmp_path / "file" / "x", True, "--csv .*/file/x: .*/file is a file, not a folder$"),
        (tmp_path / "file" / "a" / "x", True, "--csv .*/file/a/x: .*/file is a file, not a folder$"),
        (tmp_path / "file" / "x", False, "--csv .*/file/x: .*/file is a file, not a folder$"),
        (Path("/proc/x.csv"), False, "--csv /proc/x.csv cannot be written: "),
    ):
        with pytest.raises(FolderError, match=message):
            folders.require_writable(path, "--csv", made)


def test_a_folder_that_an_error_left_empty_goes_again_and_no_other(tmp_path):
    (tmp_path / "there").mkdir()
    for folder, written in [("new/below", False), ("there", False), ("kept", True)]:
        with pytest.raises(KeyError):
            with folders.locked(tmp_path / folder):
                if written:
                    (tmp_path / folder / "rows.jsonl").write_text("{}\n")
                raise KeyError
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "there"]
    with folders.locked(tmp_path / "new"):
        pass
    assert (tmp_path / "new" / ".lock").exists()


def test_a_full_disk_is_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(folders.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 5 * 2**20}))
    with pytest.raises(FolderError, match="a disk with 5 MB left; at least 32 MB are needed"):
        with folders.locked(tmp_path):
            pass


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    assert folders.write_whole(path, "old") == path
    folders.write_whole(path, b"new")
    assert path.read_bytes() == b"new" and os.listdir(tmp_path) == ["report.html"]

    def full(self, content):
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        folders.write_whole(path, "newer")
    assert path.read_bytes() == b"new" and os.listdir(tmp_path) == ["report.html"]
