"""The claims of the table "RNN versus Transformer": which experiment asks each, and what its rows answer."""

from collections.abc import Sequence
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import NamedTuple

from transformer_jax.config import ConfigError, nearest
from transformer_jax.intervals import Estimate
from transformer_jax.lab import plan, rows
from transformer_jax.report import Figure, Finding, Report, Table, Verdict
from transformer_jax.report.page import doubts


class Claim(NamedTuple):
    """One row of the table, and how it is asked."""

    recurrent: str
    """What the table says of RNNs, in its words."""
    attention: str
    """What it says of transformers."""
    experiment: str
    """A folder in experiments/."""
    rules: tuple[str, ...] = ()
    """The rules of its report that judge the claim; none: its `claim(rows)` is the finding."""
    only: tuple[str, ...] = ()
    """The cells of the experiment that are run, as `--only` takes them; none: all."""
    budget: str | None = None
    """How long they are, as `--budget` takes it. Claims of one experiment have the same of both."""
    holds: str = ""
    """What was not measured, and under which conditions the answer holds."""


CLAIMS = {
    "processing": Claim(
        "Sequential (one token at a time)",
        "Parallel (all tokens simultaneously)",
        "parallelism",
        ("only_recurrences_are_sequential",),
        only=("probe=depth,generation",),
        holds="Of the op alone in training, and of the whole model in writing; whether a machine gains from it is asked"
        " by the experiment's other questions.",
    ),
    "context": Claim(
        'Limited short-term memory, prone to "forgetting"',
        "Global self-attention, captures long-range dependencies",
        "recall",
        ("attention_recalls_more",),
        holds="After a short training on 32 tokens: how soon recall is learned, not what a model can hold.",
    ),
    "architecture": Claim(
        "Recurrent structure, state depends on previous inputs",
        "Attention-based, all tokens interact directly",
        "interaction",
        ("past_what_lies_between",),
        holds="Of one layer.",
    ),
    "training_speed": Claim(
        "Slow, difficult to parallelize effectively",
        "Fast, highly parallelizable",
        "training_speed",
        ("attention_is_sooner",),
        holds="For small models on one device; how either scales to more devices is not measured, nor what cuDNN's"
        " kernel makes of an LSTM.",
    ),
    "long_range": Claim(
        "Struggles to capture information from distant tokens",
        "Excels at capturing long-range relationships",
        "long_range",
        ("attention_solves_more",),
        holds="Small models, generated tasks, a few hundred steps: who does not solve a task in them may with more."
        " Distances beyond 200 steps, images as sequences and language are not measured.",
    ),
    "gradient_flow": Claim(
        "Prone to vanishing/exploding gradients in long sequences",
        "More stable gradient flow due to attention mechanism",
        "gradient_flow",
        ("mixer", "start"),
        holds="Orders of magnitude in 100 steps, before training, at 256 steps and width 64.",
    ),
    "complexity": Claim(
        "Linear with sequence length",
        "Quadratic with sequence length (in self-attention)",
        "attention_cost",
        only=("level=op", "phase=train", "mixer=attention,lstm"),
        budget="3m",
        holds="On a CPU; `auto` stores no scores, so that its memory is another than that of the formula.",
    ),
}


class Answer(NamedTuple):
    """What the rows of an experiment say of a claim."""

    finding: Finding
    figure: Figure | None = None
    rules: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    headers: tuple[dict, ...] = ()


def chosen(names: Sequence[str]) -> dict[str, Claim]:
    """The claims of these names, or all.

    Raises:
      ConfigError: no such claim; the nearest is named.
    """
    for name in names:
        if name not in CLAIMS:
            raise ConfigError(f"no claim {name!r}{nearest(name, CLAIMS)}")
    return {name: claim for name, claim in CLAIMS.items() if not names or name in names}


