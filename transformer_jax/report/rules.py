"""How a question is decided: a rule in words and in code, written before the run; its digest; the common decisions."""

import ast
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from math import isfinite
from pathlib import Path
from types import FunctionType, ModuleType, NoneType
from typing import Any, Literal

from transformer_jax.config import MIXERS
from transformer_jax.host.provenance import ROOT
from transformer_jax.intervals import NOTHING, Estimate


class Verdict(StrEnum):
    """What a rule makes of the estimates."""

    SUPPORTED = "SUPPORTED"
    REFUTED = "REFUTED"
    TASK_DEPENDENT = "TASK-DEPENDENT"
    INCONCLUSIVE = "INCONCLUSIVE"


@dataclass(frozen=True)
class Rule:
    """How a question will be decided, written before the run: in a sentence, and as a function of the estimates."""

    text: str
    decide: Callable[[Mapping[str, Estimate]], Verdict]
    reads: tuple[Any, ...] = ()
    """What makes of rows the estimates that it reads: functions of the report and constants. They are part of the
    digest, with what they use of their own folder; the kit that they call is not."""


TOPS = ("transformer_jax", "experiments")
"""The folders of this checkout whose functions a rule may rest on."""

SCALARS = (bool, int, float, str, NoneType)
Decide = Callable[[Mapping[str, Estimate]], Verdict]


def all_above(limit: float = 0.0, below: float | None = None) -> Decide:
    """SUPPORTED where the interval of every estimate lies above the limit, REFUTED where every one lies below it (or
    below `below`), TASK-DEPENDENT where some lie above and some below; else, or where one is not measured,
    INCONCLUSIVE."""
    low = limit if below is None else below
    return lambda estimates: _sides(
        estimates, {name for name, e in estimates.items() if e.low > limit},
        {name for name, e in estimates.items() if e.high < low},
    )  # fmt: skip


def all_below(limit: float = 0.0) -> Decide:
    """As `all_above`, with below for above."""
    return lambda estimates: _sides(
        estimates, {name for name, e in estimates.items() if e.high < limit},
        {name for name, e in estimates.items() if e.low > limit},
    )  # fmt: skip


def only_recurrences(loses: Callable[[Estimate], bool | None]) -> Decide:
    """Of estimates by name, those whose name begins with "attention" against the others, recurrences.

    loses: whether an estimate is of what recurrences are said to have and attention not; None: that is open.

    SUPPORTED where no estimate of attention is and every other is; REFUTED where all of attention's are or none of the
    others is; TASK-DEPENDENT where it is neither; INCONCLUSIVE where one is open or not measured, or a kind is missing.
    """

    def decide(estimates: Mapping[str, Estimate]) -> Verdict:
        attention, recurrent = (
            {loses(estimate) if estimate.n else None for name, estimate in estimates.items()
             if name.startswith("attention") == mine}
            for mine in (True, False)
        )  # fmt: skip
        if None in attention | recurrent or not (attention and recurrent):
            return Verdict.INCONCLUSIVE
        if attention == {False} and recurrent == {True}:
            return Verdict.SUPPORTED
        return Verdict.REFUTED if attention == {True} or recurrent == {False} else Verdict.TASK_DEPENDENT

    return decide


def with_missing(found: Mapping[str, Estimate], names: Iterable[str]) -> dict[str, Estimate]:
    """The estimates, and NOTHING under each of the names that has none: a rule asks for it, and it was not measured."""
    return dict(found) | {name: NOTHING for name in names if name not in found}


def of_at_least(n: int, decide: Decide, estimates: int = 1) -> Decide:
    """As `decide`; INCONCLUSIVE where an estimate is of fewer than n seeds (or rounds), or where there are fewer
    estimates than so many."""

    def enough(found: Mapping[str, Estimate]) -> Verdict:
        few = len(found) < estimates or any(one.n < n for one in found.values())
        return Verdict.INCONCLUSIVE if few else decide(found)

    return enough


SIDES = (*MIXERS, "recurrences")


def sooner(split: Literal["wins", "solves"]) -> Decide:
    """Of `points.reached` by "task, who" or "task: who": the steps of attention against the soonest of the others.

    A side wins a task that it solves within half of the steps if the other does not solve it within all. SUPPORTED
    where attention wins every task, REFUTED where the others do; TASK-DEPENDENT where one side wins a task and the
    other wins or solves (`split`) another; else INCONCLUSIVE.

    Raises (when it decides):
      ValueError: an estimate's name ends in none of SIDES.
    """

    def decide(estimates: Mapping[str, Estimate]) -> Verdict:
        tasks: dict[str, tuple[list, list]] = {}
        for name, estimate in estimates.items():
            task, who = re.fullmatch("(.*)[,:] (.*)", name).groups()
            if who not in SIDES:
                raise ValueError(f"{name!r} names no side: {', '.join(SIDES)}")
            tasks.setdefault(task, ([], []))[who != "attention"].append(estimate)
        if not tasks or not all(mine and others for mine, others in tasks.values()):
            return Verdict.INCONCLUSIVE
        attention, others = ([soonest(sides[side]) for sides in tasks.values()] for side in (0, 1))
        won, lost = list(map(_wins, attention, others)), list(map(_wins, others, attention))
        if all(won) or all(lost):
            return Verdict.SUPPORTED if all(won) else Verdict.REFUTED
        solved = [any(isfinite(one.high) for one in side) for side in (attention, others)]
        apart = any(won) and any(lost) if split == "wins" else any(won + lost) and all(solved)
        return Verdict.TASK_DEPENDENT if apart else Verdict.INCONCLUSIVE

    return decide


