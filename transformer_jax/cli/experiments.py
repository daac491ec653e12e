"""`experiment` and `report`: what is measured, and drawn again."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import tyro
from rich.console import Console
from rich.text import Text

import configs
from transformer_jax.cli import streams
from transformer_jax.config import Config, ConfigError
from transformer_jax.config.continual import StreamConfig
from transformer_jax.host import cores
from transformer_jax.host.accelerator import Device, first_device
from transformer_jax.host.folders import RESULTS, TRAINING, FolderError, contents, require_writable
from transformer_jax.host.signals import RESUMABLE
from transformer_jax.lab import crew, display, launch, passes, plan, plan_display, preview, rows, schedule, sweep
from transformer_jax.typed import flatten, read

MAIN_JOB = "attention_cost"
SMALL, LARGE = "bench", "bench_accelerator"


def _chosen(
    name: str, config: str | None, size: plan.Size, note: Callable[[str], None]
) -> tuple[plan.Experiment, Device]:
    """The experiment on its config, and the device; an experiment on `bench` takes the config for an accelerator there.

    note: called with what was chosen for the user.
    """
    experiment, device = plan.load(name, size=size), first_device()
    if (
        config is None
        and device.platform != "cpu"
        and _sections(experiment.cells.BASE) == _sections(configs.get(SMALL))
    ):
        config = LARGE
        note(f"the first device is a {device.platform}: --config {LARGE} (--config {SMALL} is the small model)")
    if config is not None:
        experiment = plan.load(name, configs.get(config), size)
    return experiment, device


def _sections(config: Config) -> tuple:
    return config.model, config.task, config.train


def base(name: str | None) -> Config:
    """The config that dotted options change: an experiment's BASE; with no name the main job's."""
    return plan.load(name or MAIN_JOB).cells.BASE


class _Planned(NamedTuple):
    """What a command measures."""

    experiment: plan.Experiment
    device: Device
    given: dict[str, Any]
    cells: list[plan.Cell]
    folder: Path
    budget: float | None


@dataclass(frozen=True)
class Experiment:
    """Measure what is missing of an experiment, then draw its report.

    Options like --model.num-heads change the experiment's base config. They win over its studies: an axis that a study
    varies is pinned to the given value. Cells that become equal are measured once; cells that cannot be with the given
    value are left out, with a note. All programs are compiled first; then each pass samples every cell once, until the
    run's time is over or, with --measure.rounds, for so many passes. A command that was stopped goes on when it is
    repeated; more --measure.rounds only add rounds.
    """

    name: tyro.conf.Positional[str | None] = None
    """A folder in experiments/; `list` names them."""
    size: plan.Size = "quick"
    """Which studies are measured: the quick ones, or those of the full size, which take an accelerator hours; `list`
    names the experiments that have one."""
    only: Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="AXIS=VALUE,VALUE ...")] = None
    """Keep the cells with these values of the built-in ones (seq_len=64,128 mixer=lstm)."""
    sweep: Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="AXIS=VALUE,VALUE ...")] = None
    """Measure these values in the place of the studies' own (seq_len=100,3000 mixer=gru), all combinations of them. An
    axis is any key of the config; one that no study has is crossed into all of them."""
    config: str | None = None
    """A config of configs/ in the place of the experiment's base; its task.seq_len scales the lengths of the studies.
    None: the experiment's own, on a GPU or TPU bench_accelerator where that is bench."""
    limit: int | None = None
    """Keep the first so many cells."""
    out: Path | None = None
    """The folder of the results; where none is given it is runs/NAME, of the full size runs/NAME_full."""
    budget: Annotated[str | None, tyro.conf.arg(metavar="TIME")] = None
    """How long the run takes, compilation included: 90s, 6m, 1h. None: as the experiment says, which may be
    measure.rounds passes, however long."""
    dry_run: bool = False
    """Show the cells and what they are predicted to cost; measure nothing."""
    retry_failed: bool = False
    """Attempt those cells again that did not end well: oom, timeout, nan, killed, failed."""
    accept_stale: bool = False
    """Keep rows that other code than today's measured."""
    timeout: float | None = None
    """Seconds that one measurement of one cell may take, compilation included; None: as the experiment says, or 300,
    times the workers."""
    workers: int = 1
    """How many cells run at once, each in a process of its own, at most as many as there are cores; the rows are the
    same. Above 1 only on a CPU, and where cells time nothing; those that do run alone, after the others."""

    def run(self, overrides: dict[str, list[str]]) -> int:
        began = time.monotonic()
        if self.name is None:
            raise ConfigError(
                f"experiment needs NAME, a folder in experiments/: {', '.join(plan.names())}\n  `python run.py` alone"
                f" is the main job, experiment {MAIN_JOB}"
            )
        planned = self._planned(overrides)
        if self.dry_run:
            return self._show(planned)
        plan.require_extra(planned.experiment.cells)
        summary = schedule.run(
            planned.experiment,
            planned.cells,
            planned.folder,
            given=planned.given,
            options=self.options(overrides),
            budget=planned.budget,
            began=began,
            timeout=self.timeout,
            retry_failed=self.retry_failed,
            accept_stale=self.accept_stale,
            workers=self.workers,
            view=display.view_for(Console(stderr=True)),
        )
        return _end(summary, len(planned.cells), planned.experiment, planned.folder)

    def _planned(self, overrides: dict[str, list[str]]) -> "_Planned":
        """What a run measures; ConfigError: it cannot be."""
        if self.only == ():
            raise ConfigError("--only needs axis=value,value ...: --only seq_len=64,128 mixer=lstm")
        if self.timeout is not None and not self.timeout > 0:
            raise ConfigError(f"--timeout {self.timeout}: must be above 0 seconds")
        require_workers(self.workers)
        if self.sweep == ():
            raise ConfigError("--sweep needs axis=value,value ...: --sweep seq_len=100,3000 mixer=attention,gru")
        if self.budget and "measure.rounds" in overrides:
            raise ConfigError("--budget and --measure.rounds both say when the run ends: give one of them")
        note = partial(print, file=sys.stderr)
        experiment, device = _chosen(self.name, self.config, self.size, note)
        fixed = None if "measure.rounds" in overrides else getattr(experiment.cells, "BUDGET", None)
        budget = passes.seconds(self.budget) if self.budget is not None else fixed
        streams.require_stream(experiment.base, self.name, overrides, _streams)
        given = {key: read(experiment.base, key, texts) for key, texts in overrides.items()}
        wanted, swept = sweep.parse("--only", self.only or ()), sweep.parse("--sweep", self.sweep or ())
        own = {"base": experiment.base, "swept": swept, "studies": experiment.studies}
        cells = plan.plan(experiment.cells, given, wanted, self.limit, note, **own)
        if self.workers > 1 and (why := crew.why_alone(experiment.cells, cells, device.platform)):
            raise ConfigError(f"--workers {self.workers}: {self.name} runs with one worker, as {why}")
        folder = self.out or Path("runs") / (self.name if self.size == "quick" else f"{self.name}_{self.size}")
        return _Planned(experiment, device, given, cells, folder, budget)

    def foresee(self, overrides: dict[str, list[str]]) -> tuple[preview.Preview, str]:
        """What a run would do, and how long it would take; raises as a run before it compiles anything."""
        return self._foresee(self._planned(overrides))

    def _foresee(self, planned: "_Planned") -> tuple[preview.Preview, str]:
        experiment, device, given, cells, folder, budget = planned
        options = {"accept_stale": self.accept_stale, "retry_failed": self.retry_failed, "budget": budget}
        found = preview.look(experiment, cells, folder, device, given=given, **options)
        return found, preview.length(experiment, found)

    def _show(self, planned: "_Planned") -> int:
        found, length = self._foresee(planned)
        code = _show_plan(found, planned.folder, planned.device)
        print(length)
        if took := self.took():
            print(took)
        return code

    def took(self) -> str:
        """How long all of the size took, where the experiment says so."""
        took = getattr(plan.load(self.name).cells, "TAKES", {}).get(self.size)
        return f"all of the {self.size} size took {took}" if took else ""

    def options(self, overrides: dict[str, list[str]]) -> list[str]:
        """The words of the command line that chose the cells."""
        size = self.size if self.size != "quick" else None
        own = {"--size": [size], "--config": [self.config], "--sweep": self.sweep, "--only": self.only}
        own["--limit"] = [self.limit]
        options = [
            str(word) for name, texts in own.items() if texts and texts[0] is not None for word in (name, *texts)
        ]
        return options + [word for key, texts in overrides.items() for word in (f"--{key.replace('_', '-')}", *texts)]


