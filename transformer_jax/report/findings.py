"""What a report is made of: findings with their estimates, rules that judge them, and what holds for all of them."""

import ast
import hashlib
import inspect
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import isfinite
from statistics import median
from types import FunctionType

from transformer_jax.intervals import Estimate
from transformer_jax.report.plots import Figure
from transformer_jax.report.points import Rows, groups, mean, merge
from transformer_jax.report.tables import Table, shown


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


@dataclass(frozen=True)
class Finding:
    """A question, what was found in one line, and the numbers that it rests on.

    The rule judges them together; without one, `judge` says a word of each.
    """

    question: str
    text: str
    estimates: Mapping[str, Estimate] = field(default_factory=dict)
    rule: Rule | None = None
    judge: Callable[[Estimate], str] | None = None

    @property
    def verdict(self) -> str:
        """The rule's, which needs at least one measured number; without a rule the words said of the numbers."""
        measured = [estimate for estimate in self.estimates.values() if estimate.n]
        if self.rule is not None:
            return self.rule.decide(self.estimates) if measured else Verdict.INCONCLUSIVE
        return ", ".join(dict.fromkeys(filter(None, map(self.judge, measured)))) if self.judge else ""

    @property
    def numbers(self) -> list[str]:
        """Each estimate with its name, and with its word where there is more than one."""
        words = {n: self.judge(e) if self.judge and e.n and len(self.estimates) > 1 else "" for n, e in self.estimates.items()}
        return [f"{name}: {shown(estimate)} {words[name]}".rstrip() for name, estimate in self.estimates.items()]

    @property
    def answer(self) -> str:
        """Text, numbers and verdict in one line."""
        return f"{self.text} {'; '.join(self.numbers)}" + (f" ({self.verdict})" if self.verdict else "")


@dataclass(frozen=True)
class Report:
    """What an experiment found: few answers first, the figures that show them, and what the answers leave open."""

    question: str
    answers: Sequence[Finding] = ()
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()
    limits: Sequence[str] = ()


def digest(rule: Rule) -> str:
    """Changes with the rule's text and with the syntax of what decides: the function, and the functions and constants
    of its module that it uses. Comments and docstrings change nothing."""
    seen: dict[str, str] = {}
    _collect(rule.decide, seen)
    return hashlib.sha256(repr((rule.text, sorted(seen.items()))).encode()).hexdigest()[:16]


def _collect(function: FunctionType, seen: dict[str, str]) -> None:
    """Adds the syntax of the function, and of what it reads outside itself, by name."""
    nodes = _syntax(function.__code__.co_filename, function.__code__.co_firstlineno)
    seen[function.__qualname__] = "\n".join(ast.unparse(node) for node in nodes)
    used = {n.id for node in nodes for n in ast.walk(node) if isinstance(n, ast.Name)}
    for name, value in sorted((inspect.getclosurevars(function).nonlocals | function.__globals__).items()):
        if name not in used or name in seen:
            continue
        if isinstance(value, FunctionType):
            if value.__module__ == function.__module__:
                _collect(value, seen)
        elif not inspect.ismodule(value) and not inspect.isclass(value):
            seen[name] = repr(sorted(value, key=repr) if isinstance(value, (set, frozenset)) else value)


def _syntax(file: str, line: int) -> list[ast.AST]:
    """The functions that begin on a line of a file, without their docstrings."""
    with open(file) as source:
        tree = ast.parse(source.read())
    found = []
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.Lambda)) and line == _first_line(node):
            if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
                node.body = node.body[1:] or [ast.Pass()]
            found.append(node)
    return found


def _first_line(node: ast.FunctionDef | ast.Lambda) -> int:
    return min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])


def conditions(rows: Rows, y: str = "step_seconds") -> list[str]:
    """What holds for all rows: shared config, how many cells succeeded, how wide the intervals of a cell's y are."""
    lines = merge(rows)
    if not lines:
        return ["No row: nothing was measured."]
    counts = Counter(line["status"] for line in lines)
    found = [f"Of {len(lines)} cells {', '.join(f'{n} {status}' for status, n in counts.most_common())}."]
    same = {
        name: value for name, value in lines[0].items()
        if name.startswith(("model.", "task.")) and value not in (None, []) and all(x.get(name) == value for x in lines)
    }  # fmt: skip
    if same:
        found.append(f"All share {', '.join(f'{name} = {value}' for name, value in same.items())}.")
    cells = (mean(part, y) for part in groups(rows, "key").values() if any(y in row for row in part))
    widths = sorted((e.high - e.low) / 2 / e.value for e in cells if e.n > 1 and isfinite(e.low) and e.value > 0)
    if widths:
        found.append(
            f"The 95 % interval of a cell's {y.replace('_', ' ')} reaches ±{median(widths):.0%} (median over cells;"
            f" in nine of ten less than ±{widths[int(0.9 * (len(widths) - 1))]:.0%}). Noise widens intervals and nothing"
            " else: no sample is discarded and no finding vetoed."
        )
    cached = [line["compile_cached"] for line in lines if line.get("compile_cached") is not None]
    if cached:
        found.append(f"Loaded from the compilation cache, not compiled: {sum(cached)} of {len(cached)} programs.")
    return found
