"""The only entry: reads the command line, hands over to the package, turns what happens into an exit code.

With no command it runs the main job, `experiment attention_cost`.

Exit codes: 0 done, where a cell that ran out of memory or time is a result as well, unless all did; 1 a cell failed
or was killed, a loss was not finite, or the machine let the run down; 2 a mistake in the command; 75 stopped by Ctrl-C
or SIGTERM, and the same command goes on from there.
"""

from transformer_jax.host import signals as stopping

if __name__ == "__main__":
    stopping.end_at_once()  # before the rest is imported, which takes a second and must not be interrupted

import dataclasses
import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Union, get_args

import tyro
from rich.console import Console
from rich.measure import Measurement

import configs
from transformer_jax import experiment, progress, rows, runner, sweep
from transformer_jax.config import Config, ConfigError, Mixer, flatten, nearest, with_overrides
from transformer_jax.lab.supervisor import WorkerError

MAIN_JOB = "attention_cost"


@dataclass(frozen=True)
class List:
    """Show what there is: experiments, configs, tasks, mixers, attention implementations."""

    def run(self, words: Sequence[str]) -> int:
        from transformer_jax import tasks
        from transformer_jax.ops.attention import ATTENTION

        kinds = {
            "experiments": experiment.names(),
            "configs": configs.names(),
            "tasks": tasks.TASKS,
            "mixers": get_args(Mixer),
            "attention": ATTENTION,
        }
        for kind, names in kinds.items():
            print(f"{kind}: {' '.join(names)}")
        return 0


def _unchecked(section: type) -> type:
    """A section of the config without its rules: only whole configs, those of the cells, must obey them."""
    body = {"__post_init__": lambda self: None, "__doc__": section.__doc__}
    return dataclass(frozen=True)(type(section.__name__, (section,), body))


SECTIONS = {section.name: _unchecked(section.default_factory) for section in dataclasses.fields(Config)}
Overrides = dataclasses.make_dataclass(
    "Overrides", [(name, kind, field(default=kind())) for name, kind in SECTIONS.items()], frozen=True
)


@dataclass(frozen=True)
class Experiment:
    """Measure what is missing of an experiment, then draw its report.

    Options like --model.num-heads change the experiment's base config. They win over the sweep: an axis that
    the sweep varies is pinned to the given value. Cells that become equal are measured once, cells that cannot be with
    the given value are left out, and it is said. A command that was stopped goes on when it is repeated; more
    --measure.rounds only add rounds.
    """

    name: tyro.conf.Positional[str] = MAIN_JOB
    """A file in experiments/, without its ending."""
    only: tuple[str, ...] = ()
    """Keep the cells with these values: axis=value,value ... (seq_len=64,128 mixer=lstm)."""
    limit: int | None = None
    """Keep the first so many cells."""
    out: Path | None = None
    """The folder of the results; None: runs/NAME."""
    dry_run: bool = False
    """Show the cells and what they are predicted to cost; measure nothing."""
    retry_failed: bool = False
    """Attempt those cells again that did not end well: oom, timeout, nan, killed, failed."""
    accept_stale: bool = False
    """Keep rows that other code than today's measured."""
    timeout: float = runner.TIMEOUT_SECONDS
    """Seconds that one measurement of one cell may take, compilation included."""
    config: Annotated[Overrides, tyro.conf.arg(name=""), tyro.conf.FlagConversionOff] = Overrides()

    def run(self, words: Sequence[str]) -> int:
        path = experiment.find(self.name)
        module = experiment.load(path)
        given = given_on(words, self.config)
        if "--only" in words and not self.only:
            raise ConfigError("--only needs axis=value,value ...: --only seq_len=64,128 mixer=lstm")
        if not self.timeout > 0:
            raise ConfigError(f"--timeout {self.timeout}: must be above 0 seconds")
        say = partial(print, file=sys.stderr)
        cells = experiment.plan(module, given, sweep.parse_only(self.only), self.limit, say)
        if self.dry_run:
            return _show_plan(module, cells)
        experiment.require_extra(module)
        folder = self.out or Path("runs") / self.name
        summary = runner.run(
            path,
            module,
            cells,
            folder,
            given=given,
            timeout=self.timeout,
            retry_failed=self.retry_failed,
            accept_stale=self.accept_stale,
            view=progress.view_for(Console(stderr=True)),
        )
        whole = f"{summary.cells['ok']} of {len(cells)} cells are whole"
        if summary.interrupted:
            new = f"{sum(summary.added.values())} new measurements are kept"
            print(f"stopped: {new}, {whole}; repeat the command to go on", file=sys.stderr)
            return stopping.RESUMABLE
        others = [f"{n} {status}" for status, n in summary.cells.items() if status != "ok"]
        print(whole, *others, *(["--retry-failed tries again"] if others else []), sep=", ")
        _draw(folder, told=True)
        return 1 if summary.cells["failed"] or summary.cells["killed"] or not summary.cells["ok"] else 0


