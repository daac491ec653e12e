"""Folders of results: one writer at a time, and files that are replaced whole or not at all."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

MIN_FREE_BYTES = 32 * 2**20
RESULTS, TRAINING = "an experiment's results", "a training run"
_OURS = {".lock", "rows.jsonl", "config.json"}  # one of them is in every folder of results


class FolderError(Exception):
    """A folder that cannot be used for this run: the message says why and what to do."""


def write_whole(path: Path, content: bytes | str) -> Path:
    """Writes a file aside and renames it: an interruption leaves the old file or the new one, never half of one.

    Raises:
      OSError: it cannot be written; the old file is intact.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_bytes(content.encode() if isinstance(content, str) else content)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    return path


def require_writable(path: Path, option: str, made: bool = False) -> None:
    """Checks that a file can be written, or replaced, before the work whose result it will hold.

    Args:
      option: what named the file, for the message.
      made: its folder is made where it is not there.

    Raises:
      FolderError: it is a folder, or below a file, or its folder is not there or takes no new file.
    """
    if path.is_dir():
        raise FolderError(f"{option} {path} is a folder: name a file in it")
    if file := _file_at(path.parent):
        raise FolderError(f"{option} {path}: {file} is a file, not a folder")
    place = next(one for one in path.parents if one.exists()) if made else path.parent
    if not made and not place.is_dir():
        raise FolderError(f"{option} {path}: there is no folder {place}")
    try:
        with tempfile.TemporaryFile(dir=place):  # permissions tell nothing of a read-only disk, or to a superuser
            pass
    except OSError as error:
        raise FolderError(f"{option} {path} cannot be written: {error.strerror}") from None


def require_free(folder: Path) -> None:
    """Checks, before the work whose results it will hold, that a folder is ours, empty or not there; writes nothing.

    Raises:
      FolderError: it is a file or below one, or holds something else.
    """
    if file := _file_at(folder):
        raise FolderError(f"{file} is a file: choose another --out")
    try:
        inside = set(os.listdir(folder))
    except FileNotFoundError:
        return
    except OSError as error:
        raise FolderError(f"{folder} cannot be written: {error.strerror}") from None
    if inside and not inside & _OURS:
        what = TRAINING if "checkpoints" in inside else f"something else ({min(inside)})"
        raise FolderError(f"{folder} holds {what}: choose another --out")


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Makes the folder and keeps every other runner out of it until this process ends, however it ends.

    A folder that was made here goes again where an error ends it before anything was written.

    Raises:
      FolderError: another runner is at work there, or it holds something else, or it cannot be written, or the disk
        is full.
    """
    require_free(folder)
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        inside = set(os.listdir(folder))
        free = shutil.disk_usage(folder).free
        if free < MIN_FREE_BYTES:
            raise FolderError(f"{folder} is on a disk with {free / 2**20:.0f} MB left; at least 32 MB are needed")
        file = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise FolderError(f"{folder} cannot be written: {error.strerror}") from None
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(file, 32).decode() or "unknown"
            raise FolderError(f"{folder} is in use by process {holder}: wait, or choose another --out") from None
        os.ftruncate(file, 0)
        os.pwrite(file, str(os.getpid()).encode(), 0)
        for name in _OURS & inside:
            if not os.access(folder / name, os.W_OK):
                raise FolderError(f"{folder / name} cannot be written: it is read-only")
        yield
        made = []
    finally:
        if made and os.listdir(folder) == [".lock"]:
            (folder / ".lock").unlink()
            with contextlib.suppress(OSError):  # another run has come to a folder above
                for one in made:
                    one.rmdir()
        os.close(file)


def contents(folder: Path) -> str | None:
    """What a folder holds: RESULTS, TRAINING, or None of these.

    Raises:
      FolderError: it is a file or below one, or is not there.
    """
    if file := _file_at(folder):
        raise FolderError(f"{file} is a file, not a folder")
    if not folder.is_dir():
        raise FolderError(f"there is no folder {folder}")
    if (folder / "rows.jsonl").exists():
        return RESULTS
    return TRAINING if (folder / "config.json").exists() or (folder / "checkpoints").exists() else None


def _file_at(folder: Path) -> Path | None:
    """The file that stands where a folder or one above it should, if there is one."""
    return next((place for place in (folder, *folder.parents) if place.is_file()), None)