def require_workers(count: int) -> None:
    """Raises ConfigError where there are none, or more than cores, which would each take time and memory from the
    others."""
    if count < 1:
        raise ConfigError(f"--workers {count}: must be at least 1")
    if count > (most := cores.count()):
        raise ConfigError(f"--workers {count}: must be at most {most}, the cores that are there for them")


def _streams() -> list[str]:
    """The experiments whose cells learn tasks one after another."""
    return [name for name in plan.names() if isinstance(plan.load(name).cells.BASE, StreamConfig)]


def _end(summary: schedule.Summary, planned: int, experiment: plan.Experiment, folder: Path) -> int:
    """Prints how the cells stand and draws the report, unless the run was stopped; returns the exit code."""
    whole = f"{summary.cells['ok']} of {planned} cells are whole"
    if summary.interrupted:
        added = f"{sum(summary.added.values())} new measurements are kept"
        print(f"stopped: {added}, {whole}; repeat the command to go on", file=sys.stderr)
        return RESUMABLE
    others = [f"{n} {status}" for status, n in summary.cells.items() if status != "ok"]
    print(whole, *others, *(["--retry-failed tries again"] if others else []), sep=", ")
    drawn = _draw(experiment, folder, rows.current(rows.read(folder)))
    wrong = sum(summary.cells[status] for status in ("failed", "killed", "nan"))
    measured = summary.cells["ok"] and not wrong
    return 0 if drawn and measured else 1