@dataclass(frozen=True)
class Report:
    """Draw a folder's report again, from its rows alone."""

    folder: tyro.conf.Positional[Path]
    """Where an experiment wrote its rows."""

    def run(self, words: Sequence[str]) -> int:
        _draw(self.folder)
        return 0


@dataclass(frozen=True)
class Train:
    """Train a config. A command that was stopped, or killed, goes on when it is repeated.

    Options like --train.num-steps change the config.
    """

    name: tyro.conf.Positional[str]
    """A file in configs/, without its ending."""
    out: Path | None = None
    """The folder of the run; None: runs/NAME."""
    allow_fallback: bool = False
    """Where the newest checkpoint is damaged, put it aside and go on from an older one."""
    wandb: bool = False
    """Send the metrics to Weights & Biases as well; may differ between the launches of a run."""
    config: Annotated[Overrides, tyro.conf.arg(name=""), tyro.conf.FlagConversionOff] = Overrides()

    def run(self, words: Sequence[str]) -> int:
        config = with_overrides(configs.get(self.name), given_on(words, self.config))
        from transformer_jax import runs

        folder = self.out or Path("runs") / self.name
        outcome = runs.train(config, folder, Console(stderr=True), allow_fallback=self.allow_fallback, wandb=self.wandb)
        if outcome.status == "stopped":
            print(f"stopped at step {outcome.step}: repeat the command to go on", file=sys.stderr)
            return stopping.RESUMABLE
        if outcome.status == "nan":
            print(f"error: the loss or a gradient was not finite before step {outcome.step}", file=sys.stderr)
            return 1
        _print_metrics(outcome.metrics)
        print(folder / "run.html")
        return 0


@dataclass(frozen=True)
class Evaluate:
    """Evaluate runs' checkpoints on a whole split, one beside the other; everything else is read from their folders."""

    folders: tyro.conf.Positional[tuple[Path, ...]]
    """The folder of the run, or several."""
    split: str = "validation"
    """validation or test."""
    checkpoint: str = "best"
    """best (lowest validation loss), latest, or a step."""
    data_dir: str | None = None
    """The folder of prepared sets, if it has moved since the training."""

    def run(self, words: Sequence[str]) -> int:
        if not self.folders:
            raise ConfigError("evaluate needs the folder of a run: python run.py evaluate FOLDER")
        from transformer_jax import runs

        found = {folder: runs.evaluate(folder, self.split, self.checkpoint, self.data_dir) for folder in self.folders}
        if len(found) == 1:
            _print_metrics(*found.values())
            return 0
        table = [
            {"run": str(folder), **runs.describe(folder), "lane": str(lane)}
            | {name: f"{value:.6f}" for name, value in metrics.items()}
            for folder, lanes in found.items()
            for lane, metrics in enumerate(lanes)
        ]
        _print_table(table)
        return 0


