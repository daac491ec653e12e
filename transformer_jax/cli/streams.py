"""`train` and `evaluate` of a stream of tasks: learned one after another, and the matrix of accuracies."""

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from transformer_jax.config import ConfigError
from transformer_jax.config.continual import StreamConfig
from transformer_jax.host import devices
from transformer_jax.host.folders import write_whole
from transformer_jax.host.signals import RESUMABLE, stop_signals
from transformer_jax.typed import nearest

# What needs jax is imported where it is used: --help and mistakes answer at once.


def train(config: StreamConfig, folder: Path, build: Callable, matching: str, leave: Callable) -> int:
    """Learns the tasks and prints what `evaluate` does of the validation split; the exit code.

    Args:
      build: the task of a config, around which the stream is made.
      leave: called with a task's folder and its display where a launch is asked to stop: whether it can end at once.
    """
    from rich.console import Console

    from transformer_jax.host import compilation
    from transformer_jax.lab import rows, streams, trial, trial_display
    from transformer_jax.measure.matching import matched

    if (folder / rows.FILE).exists():
        raise ConfigError(f"{folder} holds an experiment: choose another --out")
    devices.require()
    compilation.use_cache()
    stream = _stream(config, build)
    config = matched(config, stream.tasks[0].shape, matching)
    at = [folder / "task_0", None]

    def progress(k: int):
        first = stream.tasks[0]
        print(f"task {k + 1} of {len(stream.tasks)}", file=sys.stderr)
        shown = at[1] or trial_display.shown(Console(stderr=True), trial.build_model(config, first), first, config)
        at[:] = folder / f"task_{k}", shown
        return shown

    with stop_signals(lambda: leave(*at)) as stopping:
        status, k = streams.train(config, stream, folder, stopping=stopping, progress=progress)
    if status == "stopped":
        print(f"stopped in task {k + 1}: repeat the command to go on", file=sys.stderr)
        return RESUMABLE
    if status == "nan":
        print(f"error: a loss or gradient of task {k + 1} was not finite", file=sys.stderr)
        return 1
    _print(config, stream, folder, "validation")
    return 0


PART, STRENGTH = ("part", "control"), ("strength", "strengths")
READ_BY = {
    "none": (), "joint": (), "replay": ("buffer",), "frozen": PART, "lwf": STRENGTH, "l2": (*PART, *STRENGTH),
    "si": (*PART, *STRENGTH), "mas": (*PART, *STRENGTH, "fisher_examples"),
    "ewc": (*PART, *STRENGTH, "variant", "decay", "fisher", "fisher_examples"),
}  # fmt: skip
"""By method, which of these keys it reads."""


def require_read(config: StreamConfig, overrides: Iterable[str]) -> None:
    """Raises ConfigError where an option is of another method."""
    method = config.continual.method
    read = READ_BY[method] + (PART if config.continual.with_frozen else ())
    for key in overrides:
        name = key.removeprefix("continual.")
        others = [other for other, names in READ_BY.items() if name in names]
        if key != name and others and name not in read:
            raise ConfigError(f"{key}: continual.method={method} does not read it; it is of {', '.join(others)}")


def there(folders: Sequence[Path]) -> bool:
    """Whether these folders hold streams; ConfigError: some do, or one is a task of a stream alone."""
    from transformer_jax.train.log import read_config

    found = []
    for folder in folders:
        is_stream = (folder / "config.json").exists() and isinstance(read_config(folder), StreamConfig)
        if is_stream and not (folder / "task_0").exists():
            raise ConfigError(
                f"{folder} holds one task of a stream: evaluate the folder of the stream, {folder.parent}"
            )
        found.append(is_stream)
    if any(found) and not all(found):
        raise ConfigError("streams of tasks and other runs are no one table: name those of one kind")
    return any(found)


def evaluate(folders: Sequence[Path], build: Callable, split: str, csv: Path | None, data_dir: str | None) -> int:
    """Prints each stream's accuracies and what follows from them; the exit code."""
    from transformer_jax.config import with_overrides
    from transformer_jax.lab import streams, trials
    from transformer_jax.tasks.task import SPLITS
    from transformer_jax.train.log import read_config

    if split not in SPLITS:
        raise ConfigError(f"--split {split}: there is no such split{nearest(split, SPLITS)}")
    devices.require()
    found = []
    for folder in folders:
        config = read_config(folder)
        if data_dir is not None:
            config = with_overrides(config, {"task.data_dir": data_dir})
        stream = _stream(config, build)
        if csv is not None:
            found += [{"run": str(folder), "split": split} | row for row in streams.rows(config, stream, folder, split)]
        _print(config, stream, folder, split)
    if csv is not None:
        write_whole(csv, trials.as_csv(found))
    return 0


def _stream(config: StreamConfig, build: Callable):
    """The stream of a config; build: the task of one."""
    from transformer_jax.config import with_overrides
    from transformer_jax.continual import streams

    return streams.build(config, build(config), lambda name: build(with_overrides(config, {"task.name": name})))


def _print(config: StreamConfig, stream, folder: Path, split: str) -> None:
    """Of each strength the mean over seeds: the matrix, a row after each task, and the metrics with their intervals."""
    from transformer_jax.continual import metrics
    from transformer_jax.lab import streams, trials

    continual, found = config.continual, streams.matrix(config, stream, folder, split)
    tasks = range(continual.num_tasks)
    for place, strength in enumerate(continual.lanes):
        lanes = slice(place, None, len(continual.lanes))
        R, b = found.R_NxKxK[lanes], found.untrained_NxK[lanes]
        how = "frozen" if strength is None else continual.method
        if strength is not None and "strength" in READ_BY[continual.method]:
            how += f" on {continual.part}, strength {strength:g}" if continual.method != "lwf" else f" {strength:g}"
        print(f"{folder}: {continual.stream}, {continual.scenario}-incremental, {how}; {split} split")
        print("accuracy        " + "".join(f"  task {j + 1:<3}" for j in tasks))
        for name, row in [("untrained", b.mean(0)), *((f"after task {k + 1}", R.mean(0)[k]) for k in tasks)]:
            print(f"{name:<16}" + "".join(f"  {value:<8.4f}" for value in row))
        each = [metrics.of_matrix(*one) for one in zip(R, b, strict=True)]
        for name, text in trials.means(each).items():
            print(f"{name:<18}{text}")
