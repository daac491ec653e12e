"""The code version of an experiment: a hash of everything that its cells.py imports, directly or through others.

Read are files of this checkout alone, imports inside functions included, and the `__init__.py` of every package on the
way. Hashed is their syntax: comments, docstrings and the texts below fields change no version, nor does a file that no
cell can reach, such as a report, a page, a progress bar or another task. What cells.py says of a run and not of a cell
(UNMEASURED: which cells there are, whether several run at once, which options are refused, what they may take; and
private names that nothing else uses) changes none either: a cell's values are in its own key.
"""

import ast
import hashlib
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from transformer_jax.host.provenance import ROOT

TOPS = ("transformer_jax", "configs", "experiments")
UNMEASURED = (
    "BUDGET", "FULL", "SIDE_BY_SIDE", "STUDIES", "SWEEPS", "TAKES", "TASKS", "UNREAD", "check", "predict", "time_limit",
)  # fmt: skip
_NOT_SYNTAX = {"ctx", "kind", "type_comment", "type_ignores"}
_PRIVATE = re.compile("_[a-zA-Z]")


class Source(NamedTuple):
    """A module without its comments."""

    digest: bytes
    imports: tuple[tuple[int, str, tuple[str, ...]], ...]
    """(level, module, names) of each import statement; level 0 is absolute, and names are what is taken from there."""


def code_version(cells: Path, root: Path = ROOT) -> str:
    """Twelve hex digits of the closure of `cells`, an experiment's cells.py.

    Raises:
      SyntaxError: a file of the closure is not Python.
    """
    digest = hashlib.sha256()
    for name, path in sorted(closure(cells, root).items()):
        digest.update(name.encode() + b"\0" + source(path.read_bytes(), path == cells).digest)
    return digest.hexdigest()[:12]


def closure(cells: Path, root: Path = ROOT) -> dict[str, Path]:
    """The files of the checkout at `root` that `cells` imports, and itself, by the dotted names of their modules."""
    own = f"experiments.{cells.parent.name}.{cells.stem}"
    found, waiting = {own: cells}, [own]
    while waiting:
        name = waiting.pop()
        is_package = found[name].name == "__init__.py"
        for imported in _imported(name, is_package, source(found[name].read_bytes(), name == own)):
            path = _file(imported, root)
            if path and imported not in found:
                found[imported] = path
                waiting.append(imported)
    return found


def _imported(importer: str, is_package: bool, of: Source) -> set[str]:
    """The dotted names that may be modules of the checkout, with the packages that hold them."""
    names = set()
    for level, module, taken in of.imports:
        parents = importer.split(".") if is_package else importer.split(".")[:-1]
        above = parents[: len(parents) - level + 1] if level else []
        parts = [*above, *filter(None, module.split("."))]
        if parts[:1] and parts[0] in TOPS:
            names |= {".".join(parts[:end]) for end in range(1, len(parts) + 1)}
            names |= {".".join([*parts, name]) for name in taken}
    return names


def _file(name: str, root: Path) -> Path | None:
    place = root.joinpath(*name.split("."))
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)


@cache
def source(text: bytes, is_cells: bool = False) -> Source:
    """Hashes a module's syntax and lists its imports, in one walk; kept by the text while the process lives.

    is_cells: leave out what is UNMEASURED.
    """
    pieces: list[str] = []
    imports: list[tuple[int, str, tuple[str, ...]]] = []
    write = pieces.append

    def walk(node) -> None:
        kind = type(node)
        if kind is list:
            write("[")
            for item in node:
                if not (type(item) is ast.Expr and type(item.value) is ast.Constant and type(item.value.value) is str):
                    walk(item)
            write("]")
        elif isinstance(node, ast.AST):
            if kind is ast.ImportFrom:
                imports.append((node.level, node.module or "", tuple(alias.name for alias in node.names)))
            elif kind is ast.Import:
                imports.extend((0, alias.name, ()) for alias in node.names)
            write(kind.__name__)
            write("(")
            for name, value in node.__dict__.items():
                if name in fields[kind] and value is not None and value != []:
                    write(name)
                    walk(value)
            write(")")
        else:
            write(repr(node))

    fields = _Fields()
    module = ast.parse(text)
    if is_cells:
        module.body = _measured(module.body)
    walk(module)
    return Source(hashlib.sha256("\0".join(pieces).encode()).digest(), tuple(imports))


def _measured(body: Sequence[ast.stmt]) -> list[ast.stmt]:
    """Without what is UNMEASURED, and without private names that nothing else uses: they help to make the studies."""
    kept = [statement for statement in body if not defined(statement) <= set(UNMEASURED)]
    while True:
        named = ((node.id, one) for one in kept for node in ast.walk(one) if isinstance(node, ast.Name))
        used = {name for name, one in named if name not in defined(one)}
        left = [one for one in kept if not all(map(_PRIVATE.match, defined(one))) or defined(one) & used]
        if len(left) == len(kept):
            return kept
        kept = left


def defined(statement: ast.stmt) -> set[str]:
    """What a statement of a module defines."""
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", statement)]
    each = [part for target in targets for part in (target.elts if isinstance(target, ast.Tuple) else [target])]
    return {getattr(target, "id", getattr(target, "name", "")) for target in each}


class _Fields(dict):
    """By kind of node, the names of its fields that are syntax: no line numbers, and none that a Python may lack."""

    def __missing__(self, kind: type) -> frozenset[str]:
        self[kind] = frozenset(kind._fields) - _NOT_SYNTAX
        return self[kind]
