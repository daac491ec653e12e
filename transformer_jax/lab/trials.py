"""Several training runs beside each other: which folders hold one, whether they can be compared, their metrics."""

import csv
import difflib
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from transformer_jax import intervals
from transformer_jax.config import Config, ConfigError
from transformer_jax.lab import trained
from transformer_jax.report.points import is_share
from transformer_jax.tasks import registry
from transformer_jax.train.checkpoint import Checkpoints
from transformer_jax.train.evaluate import texts
from transformer_jax.train.log import read_config

Rows = Sequence[dict]
MODEL = ("run", "step", "mixer", "width", "parameters", "step_seconds")
NO_METRIC = (*MODEL, "task", "split", "lane")


def read(folders: Iterable[Path], saved: bool = False) -> tuple[dict[Path, Config], list[str]]:
    """The configs of the folders that hold a run (`saved`: with a checkpoint), and why the others are left out.

    Raises:
      ConfigError: a folder is not there, none holds a run, or the runs are of different tasks, whose metrics are no one
        table.
    """
    configs, left_out, folders = {}, [], list(folders)
    require_there(folders)
    for folder in folders:
        try:
            config = read_config(folder)
            if saved:
                Checkpoints(folder / "checkpoints").find("latest")
            configs[folder] = config
        except ConfigError as error:
            left_out.append(str(error))
    if not configs:
        raise ConfigError("\n".join(left_out))
    tasks: dict[str, list[str]] = {}
    for folder, config in configs.items():
        tasks.setdefault(registry.identity(config.task), []).append(str(folder))
    if len(tasks) > 1:
        where = "; ".join(f"{task}: {' '.join(found)}" for task, found in tasks.items())
        raise ConfigError(f"runs of different tasks are no one table ({where}): name those of one task")
    return configs, left_out


def require_there(folders: Iterable[Path]) -> None:
    """Raises ConfigError where a folder is not there; the nearest one is named."""
    for folder in folders:
        if not folder.exists():
            near = difflib.get_close_matches(folder.name, [path.name for path in folder.parent.glob("*")], n=1)
            meant = f"; did you mean {folder.parent / near[0]}?" if near else ""
            raise ConfigError(f"{folder} holds no run: there is no such folder{meant}")


def evaluate(
    configs: Mapping[Path, Config],
    build_task: trained.BuildTask,
    split: str,
    checkpoints: Mapping[Path, str],
    data_dir: str | None,
    of_run: Callable = trained.evaluate,
) -> list[dict]:
    """Evaluates runs; a row for each run and lane: what the run is, and its metrics.

    of_run: evaluates one, as `trained.evaluate`; what it returns has `step` and `lanes`.

    Raises:
      ConfigError, CheckpointError, FileNotFoundError: as `trained.evaluate`.
    """
    rows = []
    for folder, config in configs.items():
        found = of_run(folder, build_task, split, checkpoints[folder], data_dir)
        known = {"run": str(folder), "task": registry.identity(config.task), "split": split, "step": found.step}
        known |= trained.describe(folder, build_task, data_dir)
        rows += [known | {"lane": lane} | metrics for lane, metrics in enumerate(found.lanes)]
    return rows


def table(rows: Rows) -> list[dict[str, str]]:
    """A line for each run: step, mixer, width, parameters, seconds of a step, lanes, and each metric's mean with its
    interval."""
    lines = []
    for run in dict.fromkeys(row["run"] for row in rows):
        lanes = [row for row in rows if row["run"] == run]
        line = {name: str(lanes[0][name]) for name in MODEL if name in lanes[0]}
        lines.append(line | {"lanes": str(len(lanes))} | means(lanes))
    return lines


def means(lanes: Rows) -> dict[str, str]:
    """The mean over lanes of each metric; of several lanes with its 95 % interval: "0.9812 [0.9741, 0.9883]". That of a
    share ends at 0 and 1.

    Of one lane a metric's own interval is kept, if it has one (BLEU, over the sentences).
    """
    one = texts({name: value for name, value in lanes[0].items() if name not in NO_METRIC}, digits=6)
    if len(lanes) == 1:
        return one
    found = {}
    for name in one:
        mean = intervals.mean([lane[name] for lane in lanes])
        low, high = (max(mean.low, 0.0), min(mean.high, 1.0)) if is_share(name) else (mean.low, mean.high)
        bounds = f" [{low:.4f}, {high:.4f}]" if math.isfinite(mean.low) else ""
        found[name] = f"{mean.value:.4f}{bounds}"
    return found


def as_csv(rows: Rows) -> str:
    """The rows with all digits."""
    text = io.StringIO()
    writer = csv.DictWriter(text, dict.fromkeys(name for row in rows for name in row), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
