"""The page of all claims, the same as JSON and as one picture, and the published figures beside ours."""

import textwrap
import tomllib
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import NamedTuple

from transformer_jax.intervals import Estimate
from transformer_jax.lab.claims import CLAIMS, DOCUMENT, UNMEASURED, Answer, sentence
from transformer_jax.report import Figure, Report, Table, Verdict

PUBLISHED = Path(__file__).with_name("published.toml")
WORDS = (
    "Each verdict follows from a rule that was written before the run. TASK-DEPENDENT: it holds for some of what was"
    " measured and not for other. INCONCLUSIVE: these runs do not decide it."
)
COLORS = {Verdict.SUPPORTED: "#009E73", Verdict.REFUTED: "#D55E00", Verdict.TASK_DEPENDENT: "#0072B2"}
LINE, WIDTHS = 0.17, (46, 76)  # inches; letters of a line of the quote and of what was found


class Published(NamedTuple):
    """A figure that a reader would hold beside a claim's."""

    claim: str
    what: str
    value: str
    setting: str
    source: str
    comparable: bool
    because: str


def published(path: Path = PUBLISHED) -> list[Published]:
    """The published figures, in the file's order.

    Raises:
      TypeError: one lacks a field, or has one that is not known.
    """
    return [Published(**entry) for entry in tomllib.loads(path.read_text())["figure"]]


def ledger(answers: Mapping[str, Answer]) -> Report:
    """All claims on one page: the quote, what was found, the numbers, the verdict; a figure for each."""
    measured = {name: one for name, one in answers.items() if one.headers}
    return Report(
        question="RNN versus transformer: which of the claims hold?",
        setting=f"Seven claims in the words of {DOCUMENT}, and the proposal at the end of that document. {WORDS}",
        answers=[one.finding for one in answers.values()],
        notes=_doubts(answers),
        figures=[figure for one in measured.values() for figure in one.figures],
        tables=[*_beside(answers), _numbers(measured), _conditions(measured)],
        limits=[
            "A verdict holds for the sizes, the tasks and the machine of these runs, and says nothing of others.",
            "Each experiment's own report, with every seed, is report.html in the folder of its name beside this page.",
            *(f"Rule of {name}: {rule}" for name, one in measured.items() for rule in dict.fromkeys(one.rules)),
        ],
    )  # fmt: skip


def _doubts(answers: Mapping[str, Answer]) -> list[str]:
    """What makes a claim doubtful, behind its name; what several share is said once."""
    claims: dict[str, list[str]] = {}
    for name, one in answers.items():
        for doubt in one.doubts:
            claims.setdefault(doubt, []).append(name.replace("_", " "))
    return [f"{', '.join(names)}: {doubt}" for doubt, names in claims.items()]


def _beside(answers: Mapping[str, Answer]) -> list[Table]:
    """The published figures by claim, and under each what was measured here."""
    columns, found = ("what", "published", "setting", "source", "comparable", "because"), []
    for name, one in answers.items():
        beside = tuple(tuple(entry[1:]) for entry in published() if entry.claim == name)
        title = f"Published beside ours: {name.replace('_', ' ')} ({len(beside)})"
        found.append(Table(title, columns, beside, f"Ours: {_with_intervals(name, one)}"))
    return found


def _with_intervals(name: str, one: Answer) -> str:
    """What was found, with intervals; of a claim without rows that it is not measured."""
    if not one.headers:
        return one.finding.text
    found = sentence(CLAIMS[name], one.numbers, one.headers, one.verdicts, intervals=True)
    return f"{found} {CLAIMS[name].conditions(one.headers)}"


def _numbers(measured: Mapping[str, Answer]) -> Table:
    found = tuple((name, label, estimate, estimate.n) for name, one in measured.items()
                  for label, estimate in one.numbers.items())  # fmt: skip
    return Table(
        "All numbers that the rules read or the answers name",
        ("claim", "of", "number [95 % interval]", "samples"),
        found,
    )


def _conditions(measured: Mapping[str, Answer]) -> Table:
    columns, found = ("claim", "experiment", "commit", "device", "jax", "options"), []
    for name, last in ((name, last) for name, one in measured.items() for last in one.headers):
        options, jax = " ".join(last.get("options", ())), last.get("versions", {}).get("jax")
        found.append((name, last["experiment"], str(last.get("commit"))[:7], last.get("device"), jax, options))
    return Table("What each rests on", columns, tuple(found))


def as_json(answers: Mapping[str, Answer]) -> dict:
    """By claim: its words, the verdict, what was found, and each number with its interval."""
    return {
        name: {
            "quotes": CLAIMS[name].quotes,
            "verdict": one.finding.verdict,
            "found": one.finding.text,
            "numbers": {label: _finite(estimate) for label, estimate in one.numbers.items()},
        }
        for name, one in answers.items()
    }


def _finite(estimate: Estimate) -> dict[str, float | int | None]:
    """An estimate whose numbers JSON can hold: what is not finite is null."""
    return {field: value if isfinite(value) else None for field, value in estimate._asdict().items()}


def picture(answers: Mapping[str, Answer]) -> Figure:
    """A line for each claim: its words, what was found with intervals, and the verdict in its colour."""
    lines = []
    for name, one in answers.items():
        quotes = CLAIMS[name].quotes.items()
        quote = [line for of, text in quotes for line in textwrap.wrap(f"{of}: “{text}”", WIDTHS[0])]
        said = textwrap.wrap(_with_intervals(name, one), WIDTHS[1])
        lines.append((quote, said, str(one.finding.verdict)))
    heights = [LINE * (max(len(quote), len(said)) + 1) for quote, said, _ in lines]

    def draw(canvas):
        one = canvas.subplots()
        one.set(xlim=(0, 10), ylim=(sum(heights), 0))
        one.axis("off")
        top = 0.0
        for (quote, said, verdict), height in zip(lines, heights, strict=True):
            color = COLORS.get(verdict, "#7F7F7F" if verdict != UNMEASURED else "#BBBBBB")
            box = {"boxstyle": "round,pad=0.35", "facecolor": color, "edgecolor": "none"}
            for x, text in ((0.1, quote), (3.45, said)):
                one.text(x, top + height / 2, "\n".join(text), va="center", fontsize=8, linespacing=1.25)
            one.text(9.15, top + height / 2, verdict, ha="center", va="center", fontsize=8, weight="bold",
                     color="white", bbox=box)  # fmt: skip
            top += height
            one.axhline(top, color="#dddddd", linewidth=0.8)

    return Figure("claims", "RNN versus transformer", "", draw, size=(10, sum(heights)))
