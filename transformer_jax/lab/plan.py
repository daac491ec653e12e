"""An experiment is one file that answers one question; it is found by being in experiments/."""

import hashlib
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from transformer_jax import rows
from transformer_jax.config import Config, ConfigError, canonical_json, flatten, nearest, with_overrides
from transformer_jax.lab.sweep import only, pin

PACKAGE = Path(__file__).resolve().parent
FOLDER = PACKAGE.parent / "experiments"

CONTRACT = ("BASE", "SWEEP", "cell", "report")

SAMPLING = ("measure.rounds", "measure.min_sample_seconds")
OF_ATTENTION = ("model.attention", "model.num_heads", "model.num_kv_heads", "model.head_dim")
OF_RECURRENCES = ("model.recurrence", "model.recurrent_dim")


@dataclass(frozen=True)
class Cell:
    """One configuration of a sweep."""

    overrides: dict[str, Any]  # what the sweep sets
    config: Config  # all of it
    identity: str  # the config as text, without what only says how often it is measured


def names() -> list[str]:
    """The names of all experiments, sorted."""
    return sorted(path.stem for path in FOLDER.glob("[a-z]*.py"))


def find(name: str) -> Path:
    """The file of the experiment of that name.

    Raises:
      ConfigError: no such experiment; a path is never one, so that a name cannot lead out of the folder.
    """
    if name not in names():
        raise ConfigError(f"unknown experiment {name!r}{nearest(name, names())}")
    return FOLDER / f"{name}.py"


class _FromSource(SourceFileLoader):
    """Reads the text each time: Python's bytecode cache misses an edit of the same second and the same length."""

    def get_code(self, fullname):
        return self.source_to_code(self.get_data(self.path), self.path)


def load(path: Path) -> ModuleType:
    """The experiment in that file, as a module: BASE, SWEEP, cell, report, perhaps predict, USES_JAX and EXTRA.

    Raises:
      ConfigError: a part of the contract is missing, or the file is not Python.
    """
    name = f"experiment_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path, loader=_FromSource(name, str(path)))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise ConfigError(f"{path.name}, line {error.lineno}: {error.msg}") from None
    missing = [name for name in CONTRACT if not hasattr(module, name)]
    if missing:
        raise ConfigError(f"{path.name} is not an experiment: it has no {' and no '.join(missing)}")
    return module


def require_extra(module: ModuleType) -> None:
    """Checks that what an experiment needs beyond the package is there: its EXTRA, {name of the extra: its modules}.

    Raises:
      ConfigError: something is missing; the message says how to install it.
    """
    for extra, modules in getattr(module, "EXTRA", {}).items():
        missing = [name for name in modules if importlib.util.find_spec(name) is None]
        if missing:
            raise ConfigError(f"this experiment needs {' and '.join(missing)}: pip install -e '.[{extra}]'")


def plan(
    module: ModuleType,
    given: Mapping[str, Any] | None = None,
    wanted: Mapping[str, Sequence[str]] | None = None,
    limit: int | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> list[Cell]:
    """All cells, every config built and checked, before any is run.

    What the given values make impossible in combination with the sweep's own is left out; what they make equal is
    measured once, as carefully as the sweep asks for.

    Args:
      module: the experiment.
      given: overrides of the base; a swept key is pinned to its given value.
      wanted: as `sweep.only` takes it.
      limit: the first so many cells alone.
      say: is told in words if cells are left out.

    Raises:
      ConfigError: an unknown key, axis or value, given values that cannot be, or no cell that can be with them.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"--limit {limit}: must be at least 1")
    given = dict(given or {})
    cells: dict[str, Cell] = {}
    impossible = []
    for overrides in only(pin(module.SWEEP, given), wanted or {}):
        try:
            config = with_overrides(module.BASE, given | overrides)
        except ConfigError as error:
            where = " ".join(f"{key}={value}" for key, value in overrides.items())
            impossible.append(ConfigError(f"{error} (in the cell {where})"))
            if not _can_be(module.BASE, given):
                raise impossible[0] from None
            continue
        flat, identity = flatten(config), canonical_json(config, without=rows.NOT_IN_KEY)
        cell = Cell({key: flat[key] for key in overrides}, config, identity)
        program = _program(config, given)
        cells[program] = max(cells.get(program, cell), cell, key=_care)
    if not cells:
        raise impossible[0] if impossible else ConfigError("the sweep is empty")
    if impossible:
        say(f"left out, as they cannot be with these options: {len(impossible)} of the sweep's cells: {impossible[0]}")
    return list(cells.values())[:limit]


def _can_be(base: Config, given: Mapping[str, Any]) -> bool:
    """Whether the given values, if any, can be by themselves: what then cannot be is their clash with the sweep."""
    try:
        return bool(given) and with_overrides(base, given) is not None
    except ConfigError:
        return False


def _program(config: Config, given: Mapping[str, Any]) -> str:
    """The config as text without what does not decide what is measured: how it is sampled and, once the mixer is
    given, what that mixer does not read (the width which another one is matched to, it reads)."""
    unread = ()
    if "model.mixer" in given and config.measure.matching == "width":
        unread = OF_RECURRENCES if config.model.mixer == "attention" else OF_ATTENTION
    return canonical_json(config, without=(*SAMPLING, *unread))


def _care(cell: Cell) -> tuple[int, float]:
    return cell.config.measure.rounds, cell.config.measure.min_sample_seconds


def code_version(path: Path) -> str:
    """Twelve hex digits that change with the experiment's file or the package's sources.

    The report room is left out: it draws rows and cannot change them.
    """
    digest = hashlib.sha256()
    sources = (path.name, path), *((s.relative_to(PACKAGE).as_posix(), s) for s in sorted(PACKAGE.rglob("*.py")))
    for name, source in sources:
        if PACKAGE / "report" not in source.parents:
            digest.update(name.encode() + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()[:12]