@dataclass(frozen=True)
class Generate:
    """Continue a text with a run's language model."""

    folder: tyro.conf.Positional[Path]
    """The folder of the run."""
    prompt: str
    """The text to continue."""
    max_new: int = 200
    """So many tokens are added."""
    temperature: float = 0.8
    """Divides the logits; 0 always takes the likeliest token."""
    top_k: int | None = None
    """Draw from so many of the likeliest tokens alone."""
    seed: int = 0
    """Another seed draws another text."""
    checkpoint: str = "best"
    """best (lowest validation loss), latest, or a step."""
    data_dir: str | None = None
    """The folder of prepared sets, if it has moved since the training."""

    def run(self, words: Sequence[str]) -> int:
        from transformer_jax import runs

        options = {name: getattr(self, name) for name in ("checkpoint", "temperature", "top_k", "seed", "data_dir")}
        print(self.prompt + runs.generate(self.folder, self.prompt, self.max_new, **options))
        return 0


@dataclass(frozen=True)
class Prepare:
    """Turn a set's original files into the layout that training reads, for machines without a network."""

    name: tyro.conf.Positional[str]
    """tiny_shakespeare, mnist, ..."""
    source: Annotated[Path, tyro.conf.arg(name="from")]
    """The folder of the original files."""
    data_dir: str | None = None
    """Where to; None: $TFDS_DATA_DIR, or ~/.cache/transformer_jax/data."""

    def run(self, words: Sequence[str]) -> int:
        from transformer_jax.config import TaskConfig
        from transformer_jax.tasks import prepare, sets

        print(prepare.prepare(self.name, self.source, sets.data_dir(TaskConfig(data_dir=self.data_dir))))
        return 0


COMMANDS = {
    "list": List,
    "experiment": Experiment,
    "report": Report,
    "train": Train,
    "evaluate": Evaluate,
    "generate": Generate,
    "prepare": Prepare,
}