def answer(name: str, claim: Claim, folder: Path) -> Answer:
    """What the folder of the claim's experiment says; a claim that nobody has measured says so.

    Raises:
      ConfigError, FolderError: the folder's rows cannot be read, or the experiment has no such rule.
    """
    quote = f"RNN: “{claim.recurrent}”. Transformer: “{claim.attention}”."
    if not (folder / rows.FILE).exists():
        return Answer(Finding(quote, "Not measured.", word="not measured", of=name.replace("_", " ")))
    experiment, results = plan.load(claim.experiment), rows.current(rows.read(folder))
    page = experiment.report.report(results.rows)
    found = [experiment.report.claim(results.rows)] if not claim.rules else _judged(experiment, page, claim.rules)
    numbers: dict[str, Estimate] = {}
    for finding in found:
        for label, estimate in finding.estimates.items():
            other = numbers.get(label, estimate) != estimate  # what two questions share stands there once
            numbers[f"{finding.question} {label}" if other else label] = estimate
    text = " ".join(f"{finding.question} {finding.text.rstrip('.')}." for finding in found)
    merged = Finding(
        quote, f"{text} {claim.holds}".strip(), numbers, word=combined([finding.verdict for finding in found]),
        of=name.replace("_", " "),
    )  # fmt: skip
    figure = next((figure for figure in page.figures if figure), None)
    if figure is not None:
        figure = replace(figure, name=f"{name}_{figure.name}", title=f"{name.replace('_', ' ')}: {figure.title}")
    rules = tuple(finding.rule.text for finding in found if finding.rule)
    return Answer(merged, figure, rules, tuple(doubts(page, results.headers, results.rows)), tuple(results.headers))


def combined(verdicts: Sequence[str]) -> str:
    """One verdict of several: theirs where they agree, TASK-DEPENDENT where some support and some refute."""
    found = set(verdicts)
    if len(found) == 1:
        return found.pop()
    if Verdict.TASK_DEPENDENT in found or {Verdict.SUPPORTED, Verdict.REFUTED} <= found:
        return Verdict.TASK_DEPENDENT
    return Verdict.INCONCLUSIVE


def _judged(experiment: plan.Experiment, page: Report, rules: Sequence[str]) -> list[Finding]:
    wanted = [experiment.report.RULES[rule] for rule in rules]
    return [finding for finding in page.answers if finding.rule in wanted]


def ledger(answers: dict[str, Answer]) -> Report:
    """All claims on one page: the quote, what was found, the numbers, the verdict; a figure for each."""
    measured = {name: one for name, one in answers.items() if one.headers}
    return Report(
        question="RNN versus transformer: which of the claims hold?",
        setting="Seven claims, in the words of the table that makes them, each asked by an experiment of its own.",
        answers=[one.finding for one in answers.values()],
        notes=[f"{name}: {doubt}" for name, one in measured.items() for doubt in one.doubts],
        figures=[one.figure for one in measured.values()],
        tables=[_conditions(measured)],
        limits=[
            "A verdict holds for the sizes, the tasks and the machine of these runs, and says nothing of others.",
            *(f"Rule of {name}: {rule}" for name, one in measured.items() for rule in one.rules),
        ],
    )  # fmt: skip


def _conditions(measured: dict[str, Answer]) -> Table:
    columns = ("claim", "experiment", "commit", "device", "jax", "options")
    found = []
    for name, one in measured.items():
        last = one.headers[-1]
        options, jax = " ".join(last.get("options", ())), last.get("versions", {}).get("jax")
        found.append((name, last["experiment"], str(last.get("commit"))[:7], last.get("device"), jax, options))
    return Table("What each rests on", columns, tuple(found))


def as_json(answers: dict[str, Answer]) -> dict:
    """By claim: its words, the verdict, and each number with its interval."""
    return {
        name: {
            "recurrent": CLAIMS[name].recurrent,
            "attention": CLAIMS[name].attention,
            "verdict": one.finding.verdict,
            "numbers": {label: _plain(estimate) for label, estimate in one.finding.estimates.items()},
        }
        for name, one in answers.items()
    }


def _plain(estimate: Estimate) -> dict[str, float | int | None]:
    """An estimate whose numbers JSON can hold: what is not finite is null."""
    return {field: value if isfinite(value) else None for field, value in estimate._asdict().items()}
