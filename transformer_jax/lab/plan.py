"""An experiment is a folder that answers one question, found by being in experiments/; its plan is a list of cells."""

import ast
import contextlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from transformer_jax.config import SAMPLING, Config, ConfigError, canonical_json, flatten, nearest, with_overrides
from transformer_jax.host.provenance import ROOT
from transformer_jax.lab import axes
from transformer_jax.lab.closure import defined
from transformer_jax.lab.rows import NOT_IN_KEY
from transformer_jax.lab.sweep import Override, chain, only, pin
from transformer_jax.tasks import keys
from transformer_jax.typed import require

FOLDER = ROOT / "experiments"

Size = Literal["quick", "full"]
"""Which studies are run: STUDIES, minutes on a CPU, or FULL, hours on an accelerator."""


@dataclass(frozen=True)
class Experiment:
    """One experiment: what is measured, and how it is reported."""

    name: str
    folder: Path
    config: Config | None = None
    """Whose model, task and train sections stand in the place of BASE's."""
    size: Size = "quick"

    @cached_property
    def base(self) -> Config:
        """What the studies' overrides change: BASE, or the given config with the experiment's own measure section.

        Raises:
          ConfigError: the two cannot be together.
        """
        base, config = self.cells.BASE, self.config
        if config is None:
            return base
        unread = "task.name" in getattr(self.cells, "UNREAD", ())  # it takes the sizes, whatever they are those of
        task = replace(config.task, name=base.task.name) if unread else config.task
        return replace(base, model=config.model, task=task, train=config.train)

    @cached_property
    def cells(self) -> ModuleType:
        """cells.py: BASE, STUDIES, cell; perhaps TASKS, check, FULL, TAKES, work, predict, time_limit, data, prepare,
        group, BUDGET, EXTRA, USES_JAX, UNREAD, SWEEPS, SIDE_BY_SIDE. Of its `work` the laboratory makes its `predict`,
        where it has none."""
        cells = _load(self.folder / "cells.py", ("BASE", "STUDIES", "cell"))
        if hasattr(cells, "work") and not hasattr(cells, "predict"):
            cells.predict = partial(_predict, cells.work)
        return cells

    @property
    def studies(self) -> axes.Studies:
        """The studies of the size: STUDIES, or FULL.

        Raises:
          ConfigError: the experiment has no full size; those that have are named.
        """
        if self.size == "quick":
            return self.cells.STUDIES
        if not hasattr(self.cells, "FULL"):
            raise no_full([self.name])
        return self.cells.FULL

    @cached_property
    def report(self) -> ModuleType:
        """report.py: report(rows), perhaps RULES."""
        return _load(self.folder / "report.py", ("report",))


@dataclass(frozen=True)
class Cell:
    """One configuration of a plan."""

    overrides: dict[str, Any]  # what the studies set, and what follows from it
    config: Config  # all of it
    identity: str  # the config as text, without measure.rounds
    studies: tuple[str, ...] = ()  # those that it is in


def _predict(work: Callable[[Config], Any], config: Config) -> dict:
    """What a step of the config's work costs: FLOPs, bytes and, roughly, seconds."""
    from transformer_jax.measure.predict import predict  # here, as jax takes seconds to load

    return predict(work(config))


def names() -> list[str]:
    """The names of all experiments, sorted."""
    return sorted(path.parent.name for path in FOLDER.glob("[a-z]*/cells.py"))


def with_full() -> list[str]:
    """The names of the experiments that have a full size: their cells.py, which is not run, defines FULL."""
    found = []
    for name in names():
        with contextlib.suppress(SyntaxError):
            body = ast.parse((FOLDER / name / "cells.py").read_bytes()).body
            found += [name] if any("FULL" in defined(statement) for statement in body) else []
    return found


def no_full(asked: Sequence[str]) -> ConfigError:
    """That these experiments, by name, have no full size; those that have are named."""
    known, have = with_full(), "has" if len(asked) == 1 else "have"
    others = f"a full one: {', '.join(known)}" if known else "no experiment has a full one"
    return ConfigError(f"--size full: {', '.join(asked)} {have} one size; {others}")


def find(name: str) -> Path:
    """The folder of the experiment of that name.

    Raises:
      ConfigError: no such experiment; a path is never one, so that a name cannot lead out of experiments/.
    """
    if name not in names():
        raise ConfigError(f"unknown experiment {name!r}{nearest(name, names())}")
    return FOLDER / name


