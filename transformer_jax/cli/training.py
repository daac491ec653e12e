"""`train`, `evaluate` and `generate`: one training run, from a config or in its folder."""

import contextlib
import gc
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import tyro

import configs
from transformer_jax.cli import streams
from transformer_jax.config import MIXERS, Config, ConfigError
from transformer_jax.config.continual import StreamConfig
from transformer_jax.host import devices
from transformer_jax.host.folders import FolderError, require_free, require_writable, write_whole
from transformer_jax.host.signals import RESUMABLE, stop_signals
from transformer_jax.tasks import keys
from transformer_jax.typed import with_texts

# What needs jax is imported where it is used: --help and mistakes answer at once.

MAX_NEW = 1_000_000
"""The most tokens that `generate` adds: it shows nothing before all are there."""


@dataclass(frozen=True)
class Train:
    """Train a config. A command that was stopped, or killed, goes on when it is repeated.

    Options like --train.num-steps change the config.
    """

    name: tyro.conf.Positional[str]
    """A file in configs/, without its ending."""
    out: Path | None = None
    """The folder of the run; where none is given it is runs/NAME."""
    allow_fallback: bool = False
    """Where the newest checkpoint is damaged, put it aside and go on from an older one."""
    wandb: bool = False
    """Send the metrics to Weights & Biases as well; may differ between the launches of a run."""
    matching: Literal["width", "params", "flops"] = "width"
    """What a recurrence shares with the attention model of the same config: width, parameters or FLOPs."""

    def run(self, overrides: dict[str, list[str]]) -> int:
        # Imports and traces make some million objects, nearly all of which stay: to look for garbage among them again
        # and again is a tenth of the CPU time until the first steps. After these it is looked for as always.
        gc.disable()
        try:
            with missing_data("--task.data-dir"):
                return self._run(overrides)
        finally:
            gc.enable()

    def _run(self, overrides: dict[str, list[str]]) -> int:
        base = configs.get(self.name)
        folder = self.out or Path("runs") / self.name
        require_free(folder)
        streams.require_stream(base, self.name, overrides, _streams)
        if isinstance(base, StreamConfig):
            streams.require_texts(base, overrides)
        config = _config(self.name, base, overrides)
        _require_read(config, overrides, self.matching)
        moved = " ".join(overrides.get("task.data_dir", ())) or None
        if isinstance(config, StreamConfig):
            streams.require_read(config, overrides)
            if self.wandb:
                raise ConfigError("--wandb has no use with a stream of tasks")
            gc.enable()
            build = builder("--task.data-dir", moved)
            return streams.train(config, folder, build, self.matching, _leave, self.allow_fallback)
        outcome = _train(config, folder, builder("--task.data-dir", moved), self)
        if outcome.status == "stopped":
            print(f"stopped at step {outcome.step}: repeat the command to go on", file=sys.stderr)
            return RESUMABLE
        if outcome.status == "nan":
            print(f"error: {streams.not_finite(config, outcome.step)}", file=sys.stderr)
            return 1
        if not outcome.metrics:
            early = outcome.step < config.train.num_steps
            ended = f"ended early by train.patience={config.train.patience}" if early else "finished"
            more = "" if early else f"; --train.num-steps {2 * outcome.step} would extend it"
            print(
                f"{folder} holds this run, {ended} at step {outcome.step}: nothing is left to train{more}",
                file=sys.stderr,
            )
        _print_validations(folder)
        print(folder / "run.html")
        return 0


