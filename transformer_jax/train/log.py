"""The run folder: config.json, the task's files, metrics.jsonl, TensorBoard events and launches.jsonl.

metrics.jsonl holds nothing that differs between two runs of one config: no clock, no speed. What differs is
in launches.jsonl, one object for the start and one for the end of every launch.
"""

import hashlib
import json
import math
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from transformer_jax.config import Config, ConfigError, flatten, with_overrides
from transformer_jax.config.continual import of_kind
from transformer_jax.host.folders import RESULTS, contents, write_whole
from transformer_jax.tasks import place
from transformer_jax.train.checkpoint import EARLIER

# What may differ between two launches of one run: where the data lie, and what only experiments read.
FREE = ("task.data_dir", "measure.")
LENGTH = "train.num_steps"  # may grow: the run is extended

Send = Callable[[dict[str, float], int], None]
"""(numbers by name, step): where a run's numbers go besides its folder."""


class Log:
    """Writes the metrics of a run, in a form for programs and in one for TensorBoard."""

    def __init__(self, folder: Path, step: int, send: Send | None = None):
        """Goes on after the checkpoint of `step`: later rows and events are removed, for they will be written again.

        `send` is given the same numbers under the names that they have in TensorBoard, and no events.
        """
        self._folder, self._path = folder, folder / "metrics.jsonl"
        self._tensorboard, self._purge_step, self._send = None, step, send
        rows = read_metrics(self._path)
        measured = [place for place, row in enumerate(rows, 1) if "event" not in row and row["step"] <= step]
        self._replace(rows[: max(measured, default=0)])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._tensorboard is not None:
            self._tensorboard.close()

    def rewind(self, step: int) -> None:
        """Removes what was measured after `step`; events stay, for they are why the run is back there."""
        self._replace([row for row in read_metrics(self._path) if "event" in row or row["step"] <= step])

    def _replace(self, rows: list[dict]) -> None:
        write_whole(self._path, "".join(json.dumps(row) + "\n" for row in rows))

    def write(self, split: str, step: int, lanes: list[dict[str, float]]) -> None:
        """One row for each lane; a number that is not finite becomes null."""
        with open(self._path, "a") as file:
            for lane, metrics in enumerate(lanes):
                values = {k: v if math.isfinite(v) else None for k, v in metrics.items()}
                file.write(json.dumps({"step": step, "split": split, "lane": lane} | values) + "\n")
        numbers = {}
        for lane, metrics in enumerate(lanes):
            suffix = f"/lane_{lane}" if len(lanes) > 1 else ""
            numbers |= {f"{split}/{name}{suffix}": value for name, value in metrics.items()}
        for name, value in numbers.items():
            self._events().add_scalar(name, value, step)
        if self._send is not None:
            self._send(numbers, step)

    def event(self, step: int, what: str, **details) -> None:
        """A row that is no measurement: "nan" or "rollback"."""
        with open(self._path, "a") as file:
            file.write(json.dumps({"step": step, "event": what} | details) + "\n")

    def _events(self):
        if self._tensorboard is None:
            self._tensorboard = _summary_writer()(str(self._folder), purge_step=self._purge_step)
        return self._tensorboard


def _summary_writer():
    """tensorboardX's class, imported as if PyTorch were absent: it needs none, but takes three seconds to load it."""
    hidden = "torch" not in sys.modules
    if hidden:
        sys.modules["torch"] = None
    try:
        from tensorboardX import SummaryWriter
    finally:
        if hidden:
            del sys.modules["torch"]
    return SummaryWriter


def read_launches(folder: Path) -> list[dict]:
    """The rows of a run's launches.jsonl: starts, ends and extensions, oldest first."""
    path = folder / "launches.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def step_seconds(folder: Path) -> float | None:
    """Mean wall time of a training step, without compiling and evaluating, in the last launch that ended; None: not
    known."""
    found = [row["step_seconds"] for row in read_launches(folder) if row.get("step_seconds") is not None]
    return found[-1] if found else None


def read_metrics(path: Path) -> list[dict]:
    """The rows of a metrics.jsonl, without a last one that a killed process left torn.

    Raises:
      OSError: another line is damaged.
    """
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]  # what does not end in a newline is torn
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            whole = isinstance(row["step"], int)
        except (ValueError, KeyError, TypeError):
            whole = False
        if not whole:
            raise OSError(f"{path} line {number} is damaged: restore the file, or remove the line")
        rows.append(row)
    return rows


