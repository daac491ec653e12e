"""`train` and `evaluate` of a stream of tasks: learned one after another, and the matrix of accuracies."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from transformer_jax.config import Config, ConfigError, with_overrides
from transformer_jax.config.continual import StreamConfig
from transformer_jax.host import devices
from transformer_jax.host.folders import write_whole
from transformer_jax.host.signals import RESUMABLE, stop_signals
from transformer_jax.tasks import keys
from transformer_jax.typed import nearest, with_texts

# What needs jax is imported where it is used: --help and mistakes answer at once.


def train(
    config: StreamConfig, folder: Path, build: Callable, matching: str, leave: Callable, allow_fallback: bool = False
) -> int:
    """Learns the tasks and prints what `evaluate` does of the validation split; the exit code.

    Args:
      build: the task of a config, around which the stream is made.
      leave: called with a task's folder, its display and " in task k" where a launch is asked to stop: whether it can
        end at once.
    """
    from rich.console import Console

    from transformer_jax.host import compilation
    from transformer_jax.lab import rows, streams, trial, trial_display
    from transformer_jax.measure.closed_form import require_runs
    from transformer_jax.measure.matching import matched
    from transformer_jax.train.log import read_launches

    if (folder / rows.FILE).exists():
        raise ConfigError(f"{folder} holds an experiment: choose another --out")
    devices.require()
    compilation.use_cache()
    stream = _stream(config, build)
    config = matched(config, stream.tasks[0].shape, matching)
    require_runs(config, stream.tasks[0].shape)
    at = [folder / "task_0", None, ""]

    def progress(k: int):
        first = stream.tasks[0]
        if k == 0:
            print(_size(config), file=sys.stderr)
        print(f"task {k} ({k + 1} of {len(stream.tasks)})", file=sys.stderr)
        shown = at[1] or trial_display.shown(Console(stderr=True), trial.build_model(config, first), first, config)
        shown.another()
        at[:] = folder / f"task_{k}", shown, f" in task {k}"
        return shown

    with stop_signals(lambda: leave(*at)) as stopping:
        launch = {"stopping": stopping, "progress": progress, "allow_fallback": allow_fallback}
        status, k = streams.train(config, stream, folder, **launch)
    if status != "done":
        step = read_launches(folder / f"task_{k}")[-1]["step"]
        if status == "stopped":
            print(f"stopped in task {k} at step {step}: repeat the command to go on", file=sys.stderr)
            return RESUMABLE
        print(f"error: {not_finite(config, step, f' of task {k}')}", file=sys.stderr)
        return 1
    _print(config, stream, folder, "validation")
    return 0


def not_finite(config: Config, step: int, where: str = "") -> str:
    """That a training ended by a number that is not finite, and what helps most often."""
    lrs = config.train.lane_lrs
    rate = f"train.lane_lrs, here {' '.join(map(str, lrs))}," if lrs else f"train.peak_lr, here {config.train.peak_lr},"
    return (
        f"the loss or a gradient{where} was not finite before step {step}: a lower {rate} helps most often, in another"
        " --out; the same command would end so again"
    )


def _size(config: StreamConfig) -> str:
    """How much is learned, in a line."""
    tasks, lanes, of_seed = config.continual.num_tasks, config.train.lanes, len(config.continual.lanes)
    lanes = f"{lanes} lanes side by side, {of_seed} for each seed" if lanes > 1 else "one lane"
    return f"{tasks} tasks of {config.train.num_steps} steps each; {lanes}"


PART, STRENGTH = ("part", "control"), ("strength", "strengths")
READ_BY = {
    "none": (), "joint": (), "replay": ("buffer",), "frozen": PART, "lwf": STRENGTH, "l2": (*PART, *STRENGTH),
    "si": (*PART, *STRENGTH), "mas": (*PART, *STRENGTH, "fisher_examples"),
    "ewc": (*PART, *STRENGTH, "variant", "decay", "fisher", "fisher_examples"),
}  # fmt: skip
"""By method, which of these keys it reads; all but frozen read with_frozen."""
TEXTS = [name for name, read in keys.TASKS.items() if read == keys.KINDS["text"] or name.startswith("number_words")]


def require_stream(base: Config, name: str, overrides: Iterable[str], others: Callable[[], Iterable[str]]) -> None:
    """Raises ConfigError where an option is of a stream and the config of that name is none; others: those that are."""
    for option in (f"--{key.replace('_', '-')}" for key in overrides if key.startswith("continual.")):
        if not isinstance(base, StreamConfig):
            does = ", ".join(others())
            raise ConfigError(f"{option}: {name} does not learn tasks one after another; what does: {does}")


def require_texts(base: StreamConfig, overrides: Mapping[str, Sequence[str]]) -> None:
    """Raises ConfigError with all that keeps a stream of texts from being one, under the options that say it."""
    from transformer_jax.tasks import place, sets
    from transformer_jax.tasks.own import KINDS
    from transformer_jax.tasks.registry import needs

    if base.continual.stream != "texts" and list(overrides.get("continual.stream", ())) != ["texts"]:
        return
    texts, wrong = overrides.get("continual.texts", base.continual.texts), []
    try:
        config = with_texts(base, overrides)
    except ConfigError as error:
        wrong.append(str(error))
        sound = {"continual.scenario": ["domain"], "continual.num_tasks": [str(len(texts) + 1)]}
        config = with_texts(base, {**overrides, **sound})  # raises what else is wrong
    of_model, before, folder = {}, set(), place.data_dir(config.task)
    for option, name in (("task.name", config.task.name), *(("continual.texts", one) for one in texts)):
        one = with_overrides(config, {"task.name": name})
        if name not in TEXTS and keys.own_kind(one.task) != "text":
            own = [text for text in sets.own_names(folder) if (place.own(text, folder) or (None,))[0] == "text"]
            kind = keys.own_kind(one.task)
            what = f"this is no text{nearest(name, [*TEXTS, *own])}"
            if kind is not None:
                what = f"this set is of the kind {kind} ({KINDS[kind].text}), and a stream takes the kind text"
            wrong.append(
                f"{option}={name}: {what}; in {folder}, of your own:"
                f" {', '.join(own) or 'none'} (python run.py prepare text --from FILE.txt --name NAME)"
            )
            one = with_overrides(config, {"task.name": TEXTS[0]})
        elif name in before:
            wrong.append(f"{option}={name}: the stream has this text already; a task is to bring another one")
        before.add(name)
        of_model |= {what.partition("=")[0]: what for what in needs(one)}
    if wrong := [*wrong, *of_model.values()]:
        raise ConfigError("\n  and: ".join(wrong))


def require_read(config: StreamConfig, overrides: Iterable[str]) -> None:
    """Raises ConfigError where an option is of another method."""
    method, scenario = config.continual.method, config.continual.scenario
    if scenario != "class" and "continual.answers" in overrides:
        raise ConfigError(f"continual.answers: continual.scenario={scenario} does not read it; class does")
    read = READ_BY[method] + (PART if config.continual.with_frozen else ())
    for key in overrides:
        name = key.removeprefix("continual.")
        if name == "with_frozen" and method == "frozen":
            raise ConfigError(f"{key}: with continual.method=frozen every lane is frozen")
        others = [other for other, names in READ_BY.items() if name in names]
        if key != name and others and name not in read:
            raise ConfigError(f"{key}: continual.method={method} does not read it; it is of {', '.join(others)}")


def there(folders: Sequence[Path]) -> bool:
    """Whether these folders hold streams; ConfigError: some do, or one is a task of a stream alone, or not there."""
    from transformer_jax.lab.trials import require_there
    from transformer_jax.train.log import read_config

    found = []
    for folder in folders:
        is_stream = (folder / "config.json").exists() and isinstance(read_config(folder), StreamConfig)
        if is_stream and not (folder / "task_0").exists():
            raise ConfigError(
                f"{folder} holds one task of a stream, and only `evaluate` reads a stream: python run.py evaluate"
                f" {folder.parent}"
            )
        found.append(is_stream)
    if any(found) and not all(found):
        require_there(folders)
        raise ConfigError("streams of tasks and other runs are no one table: name those of one kind")
    return any(found)


def evaluate(folders: Sequence[Path], build: Callable, split: str, csv: Path | None, data_dir: str | None) -> int:
    """Prints each stream's accuracies and what follows from them; the exit code."""
    from transformer_jax.lab import streams, trials
    from transformer_jax.tasks.task import SPLITS
    from transformer_jax.train.log import read_config

    if split not in SPLITS:
        raise ConfigError(f"--split {split}: there is no such split{nearest(split, SPLITS)}")
    for folder in folders:
        streams.require_learned(read_config(folder), folder)
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
    from transformer_jax.continual import streams

    return streams.build(config, build(config), lambda name: build(with_overrides(config, {"task.name": name})))