def main(argv: Sequence[str]) -> int:
    """Runs the command that the words say; returns the exit code."""
    words = list(argv)
    for before, word in zip(["", *words], words, strict=False):
        if _option(word) and word.partition("=")[1:] == ("=", "") or (not word and before != "--prompt"):
            named = word.rstrip("=") or (before if before.startswith("--") else "an argument")
            print(f"error: {named} is empty: give it a value", file=sys.stderr)
            return 2
    if words and not words[0].startswith("-") and words[0] not in COMMANDS:
        print(f"error: no command {words[0]!r}{nearest(words[0], COMMANDS)}", file=sys.stderr)
        return 2
    twice = [option for option, n in Counter(map(_option, words)).items() if option and n > 1]
    if twice:
        print(f"error: --{twice[0]} is given twice: give it once, with all its values behind it", file=sys.stderr)
        return 2
    if not words or (words[0].startswith("-") and words[0] not in ("-h", "--help")):
        words = ["experiment", MAIN_JOB, *words]
    try:
        _refuse_unknown(words)
        code = _parse(words).run(words)
        print(end="", flush=True)  # at exit it would be too late to say that it cannot be written
        return code
    except (ConfigError, rows.FolderError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (WorkerError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parse(words: list[str]):
    """The command as one of COMMANDS; a wrong option ends the process with exit code 2 and a message."""
    defaults = {"experiment": Experiment(config=_shown_base(words))}
    commands = [
        Annotated[kind, tyro.conf.subcommand(name, **({"default": defaults[name]} if name in defaults else {}))]
        for name, kind in COMMANDS.items()
    ]
    flags = (tyro.conf.FlagCreatePairsOff,)
    return tyro.cli(Union[*commands], args=words, prog="run.py", description=__doc__, config=flags)


def _shown_base(words: list[str]) -> Overrides:
    """The defaults that a help text shows: those of the experiment that it is asked about."""
    asked = {"-h", "--help"} & set(words) and words[0] == "experiment"
    name = next((word for word in words[1:] if word in experiment.names()), MAIN_JOB)
    base = experiment.load(experiment.find(name)).BASE if asked else Config()
    return Overrides(**{name: kind(**vars(getattr(base, name))) for name, kind in SECTIONS.items()})


def given_on(words: Sequence[str], sections: Any) -> dict[str, Any]:
    """The config keys that the words name, with the values read for them: {"model.num_heads": 8}."""
    named = {_option(word).replace("-", "_") for word in words}
    return {key: value for key, value in flatten(sections).items() if key in named}


def _option(word: str) -> str:
    """model.num-heads of --model.num_heads=8; nothing of what is no option."""
    return word.partition("=")[0][2:].replace("_", "-") if word.startswith("--") else ""


def _refuse_unknown(words: Sequence[str]) -> None:
    """Raises ConfigError for an option that the command does not have, with those that look like it."""
    options = [f.name for f in dataclasses.fields(COMMANDS.get(words[0], List))]
    options += flatten(Config()) if "config" in options else ()
    by_place = ("name", "folder", "folders", "config")
    known = [f"--{name.replace('_', '-')}" for name in (*options, "help") if name not in by_place]
    known = ["--from" if name == "--source" else name for name in known]
    for option in filter(None, map(_option, words)):
        if f"--{option}" not in known:
            raise ConfigError(f"{words[0]} has no option --{option}{nearest(f'--{option}', known)}")


def _show_plan(module: ModuleType, cells: Sequence[experiment.Cell]) -> int:
    predict = getattr(module, "predict", None)
    predictions = [predict(cell.config) for cell in cells] if predict else None
    console, table = Console(), progress.dry_table(cells, predictions)
    whole = Measurement.get(console, console.options.update(max_width=1000), table).maximum
    console.width = max(console.width, whole)  # a narrow terminal wraps lines; it must not cut numbers off
    console.print(table)
    samples = sum(cell.config.measure.rounds for cell in cells)
    print(f"{len(cells)} cells, {samples} measurements; matmul FLOPs, bytes and seconds are predicted, and of one step")
    if predictions:
        measures = [cell.config.measure for cell in cells]
        least = [max(m.min_sample_seconds, p.get("seconds", 0)) for m, p in zip(measures, predictions, strict=True)]
        whole = sum(m.rounds * seconds for m, seconds in zip(measures, least, strict=True))
        print(f"the samples alone take at least {progress.duration(whole)}; compiling each cell comes before its first")
    return 0


def _print_metrics(lanes: list[dict[str, float]]) -> None:
    for lane, metrics in enumerate(lanes):
        said = "  ".join(f"{name} {value:.6f}" for name, value in metrics.items())
        print(f"lane {lane}: {said}" if len(lanes) > 1 else said)


def _print_table(rows_: list[dict]) -> None:
    names = list(dict.fromkeys(name for row in rows_ for name in row))
    lines = [names, *([str(row.get(name, "-")) for name in names] for row in rows_)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _draw(folder: Path, told: bool = False) -> None:
    from transformer_jax import report

    if folder.is_file():
        raise rows.FolderError(f"{folder} is a file, not the folder of an experiment")
    results = rows.current(rows.read(folder))
    if not told:
        print(*results.notes, sep="\n", end="\n" if results.notes else "", file=sys.stderr)
    if not results.rows:
        raise rows.FolderError(f"{folder} holds no rows to report on")
    module = experiment.load(experiment.find(results.headers[-1]["experiment"]))
    report.write(folder, module.report(results.rows), results.headers, results.rows)
    print(folder / "report.html")


if __name__ == "__main__":
    nowhere = open(os.devnull, "w")  # Python has no stdout, no stderr, where the command is started without
    sys.stderr = progress.Unfailing(sys.stderr or nowhere)
    # a full disk is an error there; head, which has read enough, is none
    sys.stdout = progress.Unfailing(sys.stdout or nowhere, BrokenPipeError)
    code = main(sys.argv[1:])
    stopping.ignore()  # all is said and done: the exit code stands
    sys.exit(code)
