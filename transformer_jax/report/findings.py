"""What a report is made of: findings with their estimates, rules that judge them, and what holds for all of them."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from statistics import median

from transformer_jax.intervals import Estimate
from transformer_jax.report.plots import Figure
from transformer_jax.report.points import Rows, groups, mean, merge, shared
from transformer_jax.report.rules import Rule, Verdict
from transformer_jax.report.tables import Table, shown

OPEN = ("undecided", "INCONCLUSIVE")
"""Words of verdicts that another run could make definite."""
AT_EDGE = "The chosen rate is the lowest or highest that was tried"
"""What is noted of rows with a `rate_at_edge`."""
SOONEST = (
    "The learning rate is the one at which a seed that no answer uses reaches what is asked in the fewest steps; among"
    " rates that reach it at the same evaluation, or where none does, the one that is best in the end."
)
"""How `lab.tuned` chose it where a rule asks how soon, for a report's limits."""


@dataclass(frozen=True)
class Finding:
    """A question, what was found in one line, and the numbers that it rests on.

    The rule judges them together; without one, `judge` says a word of each, or `word` one of all. of: what was
    measured, under the question. bounded: the word gives bounds, between which another run could decide. lacking: why
    an estimate has no number.
    """

    question: str
    text: str
    estimates: Mapping[str, Estimate] = field(default_factory=dict)
    rule: Rule | None = None
    judge: Callable[[Estimate], str] = lambda estimate: ""
    word: str = ""
    of: str = ""
    bounded: bool = False
    lacking: str = "not measured, or too little"

    @property
    def verdict(self) -> str:
        """The rule's, which needs at least one measured number; without a rule the words said of the numbers."""
        measured = [estimate for estimate in self.estimates.values() if estimate.n]
        if self.rule is not None:
            return self.rule.decide(self.estimates) if measured else Verdict.INCONCLUSIVE
        return self.word or ", ".join(dict.fromkeys(filter(None, map(self.judge, measured))))

    @property
    def open(self) -> bool:
        """Something in the verdict is not definite, and a longer run could decide it: no run of the same cells measures
        what is missing."""
        missing = self.missing or (self.rule is not None and not self.estimates)
        return not missing and (self.bounded or any(word in self.verdict for word in OPEN))

    @property
    def numbers(self) -> list[str]:
        """Each estimate that was made: name, value, interval, word."""
        return [f"{name}: {shown(e)} {self.judge(e)}".rstrip() for name, e in self.estimates.items() if e.n]

    @property
    def missing(self) -> str:
        """The names of the estimates that the rows do not give, in one line; empty where they give all."""
        names = "; ".join(name for name, estimate in self.estimates.items() if not estimate.n)
        return f"{self.lacking}: {names}" if names else ""

    @property
    def answer(self) -> str:
        """Text, numbers, what is missing, and the verdict in one line."""
        found = "; ".join(filter(None, (*self.numbers, self.missing)))
        return f"{self.text} {found} {self.verdict}".strip()


@dataclass(frozen=True)
class Report:
    """What an experiment found: few answers first, the figures that show them, and what the answers leave open.

    setting: what was compared, in a sentence under the question; notes stand under the answers, limits are folded away.
    heads: what stands above the answers' columns; one that is empty in all of them is not shown. None among answers,
    figures and tables is one that these rows do not give.
    """

    question: str
    answers: Sequence[Finding | None] = ()
    figures: Sequence[Figure | None] = ()
    tables: Sequence[Table | None] = ()
    limits: Sequence[str] = ()
    setting: str = ""
    notes: Sequence[str] = ()
    heads: tuple[str, str, str, str] = ("question", "answer", "number [95 % interval]", "verdict")

    def __post_init__(self):
        for name in ("answers", "tables"):
            object.__setattr__(self, name, tuple(filter(None, getattr(self, name))))


def note(what: str, where: Iterable[str]) -> list[str]:
    """Of what something holds, each named once; no note where it holds of nothing."""
    names = ", ".join(dict.fromkeys(where))
    return [f"{what}: {names}."] if names else []


def chance(ratios: int) -> str:
    """How to read the words of a report with so many ratios, and how many of them are chance, where there are some."""
    count = f"{ratios / 20:.0f}" if ratios >= 20 else f"{ratios / 20:.1g}"
    many = f": {count}, were all {ratios} ratios here of equal ones" if ratios > 1 else ""
    return (
        "[95 % interval over the passes of this run; under another load of the machine ratios differ by more.] Slower,"
        f" faster: the interval excludes 1. For equal programs one in twenty does so by chance{many}."
    )


def undrawn(rows: Rows, figures: Sequence[Figure | None]) -> Table:
    """The measured cells that no figure shows, one a line: nothing that was measured is passed over."""
    keys = frozenset().union(*(figure.keys for figure in figures if figure))
    cells = [cell for cell in merge([row for row in rows if row.get("key") not in keys]) if cell["status"] == "ok"]
    same = shared(merge(rows)) if len(cells) > 1 else {}
    columns = list(dict.fromkeys(c for cell in cells for c in cell if "." in c and c not in same))
    times = [cell.get("step_seconds_median", cell.get("step_seconds")) for cell in cells]
    found = tuple((*(cell.get(c) for c in columns), time) for cell, time in zip(cells, times, strict=True))
    title = f"Measured, and in no figure ({len(cells)})"
    return Table(title, (*(c.rpartition(".")[2] for c in columns), "seconds"), found)


def conditions(rows: Rows, y: str = "step_seconds") -> list[str]:
    """What holds for all rows: shared config, how many cells succeeded, how wide the intervals of a cell's y are."""
    cells = merge(rows)
    statuses = {cell.get("key"): cell["status"] for cell in cells}  # a cell may have given several rows
    counts = ", ".join(f"{n} {status}" for status, n in Counter(statuses.values()).most_common())
    found = [f"Cells: {len(statuses)}, of which {counts}." if cells else "No cell."]
    same = {c: v for c, v in shared(cells).items() if c.startswith(("model.", "task.")) and v not in (None, [])}
    if same:
        found.append(f"All have {', '.join(f'{name} = {value}' for name, value in same.items())}.")
    means = [mean(part, y) for part in groups(rows, "key").values() if any(y in row for row in part)]
    widths = sorted((e.high - e.low) / 2 / e.value for e in means if e.n > 1 and isfinite(e.low) and e.value > 0)
    if widths:
        found.append(
            f"The 95 % interval of a cell's {y.replace('_', ' ')} reaches ±{median(widths):.0%} (median over cells; in"
            f" nine of ten less than ±{widths[int(0.9 * (len(widths) - 1))]:.0%}). No sample is discarded, no finding"
            " vetoed."
        )
    cached = [cell["compile_cached"] for cell in cells if cell.get("compile_cached") is not None]
    if cached:
        found.append(f"Loaded from the compilation cache, not compiled: {sum(cached)} of {len(cached)} programs.")
    return found
