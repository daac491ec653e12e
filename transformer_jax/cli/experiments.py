"""`experiment` and `report`: what is measured, and drawn again."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Annotated

import tyro
from rich.console import Console
from rich.measure import Measurement

from transformer_jax.config import Config, ConfigError
from transformer_jax.host import devices
from transformer_jax.host.folders import FolderError
from transformer_jax.host.signals import RESUMABLE
from transformer_jax.lab import display, plan, rows, schedule, sweep
from transformer_jax.typed import flatten, read

MAIN_JOB = "attention_cost"


def base(name: str | None) -> Config:
    """The config that dotted options change: an experiment's BASE; with no name the main job's."""
    return plan.load(name or MAIN_JOB).cells.BASE


@dataclass(frozen=True)
class Experiment:
    """Measure what is missing of an experiment, then draw its report.

    Options like --model.num-heads change the experiment's base config. They win over its studies: an axis that a study
    varies is pinned to the given value. Cells that become equal are measured once; cells that cannot be with the given
    value are left out, with a note. A command that was stopped goes on when it is repeated; more --measure.rounds only
    add rounds.
    """

    name: tyro.conf.Positional[str] = MAIN_JOB
    """A folder in experiments/."""
    only: Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="AXIS=VALUE,VALUE ...")] = None
    """Keep the cells with these values (seq_len=64,128 mixer=lstm)."""
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
    timeout: float | None = None
    """Seconds that one measurement of one cell may take, compilation included; None: as the experiment says, or 300."""

    def run(self, overrides: dict[str, list[str]]) -> int:
        if self.only == ():
            raise ConfigError("--only needs axis=value,value ...: --only seq_len=64,128 mixer=lstm")
        if self.timeout is not None and not self.timeout > 0:
            raise ConfigError(f"--timeout {self.timeout}: must be above 0 seconds")
        experiment = plan.load(self.name)
        given = {key: read(experiment.cells.BASE, key, texts) for key, texts in overrides.items()}
        note = partial(print, file=sys.stderr)
        cells = plan.plan(experiment.cells, given, sweep.parse_only(self.only or ()), self.limit, note)
        if self.dry_run:
            return _show_plan(experiment.cells, cells)
        plan.require_extra(experiment.cells)
        folder = self.out or Path("runs") / self.name
        summary = schedule.run(
            experiment,
            cells,
            folder,
            given=given,
            timeout=self.timeout,
            retry_failed=self.retry_failed,
            accept_stale=self.accept_stale,
            view=display.view_for(Console(stderr=True)),
        )
        return _end(summary, len(cells), experiment, folder)


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
        if self.folder.is_file():
            raise FolderError(f"{self.folder} is a file, not the folder of an experiment")
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

    found = results.rows
    if "studies" not in results.headers[-1]:  # rows that were measured before studies had names
        studies = experiment.cells.STUDIES
        varied = {key for overrides in studies.values() for override in overrides for key in override}
        base = {key: value for key, value in flatten(experiment.cells.BASE).items() if key in varied}
        found = rows.with_studies(found, [{"base": base, "studies": studies}])
    try:
        report.write(folder, experiment.report.report(found), results.headers, found)
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


def _show_plan(module: ModuleType, cells: Sequence[plan.Cell]) -> int:
    predict = getattr(module, "predict", None)
    if predict and getattr(module, "USES_JAX", True):
        devices.require()  # what a cell costs depends on the platform
    predictions = [predict(cell.config) for cell in cells] if predict else None
    console, table = Console(), display.dry_table(cells, predictions)
    whole = Measurement.get(console, console.options.update(max_width=1000), table).maximum
    console.width = max(console.width, whole)  # a narrow terminal wraps lines; it must not cut numbers off
    console.print(table)
    samples = sum(cell.config.measure.rounds for cell in cells)
    predicted = "; matmul FLOPs, bytes and seconds are predicted, and of one step" if predictions else ""
    print(f"{len(cells)} cells, {samples} measurements{predicted}")
    if predictions:
        measures = [cell.config.measure for cell in cells]
        least = [max(m.min_sample_seconds, p.get("seconds", 0)) for m, p in zip(measures, predictions, strict=True)]
        whole = sum(m.rounds * seconds for m, seconds in zip(measures, least, strict=True))
        print(f"the samples alone take at least {display.duration(whole)}; compiling each cell comes before its first")
    return 0