def load(name: str, config: Config | None = None, size: Size = "quick") -> Experiment:
    """The experiment of that name, on the given config, of a size; its files are read when they are asked for.

    Raises:
      ConfigError: no such experiment; later, from `.cells`, `.studies` and `.report`: a part is missing or cannot be
        loaded.
    """
    return Experiment(name, find(name), config, size)


class _FromSource(SourceFileLoader):
    """Reads the text each time: Python's bytecode cache misses an edit of the same second and the same length."""

    def get_code(self, fullname):
        return self.source_to_code(self.get_data(self.path), self.path)


def _load(path: Path, required: Sequence[str]) -> ModuleType:
    shown, name = f"{path.parent.name}/{path.name}", f"experiments.{path.parent.name}.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path, loader=_FromSource(name, str(path)))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise ConfigError(f"{error.filename or path}, line {error.lineno}: {error.msg}") from None
    except FileNotFoundError as error:
        if error.filename == str(path):
            raise ConfigError(f"the experiment {path.parent.name} has no {path.name}") from None
        raise ConfigError(f"{shown}{line_in(path, error)}: {error}") from error
    except Exception as error:
        raise ConfigError(f"{shown}{line_in(path, error)}: {type(error).__name__}: {error}") from error
    missing = [name for name in required if not hasattr(module, name)]
    if missing:
        raise ConfigError(f"{shown} is not what an experiment needs: it has no {' and no '.join(missing)}")
    return module


def line_in(path: Path, error: BaseException) -> str:
    """ ", line 12": the last line of the file that the error passed through; "" if it passed through none."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f", line {lines[-1]}" if lines else ""


def require_extra(cells: ModuleType) -> None:
    """Checks that what an experiment needs beyond the package is there: its EXTRA, {name of the extra: its modules}.

    Raises:
      ConfigError: something is missing; the message says how to install it.
    """
    for extra, modules in getattr(cells, "EXTRA", {}).items():
        missing = [name for name in modules if importlib.util.find_spec(name) is None]
        if missing:
            raise ConfigError(f"this experiment needs {' and '.join(missing)}: pip install -e '.[{extra}]'")


def plan(
    cells: ModuleType,
    given: Mapping[str, Any] | None = None,
    wanted: Mapping[str, Sequence[str]] | None = None,
    limit: int | None = None,
    note: Callable[[str], None] = lambda text: None,
    *,
    base: Config | None = None,
    swept: Mapping[str, Sequence[str]] | None = None,
    studies: axes.Studies | None = None,
) -> list[Cell]:
    """The cells of all studies, every config built and checked before any is run.

    A cell that is in several studies is there once. So is a program that the given values make out of several cells;
    it is measured as carefully as the most careful of them. Cells that cannot be with the given values are left out.

    Args:
      cells: the experiment's cells.py; its TASKS and its `check` are asked of every config.
      given: overrides of the base; a key that a study varies is pinned to its given value.
      wanted: as `sweep.only` takes it.
      limit: the first so many cells alone.
      note: called with a sentence for people when cells are left out.
      base: in the place of the experiment's BASE (`Experiment.base`); the studies are scaled to it (`axes.scaled`).
      swept: a user's own values, as `axes.values` takes them. They replace those of the studies that vary the key; a
        study that does not keeps the base's value, or the first swept one with which a cell can be
        (`axes.completed`); a key that no study varies is crossed into all of them.
      studies: those of a size (`Experiment.studies`); None: the quick one's, STUDIES.

    Raises:
      ConfigError: an unknown key, axis or value, given values that cannot be, or no cell that can be with them.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"--limit {limit}: must be at least 1")
    given, base = dict(given or {}), base or cells.BASE
    studies = cells.STUDIES if studies is None else studies
    studies = studies if base is cells.BASE else axes.scaled(studies, cells.BASE, base)
    own = axes.values(swept or {}, studies, base)
    axes.require_read(given, own, getattr(cells, "UNREAD", ()), getattr(cells, "SWEEPS", None))
    named = {key: value for key, value in given.items() if key in ("task.name", "task.data_dir")}
    config_of = partial(_config, base, cells)
    keys.require_read(_of_task(base, cells, named).task, [*given, *own])
    studies = _varied(studies, given, own, base, config_of, note)
    chosen = only(chain(*studies.values()), wanted or {})
    strict = base is cells.BASE and not own and not (given and _can_be(config_of, given))
    found: dict[str, Cell] = {}
    impossible: list[tuple[Override, ConfigError]] = []
    for overrides in chosen:
        try:
            config = config_of(given | overrides)
        except ConfigError as error:
            where = " ".join(f"{key}={value}" for key, value in overrides.items())
            impossible.append((overrides, ConfigError(f"{error} (in the cell {where})")))
            if strict:
                raise impossible[0][1] from None
            continue
        cell = _cell(config, overrides, [name for name, of_study in studies.items() if overrides in of_study])
        program = _program(config, given)
        found[program] = _merged(found[program], cell) if program in found else cell
    if not found:
        raise impossible[0][1] if impossible else ConfigError("the experiment's studies are empty")
    if not wanted:
        axes.require_each(own, [cell.overrides for cell in found.values()], impossible)
    if impossible:
        count, are = ("1 cell", "is") if len(impossible) == 1 else (f"{len(impossible)} cells", "are")
        note(f"{count} cannot be with these options and {are} left out: {impossible[0][1]}")
    return _with_what_follows(list(found.values())[:limit], {k: v for k, v in flatten(base).items() if k not in given})