@dataclass(frozen=True)
class Evaluate:
    """Evaluate runs' checkpoints on a whole split, one beside the other; everything else is read from their folders."""

    folders: tyro.conf.Positional[tuple[Path, ...]]
    """The folder of the run, or several."""
    split: str = "validation"
    """validation or test."""
    checkpoint: tuple[str, ...] = ("best",)
    """best (by the validation split), latest, average (of the last train.keep_last) or a step; of all runs, or one for
    each: --checkpoint 3000 latest."""
    csv: Path | None = None
    """A file for the metrics, a row for each run and lane, with all digits."""
    beam: int | None = None
    """Translations: search with so many hypotheses; None: the likeliest token each time, as in training."""
    translations: Path | None = None
    """Translations: a file for source, reference and what each run wrote (its first lane), tab-separated."""
    data_dir: str | None = None
    """The folder of prepared sets, if it has moved since the training."""

    def run(self, overrides: dict[str, list[str]]) -> int:
        with missing_data("--data-dir", of_run=True):
            return self._run()

    def _run(self) -> int:
        if not self.folders:
            raise ConfigError("evaluate needs the folder of a run: python run.py evaluate FOLDER")
        for option, path in (("--csv", self.csv), ("--translations", self.translations)):
            if path is not None:
                require_writable(path, option)
        if len(self.checkpoint) not in (1, len(self.folders)):
            raise ConfigError(
                f"--checkpoint has {len(self.checkpoint)} values for {len(self.folders)} runs: give one for all of"
                " them, or one for each"
            )
        if streams.there(self.folders):
            for option in ("checkpoint", "beam", "translations"):
                if getattr(self, option) != getattr(Evaluate, option):
                    raise ConfigError(f"--{option} has no use with a stream of tasks: the end of each task is read")
            build = builder("--data-dir", self.data_dir)
            return streams.evaluate(self.folders, build, self.split, self.csv, self.data_dir)
        from transformer_jax.cli import translating
        from transformer_jax.lab import trained, trials

        each = self.checkpoint * (len(self.folders) if len(self.checkpoint) == 1 else 1)
        runs, left_out = trials.read(self.folders, saved=True)
        for reason in left_out:
            print(f"left out: {reason}", file=sys.stderr)
        devices.require()
        build = builder("--data-dir", self.data_dir)
        translated = translating.Translated.of(runs, build, self)
        of_run = {"of_run": translated.evaluate} if translated else {}
        rows = trials.evaluate(
            runs, build, self.split, dict(zip(self.folders, each, strict=True)), self.data_dir, **of_run
        )
        if self.csv is not None:
            write_whole(self.csv, trials.as_csv(rows))
        if len(runs) == 1:
            _print_lanes(next(iter(runs)), rows[0]["task"], self.split, rows[0]["step"], rows)
        else:
            for folder in runs:
                if far := trained.not_finished(folder):
                    print(f"{folder} holds a run {far}", file=sys.stderr)
            print(f"{rows[0]['task']}, {self.split} split")
            _print_table(trials.table(rows))
        if translated:
            translated.show(self)
        return 0


@dataclass(frozen=True)
class Generate:
    """Continue a text with a run's language model (--prompt), or translate one with a run's translation (--text)."""

    folder: tyro.conf.Positional[Path]
    """The folder of the run."""
    prompt: str | None = None
    """The text to continue."""
    text: str | None = None
    """The text to translate."""
    max_new: int = 200
    """With --prompt: so many tokens are added, 1000000 at most. A model that has read model.max_len of them forgets the
    older half and goes on."""
    temperature: float = 0.8
    """With --prompt: divides the logits; 0 always takes the likeliest token."""
    top_k: int | None = None
    """With --prompt: draw from so many of the likeliest tokens alone."""
    seed: int = 0
    """With --prompt: another seed draws another text."""
    beam: int | None = None
    """With --text: search with so many hypotheses; None: the likeliest token each time."""
    alignment: Path | None = None
    """With --text: a PNG of what each written token looked at."""
    checkpoint: str = "best"
    """best (by the validation split), latest, average (of the last train.keep_last) or a step."""
    data_dir: str | None = None
    """The folder of prepared sets, if it has moved since the training."""

    def run(self, overrides: dict[str, list[str]]) -> int:
        with missing_data("--data-dir", of_run=True):
            return self._run()

    def _run(self) -> int:
        if (self.prompt is None) == (self.text is None):
            raise ConfigError(
                "generate needs --prompt: the text that a language model continues, or --text: the text to translate;"
                " one of them"
            )
        with_prompt, with_text = ("max_new", "temperature", "top_k", "seed"), ("beam", "alignment")
        own, others = ("--text", with_prompt) if self.prompt is None else ("--prompt", with_text)
        for name in others:
            if getattr(self, name) != getattr(Generate, name):
                raise ConfigError(f"--{name.replace('_', '-')} has no use with {own}")
        if not 1 <= self.max_new <= MAX_NEW:
            raise ConfigError(
                f"--max-new {self.max_new}: must be from 1 to {MAX_NEW}, as nothing is shown before all are there"
            )
        streams.there([self.folder])  # which names the folder of the stream, where it is one of its tasks
        from transformer_jax.cli import translating
        from transformer_jax.lab import trained

        build = builder("--data-dir", self.data_dir)
        if self.text is not None:
            return translating.generate(self, build)
        devices.require()
        options = {name: getattr(self, name) for name in ("checkpoint", "temperature", "top_k", "seed", "data_dir")}
        added = trained.generate(self.folder, build, self.prompt, self.max_new, **options)
        print(self.prompt + added)
        return 0