def _print(config: StreamConfig, stream, folder: Path, split: str) -> None:
    """Of each strength the mean over seeds: the matrix, a row after each task, and the metrics with their intervals."""
    from transformer_jax.lab import streams, trials

    continual, found = config.continual, streams.matrix(config, stream, folder, split)
    texts = f" {', '.join((config.task.name, *continual.texts))}" if continual.texts else ""
    tasks = range(continual.num_tasks)
    for place, strength in enumerate(continual.lanes):
        lanes = range(place, config.train.lanes, len(continual.lanes))
        R, b = found.R_NxKxK[lanes], found.untrained_NxK[lanes]
        how = "frozen" if strength is None else continual.method
        if strength is not None and "strength" in READ_BY[continual.method]:
            how += f" on {continual.part}, strength {strength:g}" if continual.method != "lwf" else f" {strength:g}"
        among = " among the answers so far" if continual.chooses_among_seen else ""
        print(f"{folder}: {continual.stream}{texts}, {continual.scenario}-incremental{among}, {how}; {split} split")
        if continual.order:
            print(f"tasks {' '.join(map(str, tasks))} are {' '.join(map(str, continual.order))} of the stream")
        print("accuracy        " + "".join(f"  task {j:<3}" for j in tasks))
        for name, row in [("untrained", b.mean(0)), *((f"after task {k}", R.mean(0)[k]) for k in tasks)]:
            print(f"{name:<16}" + "".join(f"  {value:<8.4f}" for value in row))
        for name, text in trials.means([streams.summary(config, found, lane) for lane in lanes]).items():
            print(f"{name:<18}{text}")