@dataclass(frozen=True)
class Report:
    """Draw a folder's report again, from its rows alone."""

    folder: tyro.conf.Positional[Path]
    """Where an experiment wrote its rows."""

    def run(self, overrides: dict[str, list[str]]) -> int:
        if contents(self.folder) == TRAINING:
            raise FolderError(
                f"{self.folder} holds {TRAINING}: {self.folder / 'run.html'} is its page, and run.py evaluate"
                f" {self.folder} gives its metrics; report takes {RESULTS}"
            )
        require_writable(self.folder / "report.html", "report:")
        results = rows.current(rows.read(self.folder))
        print(*results.notes, sep="\n", end="\n" if results.notes else "", file=sys.stderr)
        if not results.rows:
            raise FolderError(f"{self.folder} holds no rows to report on")
        return 0 if _draw(plan.load(str(results.headers[-1].get("experiment"))), self.folder, results) else 1


def _draw(experiment: plan.Experiment, folder: Path, results: rows.Results) -> bool:
    """Writes the report and prints where it is; False, with the reason printed, where the experiment's report fails.

    Raises:
      OSError: it cannot be written.
    """
    from transformer_jax import report
    from transformer_jax.report.page import is_stopped

    found = results.rows
    if "studies" not in results.headers[-1]:  # rows that were measured before studies had names
        studies = experiment.cells.STUDIES
        varied = {key for overrides in studies.values() for override in overrides for key in override}
        base = {key: value for key, value in flatten(experiment.cells.BASE).items() if key in varied}
        found = rows.with_studies(found, [{"base": base, "studies": studies}])
    try:
        page = experiment.report.report(found)
        if any(finding.open for finding in page.answers) and not is_stopped(results.headers[-1]):
            again = f"A longer run narrows what is open: {launch.longer(results.headers[-1], folder)}"
            page = replace(page, notes=[*page.notes, again])
        report.write(folder, page, results.headers, found)
    except OSError:
        raise
    except Exception as error:
        path = experiment.folder / "report.py"
        print(
            f"error: {path}{plan.line_in(path, error)}: {type(error).__name__}: {error}\n"
            f"the rows are safe in {folder}; once it is mended, run.py report {folder} draws the report",
            file=sys.stderr,
        )
        return False
    print(folder / "report.html")
    return True


def _show_plan(found: preview.Preview, folder: Path, device: Device) -> int:
    outlooks = found.outlooks
    cells, predictions = [o.cell for o in outlooks], [o.predicted for o in outlooks]
    noted = [prediction | {"": o.note} for prediction, o in zip(predictions, outlooks, strict=True)]
    console = Console()
    for part in plan_display.tables(cells, noted, console.width):
        console.print(part, highlight=False, soft_wrap=isinstance(part, Text))
    for note in found.notes:
        print(note)
    predicted = "; matmul FLOPs, bytes and seconds are predicted, and of one step" if any(predictions) else ""
    print(f"{len(cells)} cells; {folder} holds {found.there} of them{predicted}")
    if failed := sum(bool(o.ended) for o in outlooks):
        print(f"{failed} did not end well there and are not tried again (--retry-failed does)")
    if blocked := sum(bool(o.obstacle) for o in outlooks):
        print(f"{blocked} cannot run on this {device.platform}, for the reason beside them")
    return 0