def _config(base: Config, cells: ModuleType, overrides: Override) -> Config:
    """The base with the overrides; what a recurrence's width is matched to must be possible as well."""
    config = _of_task(base, cells, overrides)
    getattr(cells, "check", lambda config: None)(config)
    if getattr(config.measure, "matching", "width") != "width":
        with_overrides(config, {"model.mixer": "attention"})
    return config


def _of_task(base: Config, cells: ModuleType, overrides: Override) -> Config:
    """The base with the overrides, of a task that the experiment runs on."""
    config = with_overrides(base, overrides)
    name, tasks = config.task.name, getattr(cells, "TASKS", (cells.BASE.task.name,))
    possible = tasks is None or name in tasks
    require(possible, f"task.name={name}: this experiment runs on {', '.join(tasks or ())} alone")
    return config


def _varied(
    studies: axes.Studies,
    given: Override,
    own: Mapping[str, Sequence],
    base: Config,
    config_of: Callable[[Override], Config],
    note: Callable[[str], None],
) -> axes.Studies:
    """The studies with given keys pinned, and others swept over a user's own values."""
    if both := given.keys() & own.keys():
        key = min(both)
        raise ConfigError(f"{key} is given by --{key.replace('_', '-')} and by --sweep: give one of them")
    studies = {name: pin(overrides, given) for name, overrides in studies.items()}
    if not own:
        return studies
    flat = flatten(base) | given
    studies = axes.replaced(studies, own, flat)
    studies, taken = axes.completed(studies, own, lambda override: config_of(given | override), flat)
    for key, values in taken.items():
        note(
            f"{key} stays {flat[key]} where a study does not vary it; cells that cannot be with that take the first"
            f" value of --sweep with which they can: {', '.join(map(str, values))}"
        )
    return studies


def _cell(config: Config, overrides: Override, studies: Sequence[str]) -> Cell:
    flat = flatten(config)
    identity = canonical_json(config, without=NOT_IN_KEY)
    return Cell({key: flat[key] for key in overrides}, config, identity, tuple(studies))


def _with_what_follows(cells: list[Cell], known: Mapping[str, Any]) -> list[Cell]:
    """The cells with what their config works out itself among the overrides: a row holds nothing else of its own, and
    would be read as that of another cell. known: what the header says of all."""
    flat = [flatten(cell.config) for cell in cells]
    follows = {key for cell, values in zip(cells, flat, strict=True) for key in known
               if key not in cell.overrides and values[key] != known[key]}  # fmt: skip
    return [replace(cell, overrides=cell.overrides | {key: values[key] for key in sorted(follows)})
            for cell, values in zip(cells, flat, strict=True)]  # fmt: skip


def _merged(one: Cell, other: Cell) -> Cell:
    """The more careful of two cells that are one program, in the studies of both."""
    kept = max(one, other, key=lambda cell: (cell.config.measure.rounds, cell.config.measure.min_sample_seconds))
    return Cell(kept.overrides, kept.config, kept.identity, tuple(dict.fromkeys(one.studies + other.studies)))


def _can_be(config_of: Callable[[Override], Config], given: Override) -> bool:
    """Whether given values can be without a study's: if so, it is with a study's that they clash."""
    try:
        return config_of(given) is not None
    except ConfigError:
        return False


def _program(config: Config, given: Mapping[str, Any]) -> str:
    """The config as text without what does not decide what is measured: how it is sampled and, once the mixer is
    given, what that mixer does not read. Where its width is matched to another mixer's cost, it reads all."""
    unread = ()
    if "model.mixer" in given and getattr(config.measure, "matching", "width") == "width":
        unread = tuple(f"model.{key}" for key in config.model.unread)
    return canonical_json(config, without=(*SAMPLING, *unread))