def soonest(steps: Iterable[Estimate]) -> Estimate:
    """Of `points.reached` the one that came first."""
    return min(steps, key=lambda one: (one.low, one.high))


def _wins(mine: Estimate, other: Estimate) -> bool:
    return mine.high * 2 <= other.low and not isfinite(other.high)


def _sides(estimates: Mapping[str, Estimate], for_it: set[str], against_it: set[str]) -> Verdict:
    if not estimates or any(estimate.n == 0 for estimate in estimates.values()):
        return Verdict.INCONCLUSIVE
    if len(for_it) == len(estimates):
        return Verdict.SUPPORTED
    if len(against_it) == len(estimates):
        return Verdict.REFUTED
    return Verdict.TASK_DEPENDENT if for_it and against_it else Verdict.INCONCLUSIVE


def digest(rule: Rule) -> str:
    """Changes with the rule's text and with what decides: the syntax of the statement that holds the function, what it
    is given (arguments of a factory or a partial, defaults), and the constants and functions of this checkout that it
    uses, wherever they stand; and with what the rule `reads`. Comments and docstrings change nothing.

    Raises:
      TypeError: what decides is no Python function.
    """
    found: dict[Any, str] = {}
    home = Path(_function(rule.decide).__code__.co_filename).parent
    _decides(rule.decide, home, found)
    for one in rule.reads:
        own = Path(one.__code__.co_filename).parent if isinstance(one, FunctionType) else home
        _decides(one, own, found, tops=())
    return hashlib.sha256(repr((rule.text, sorted(found.values()))).encode()).hexdigest()[:16]


def _function(decide: Callable) -> FunctionType:
    while isinstance(decide, partial):
        decide = decide.func
    if not isinstance(decide, FunctionType):
        raise TypeError(f"a rule decides by a function, not by {decide!r}")
    return decide


def _decides(value: Any, home: Path, found: dict[Any, str], within: tuple[int, ...] = (), tops=TOPS) -> None:
    """Collects, by what it is, a text for the value and for each that it rests on.

    within: ids of the containers and functions that are being read: one that holds itself is read once.
    tops: the folders beside `home` whose functions are read.
    """
    if id(value) in within:
        return
    inside = (*within, id(value))
    if isinstance(value, partial):
        for part in (value.func, *value.args, *value.keywords.items()):
            _decides(part, home, found, inside, tops)
    elif isinstance(value, FunctionType):
        path, line = Path(value.__code__.co_filename), value.__code__.co_firstlineno
        if not _is_ours(path, home, tops):
            return
        given = [cell.cell_contents for cell in value.__closure__ or ()] + [value.__defaults__, value.__kwdefaults__]
        for one in given:
            _decides(one, home, found, inside, tops)
        if (path, line) in found:
            return
        body = ast.parse(path.read_text()).body
        statement = next(node for node in body if _first_line(node) <= line <= node.end_lineno)
        found[path, line] = ast.unparse(_without_docstrings(statement))
        known = value.__globals__
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and node.id in known:
                if isinstance(known[node.id], SCALARS):  # by its name: two that change places are another rule
                    found[node.id, path] = f"{node.id}={known[node.id]!r}"
                else:
                    _decides(known[node.id], home, found, inside, tops)
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                of_module = known.get(node.value.id)
                if isinstance(of_module, ModuleType):
                    _decides(getattr(of_module, node.attr, None), home, found, inside, tops)
    elif isinstance(value, SCALARS):
        found[repr(value)] = repr(value)
    elif isinstance(value, (tuple, list, set, dict)):
        parts = (
            value.items() if isinstance(value, dict) else sorted(value, key=repr) if isinstance(value, set) else value
        )
        inner: dict[Any, str] = {}
        for part in parts:
            _decides(part, home, inner, inside, tops)
        found[tuple(inner.values())] = repr(list(inner.values()))


def _is_ours(path: Path, home: Path, tops: Sequence[str]) -> bool:
    """Whether a file is the project's; an environment inside the checkout holds those of others."""
    return any(path.is_relative_to(top) for top in (home, *(ROOT / name for name in tops)))


def _first_line(node: ast.stmt) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", ()))])


def _without_docstrings(node: ast.stmt) -> ast.stmt:
    for inner in ast.walk(node):
        if isinstance(inner, (ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(inner) is not None:
            inner.body = inner.body[1:] or [ast.Pass()]
    return node