def _streams() -> list[str]:
    """The configs that learn tasks one after another."""
    return [name for name in configs.names() if isinstance(configs.get(name), StreamConfig)]


def _config(name: str, base: Config, overrides: dict[str, list[str]]) -> Config:
    """The config with the options of a command line, checked as far as it can be without reading any data.

    Where only the base's own warm-up does not fit, as nobody typed it, what else is wrong is said beside it.

    Raises:
      ConfigError: something in it cannot be.
    """

    def checked(texts: dict[str, list[str]]) -> Config:
        config = with_texts(base, texts)
        _require_kind(name, base.task.name, config)
        keys.require_read(config.task, overrides)
        return config

    try:
        return checked(overrides)
    except ConfigError as error:
        steps = overrides.get("train.num_steps", [""])[-1]
        if "train.warmup_steps" in overrides or not steps.isdigit() or not 0 < int(steps) <= base.train.warmup_steps:
            raise
        first = error
    from transformer_jax.tasks import registry

    cut = max(1, int(steps) // 10) if int(steps) > 1 else 0
    try:
        others = registry.needs(checked(overrides | {"train.warmup_steps": [str(cut)]}))
    except ConfigError as error:
        others = [str(error)]
    warmup = (
        f"train.num_steps={steps} is no longer than the warm-up of {name}, {base.train.warmup_steps} steps:"
        f" add --train.warmup-steps {cut}, or take --train.num-steps {base.train.warmup_steps + 1} or more"
    )
    raise ConfigError("\n  and: ".join(dict.fromkeys([*others, warmup]))) from first


def _require_read(config: Config, given: Iterable[str], matching: str) -> None:
    """Raises ConfigError where a given key of the model is not read by its mixer. A recurrence whose width is matched
    to attention's cost reads attention's keys, too."""
    mixer = config.model.mixer
    recurrent = "recurrent_dim" in MIXERS[mixer].reads
    if recurrent and matching != "width":
        return
    for key in given:
        name = key.removeprefix("model.")
        if key != name and name in config.model.unread:
            readers = [other for other, known in MIXERS.items() if name in known.reads]
            matched = "; with --matching params or flops it does, as that attention is matched" if recurrent else ""
            raise ConfigError(f"{key}: model.mixer={mixer} does not read it; {', '.join(readers)} does{matched}")


def _require_kind(name: str, usual: str, config: Config) -> None:
    """Raises ConfigError where a set of the user's own is of another kind than the config was made for."""
    from transformer_jax.tasks.own import KINDS

    if (kind := keys.own_kind(config.task)) is not None and keys.like(usual) not in (None, kind):
        task, right = config.task.name, KINDS[kind].config
        raise ConfigError(
            f"task.name={task}: this set is {KINDS[kind].text}, and {name} is not made for such: python run.py train"
            f" {right} --task.name {task}"
        )


def _train(config: Config, folder: Path, build: Callable, options: Train):
    """The outcome of `trial.train`, with signals handled, progress shown and run.html drawn; build: see `builder`."""
    from rich.console import Console

    from transformer_jax.host import compilation
    from transformer_jax.lab import forecasts, inside, rows, tracking, trial, trial_display, trial_page
    from transformer_jax.measure.closed_form import require_runs
    from transformer_jax.measure.matching import matched

    if (folder / rows.FILE).exists():
        raise FolderError(f"{folder} holds an experiment: choose another --out")
    if options.wandb:
        tracking.require()
    devices.require()
    compilation.use_cache()
    task = build(config)
    config = matched(config, task.shape, options.matching)
    require_runs(config, task.shape)
    model = trial.build_model(config, task)
    shown = None

    def stop() -> bool:
        if shown.advanced:
            gc.enable()
        return stopping()

    with stop_signals(lambda: _leave(folder, shown)) as stopping:
        shown = trial_display.shown(Console(stderr=True), model, task, config)
        outcome = trial.train(
            config,
            task,
            folder,
            stopping=stop,
            progress=shown,
            allow_fallback=options.allow_fallback,
            send=tracking.started(folder, config) if options.wandb else None,
        )
        figures = []
        if outcome.status == "done":
            forecast = task.shape.horizon is not None
            figures = [forecasts.figure(forecasts.of_run(folder, build))] if forecast else inside.figures(folder, build)
        trial_page.write(folder, figures)
    return outcome


def _leave(folder: Path, shown, where: str = "") -> bool:
    """Whether a launch that is asked to stop can end at once: it can until its first chunk of steps is done.

    Until then the folder already has all there is to save, and the main thread may be inside the compiler, where it
    does not notice a signal before that is done.
    """
    from transformer_jax.train.log import record

    if shown is not None and shown.advanced:
        return False
    step = shown.began if shown else None
    if step is not None:
        with contextlib.suppress(OSError):  # a full disk
            record(folder, "end", status="stopped", step=step, step_seconds=None)
    at = "" if step is None else f" at step {step}"
    with contextlib.suppress(OSError):  # nobody reads it
        print(f"stopped{where}{at}: repeat the command to go on", file=sys.stderr, flush=True)
    return True


def builder(option: str, given: str | None):
    """`tasks.registry.build`; where the option that gives the folder of data was given for a task that reads none, a
    note says that it changes nothing."""
    from transformer_jax.tasks import registry

    noted = set()

    @cache
    def build(config: Config, files=()):
        name, known = config.task.name, registry.TASKS.get(config.task.name)
        if given is not None and known and "data_dir" not in known.keys and name not in noted:
            noted.add(name)
            print(f"{option} {given} is not used: {name} reads no prepared set", file=sys.stderr)
        return registry.build(config, files)

    return build


@contextlib.contextmanager
def missing_data(option: str, of_run: bool = False) -> Iterator[None]:
    """A context in which the error about missing data names the option that gives their folder.

    of_run: the data of a run that is there, which is not told what else it could train on.
    """
    from transformer_jax.tasks.sets import MissingData

    try:
        yield
    except MissingData as error:
        text = error.of_run if of_run else error
        raise MissingData(f"{text}\n  if it is prepared elsewhere: {option} FOLDER") from None


def _print_validations(folder: Path) -> None:
    """What a finished run reached on the validation split, by its log: its last step and the best that was saved."""
    from transformer_jax.lab import trained, trial
    from transformer_jax.tasks import registry
    from transformer_jax.train.log import read_config

    rows, task = trial.curve(folder, "validation"), registry.identity(read_config(folder).task)
    for step in trained.steps(folder):
        if lanes := [row for row in rows if row["step"] == step]:
            _print_lanes(folder, task, "validation", step, lanes)


def _print_lanes(folder: Path, task: str, split: str, step: int | str, rows: list[dict]) -> None:
    """A step's metrics by lane, under a line that says of what they are."""
    from transformer_jax.lab import trained, trials

    name = trained.steps(folder).get(step)
    shown = f"step {step}" if isinstance(step, int) else step  # else an average
    far = trained.not_finished(folder)
    print(f"{task}, {split} split, {shown}" + (f" ({name})" if name else "") + (f" {far}" if far else ""))
    _print_metrics([{key: value for key, value in row.items() if key not in trials.NO_METRIC} for row in rows])


def _print_metrics(lanes: list[dict[str, float]]) -> None:
    from transformer_jax.lab.trials import means
    from transformer_jax.train.evaluate import texts

    for lane, metrics in enumerate(lanes):
        text = "  ".join(f"{name} {text}" for name, text in texts(metrics, digits=6).items())
        print(f"lane {lane}: {text}" if len(lanes) > 1 else text)
    if len(lanes) > 1:
        print("mean: " + "  ".join(f"{name} {text}" for name, text in means(lanes).items()))


def _print_table(table: list[dict]) -> None:
    names = list(dict.fromkeys(name for row in table for name in row))
    lines = [names, *([str(row.get(name, "-")) for name in names] for row in table)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