def claim(folder: Path, config: Config) -> None:
    """Makes the folder this config's, or finds that it is. More `train.num_steps` extend the run that it holds.

    Raises:
      ConfigError: it belongs to another config; every difference is named.
      OSError: it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.json"
    if path.exists():
        found = read_config(folder)
        before, now = flatten(found), flatten(config)
        longer = found.train.num_steps < config.train.num_steps
        free = (*FREE, LENGTH) if longer else FREE
        differences = [
            f"{key} {before.get(key)} there, {now[key]} here"
            for key in now
            if not key.startswith(free) and before.get(key) != now[key]
        ]
        if differences:
            instead = "choose another --out, or repeat the command that began it"
            if _ended_by_nan(folder):  # which would end so again
                instead = "it ended by a number that is not finite; choose another --out, or remove that folder"
            raise ConfigError(f"{folder} holds a run of another config ({'; '.join(differences)}): {instead}")
        if not longer:
            return
        every = found.train.checkpoint_every
        if found.train.nan_policy == "rollback" and found.train.num_steps % every:
            raise ConfigError(
                f"train.nan_policy=rollback goes back to steps that train.checkpoint_every={every} divides,"
                f" and the run in {folder} ends at {found.train.num_steps}: it cannot be extended"
            )
        flat = json.loads(path.read_text()) | {LENGTH: config.train.num_steps}
    else:
        flat = flatten(config)
    write_whole(path, json.dumps(flat, indent=1) + "\n")


def _ended_by_nan(folder: Path) -> bool:
    """Whether the last launch of a run, or of one of a stream's, ended so."""
    launches = [read_launches(one) for one in (folder, *folder.glob("task_*"))]
    return any(rows and rows[-1].get("status") == "nan" for rows in launches)


def read_config(folder: Path) -> Config:
    """The config of a run, without axes of an experiment's own.

    Raises:
      ConfigError: the folder holds no run, or one of an earlier version of this code, or the file is damaged.
    """
    path = folder / "config.json"
    try:
        found = json.loads(path.read_text())
        found.keys()
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(f"{folder} holds no run: {_instead(folder)}") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, AttributeError) as error:
        raise ConfigError(f"{path} is not the JSON of a config: {error}") from None
    base = of_kind(found)
    known = flatten(base)
    # an experiment's own axes say what it measures; what was trained is known without them
    found = {key: value for key, value in found.items() if key in known or not key.startswith("measure.")}
    if unknown := [key for key in found if key not in known]:
        raise ConfigError(f"{folder} {EARLIER} (its config.json has {', '.join(unknown)}, which are no keys now)")
    return with_overrides(base, found)


def check_data(folder: Path, sets_folder: Path) -> None:
    """Checks that the set which a run began with still is what it was, where it is in the folder of prepared sets.

    Raises:
      ConfigError: it was prepared anew from other files.
    """
    began = next((row["data"] for row in read_launches(folder) if row["kind"] == "start" and row.get("data")), {})
    if differ := place.changed(began, sets_folder):
        raise ConfigError(
            f"{folder} was trained on another {' and '.join(differ)} than {began['source'].partition('/')[0]} in"
            f" {sets_folder} is made from now: what was trained on may be in its validation or test part; bring back"
            " the file and prepare it anew, or train anew in another --out"
        )


def check_files(folder: Path, files: Mapping[str, bytes], trained: Mapping[str, str] | None = None) -> None:
    """Checks what a task makes for a run against the files that the run keeps, and against what it was trained with.

    Args:
      files: `Task.files`. One that the folder does not hold is fine: a launch that was killed early has kept none.
      trained: `digests` of those with which a checkpoint was trained; None: it is not known.

    Raises:
      ConfigError: a file differs.
    """
    kept = {name: (folder / name).read_bytes() for name in files if (folder / name).exists()}
    differ = [name for name in kept if kept[name] != files[name]]
    if not differ and trained is not None:
        now = digests(files)
        differ = sorted(name for name in {*now, *trained} if now.get(name) != trained.get(name))
    if differ:
        raise ConfigError(
            f"{folder} was trained with another {' and '.join(differ)} than its task now makes, without which its"
            " parameters mean nothing: the data have changed, or the version of a library, or the file in the folder"
            " was edited; bring back what was there, or train anew in another --out"
        )


def keep_files(folder: Path, files: Mapping[str, bytes], trained: Mapping[str, str] | None = None) -> None:
    """Writes what the folder does not hold yet, and raises ConfigError as `check_files`."""
    check_files(folder, files, trained)
    for name, content in files.items():
        if not (folder / name).exists():
            write_whole(folder / name, content)


def digests(files: Mapping[str, bytes]) -> dict[str, str]:
    """The SHA-256 of each file."""
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def _instead(folder: Path) -> str:
    """What a folder without a config.json is, and which command takes it or which folder was meant."""
    if not folder.is_dir():
        return "it is a file" if folder.exists() else "there is no such folder"
    if contents(folder) == RESULTS:
        trained = f"; its trainings are the folders in {folder / 'cells'}" if (folder / "cells").is_dir() else ""
        return f"it holds {RESULTS}, which `python run.py report {folder}` draws{trained}"
    near = [folder.absolute().parent, *sorted(path for path in folder.iterdir() if path.is_dir())]
    runs = [str(path) for path in near if (path / "config.json").exists()]
    if not runs and any(folder.glob("*/rows.jsonl")):
        return f"it holds folders of {RESULTS}, which `python run.py report` draws one by one"
    return "it has no config.json" + (f"; did you mean {' or '.join(runs[:3])}?" if runs else "")


def record(folder: Path, kind: str, **facts) -> None:
    """Adds one line to launches.jsonl."""
    with open(folder / "launches.jsonl", "a") as file:
        file.write(json.dumps({"kind": kind, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z")} | facts) + "\n")
