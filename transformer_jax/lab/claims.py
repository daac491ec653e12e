"""The claims that are asked: of the table "RNN versus Transformer", and the proposal at the end of its document; which
experiments ask each, and what their rows answer."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import inf, isnan
from pathlib import Path
from typing import NamedTuple

from transformer_jax.config import ConfigError, nearest
from transformer_jax.host.folders import FolderError
from transformer_jax.intervals import NOTHING, Estimate
from transformer_jax.lab import plan, rows
from transformer_jax.report import Figure, Finding, Report, Verdict
from transformer_jax.report.page import doubts
from transformer_jax.report.tables import shown

DOCUMENT = "“Introduction to Transformers in Keras”, table “Main Differences between RNN and Transformers”"

UNMEASURED = "not measured"

TAKES = {"quick": "17 minutes on 2 shared cores of an AMD EPYC"}
"""By size how long all claims took that are measured without being named."""


class Asked(NamedTuple):
    """An experiment that asks a claim."""

    experiment: str
    """A folder in experiments/."""
    rules: tuple[str, ...]
    """The rules of its report that judge the claim."""
    only: tuple[str, ...] = ()
    """The cells of the experiment that are run, as `--only` takes them; none: all."""
    figure: str | None = ""
    """The name of its figure that shows the answer; "": the first; None: none."""


class Claim(NamedTuple):
    """One row of the table, or the proposal, and how it is asked."""

    quotes: Mapping[str, str]
    """What the document says, in its words: of an RNN and of a transformer, or what it proposes."""
    asked: tuple[Asked, ...]
    """What asks it: the claim's verdict is that of all their rules together."""
    says: str
    """What was found, as a newcomer understands it: a sentence with a {} for each number that decides, the name of a
    rule in braces for its verdict, and {device} for what it was measured on."""
    decides: Mapping[str, str]
    """Those numbers: by their names in the reports, the names under which the page shows them."""
    holds: str = ""
    """What was not measured, and under which conditions the answer holds."""
    holds_full: str = ""
    """The same of the full size, where it is another."""
    by_name: bool = False
    """It is measured only where it is asked for by its name, as it takes about half as long as all others."""

    @property
    def quote(self) -> str:
        return " ".join(f"{of}: “{words}”." for of, words in self.quotes.items())

    def conditions(self, headers: Sequence[dict]) -> str:
        """What stands behind the answer from such launches."""
        full = any(header.get("size") == "full" for header in headers)
        return self.holds_full if full and self.holds_full else self.holds


_TIMED = (
    "Compiling and evaluating are not counted; attention has rotary positions alone. What one core and all of them make"
    " of a step is asked by “experiment cores”; how either scales to more devices, and what cuDNN's kernel makes"
    " of an LSTM, is not measured."
)
_TOGETHER = (
    "The document only proposes: the three statements with a verdict are ours, and its verdict is that of all three."
    " Best is the highest sum of plasticity and stability."
)
CLAIMS = {
    "processing": Claim(
        {"RNN": "Sequential (one token at a time)",
         "Transformer": "Parallel (all tokens simultaneously)"},
        (Asked("parallelism", ("only_recurrences_are_sequential",)),),
        says="The chain of operations that must wait for each other grows with the number of tokens T: in training as"
        " T^{} in attention, T^{} in an LSTM and T^{} in a minGRU, a recurrence too; in writing as T^{} in attention"
        " and T^{} in an LSTM. (T^0: not at all. T^1: in proportion.)",
        decides={
            "attention (reference)": "attention", "lstm": "LSTM", "min_gru (associative)": "minGRU",
            "attention, writing": "attention, writing", "lstm, writing": "LSTM, writing",
        },
        holds="Of the op alone in training, and of the whole model in writing; whether a machine gains from it is asked"
        " by “experiment cores”.",
    ),
    "context": Claim(
        {"RNN": 'Limited short-term memory, prone to "forgetting"',
         "Transformer": "Global self-attention, captures long-range dependencies"},
        (
            Asked("recall", ("only_attention_recalls",)),
            Asked("long_range", ("only_attention_copies",), only=("name=copy_memory",), figure=None),
        ),
        says="To recall 2 pairs attention needs {} steps of training, a GRU {}, an LSTM {}; to recall 8 of them {}, {}"
        " and {}. To copy four symbols over 50 blanks attention needs {}, a GRU or an LSTM {}.",
        decides={
            "2 pairs, attention": "2 pairs, attention",
            "2 pairs, gru": "2 pairs, GRU", "2 pairs, lstm": "2 pairs, LSTM",
            "8 pairs, attention": "8 pairs, attention",
            "8 pairs, gru": "8 pairs, GRU", "8 pairs, lstm": "8 pairs, LSTM",
            "copying: attention": "copying, attention", "copying: recurrences": "copying, GRU or LSTM",
        },
        holds="After a short training, on 32 and 58 tokens: it says how soon looking up is learned, not how much a"
        " state can hold. What is sooner is there in half of the steps: 300 of recall, 200 of copying.",
        holds_full="Of 64 tokens of a vocabulary of 8,192, in 10,000 steps, or in the seconds that attention's take;"
        " copying in 20,000.",
    ),
    "architecture": Claim(
        {"RNN": "Recurrent structure, state depends on previous inputs",
         "Transformer": "Attention-based, all tokens interact directly"},
        (Asked("interaction", ("past_what_lies_between",), figure="direct_by_lag"),),
        says="Of the earlier inputs with others in between, and these held fixed, a share of {} still acts on the last"
        " output in attention, and of {} in an LSTM, where all of it goes through the state.",
        decides={"attention": "attention", "lstm": "LSTM"},
        holds="Of one causal layer, before training.",
    ),
    "training_speed": Claim(
        {"RNN": "Slow, difficult to parallelize effectively",
         "Transformer": "Fast, highly parallelizable"},
        (Asked("training_speed", ("attention_is_sooner",)),),
        says="On {device}, to learn a text to the same loss, a model with attention takes {} times an LSTM's seconds"
        " and {} times a GRU's in windows of 64 letters, {} and {} times in windows of 256.",
        decides={
            "T 64, over lstm": "over LSTM, 64", "T 64, over gru": "over GRU, 64", "T 256, over lstm": "over LSTM, 256",
            "T 256, over gru": "over GRU, 256",
        },
        holds=f"Of some 110,000 parameters each. {_TIMED}",
        holds_full=f"Of width 256, with as many parameters or training FLOPs. {_TIMED}",
    ),
    "long_range": Claim(
        {"RNN": "Struggles to capture information from distant tokens",
         "Transformer": "Excels at capturing long-range relationships"},
        (Asked("long_range", ("attention_solves_more",), figure="steps_by_seed"),),
        says="To add two numbers among 200 four of five seeds of attention need {} steps of training, of a GRU or an"
        " LSTM {}; to tell whether the ones in 20 bits are odd in number attention needs {}, a GRU or an LSTM {}.",
        decides={
            "adding: attention": "adding, attention", "adding: recurrences": "adding, GRU or LSTM",
            "parity: attention": "parity, attention", "parity: recurrences": "parity, GRU or LSTM",
        },
        holds="Small models, five generated tasks, a few hundred steps: who does not solve a task in them may with"
        " more. Digits and series that are read step by step are asked by “experiment series”; distances"
        " beyond 200 steps and language are not measured.",
        holds_full="Models of width 64, five generated tasks, 20,000 steps, with as many parameters, training FLOPs or"
        " seconds of training: who does not solve a task in them may with more. Distances beyond 200 steps and language"
        " are not measured.",
    ),
    "gradient_flow": Claim(
        {"RNN": "Prone to vanishing/exploding gradients in long sequences",
         "Transformer": "More stable gradient flow due to attention mechanism"},
        (Asked("gradient_flow", ("mixer", "start")),),
        says="100 steps further back the gradient is 10^{} times as large through an LSTM, 10^{} times through"
        " attention, and 10^{} times through an LSTM whose forget bias starts at 3.",
        decides={"lstm": "LSTM", "attention": "attention", "lstm, forget bias 3": "LSTM, forget bias 3"},
        holds="Before training, at 256 steps and width 64.",
        holds_full="Before training, at 1,024 steps and width 128.",
    ),
    "complexity": Claim(
        {"RNN": "Linear with sequence length",
         "Transformer": "Quadratic with sequence length (in self-attention)"},
        (Asked("complexity", ("quadratic",)),),
        says="With the number of tokens T the time of attention that stores every score grows as T^{}, its memory as"
        " T^{}; of attention in blocks, which stores none, as T^{} and T^{}; on {device}. An LSTM's time grows as T^{}."
        " (T^1: linear. T^2: quadratic.)",
        decides={
            "attention's time, scores stored": "storing, time", "attention's memory, scores stored": "storing, memory",
            "attention's time": "in blocks, time", "attention's memory": "in blocks, memory",
            "LSTM's time": "LSTM, time",
        },
        holds="Of the op alone in training. Exponents are over the lengths from 1,024 on; of attention that stores its"
        " scores, which is measured up to 2,048, over all.",
    ),
    "forgetting": Claim(
        {"Proposal": 'If we combine EWC with Self-Attention, we can stabilize the connections between keywords, making'
                     ' the model "remember" important relationships between words over time […] How much should we'
                     " protect memory and how much should we allow the model to adapt?"},
        (Asked("forgetting", ("H1", "H2", "H3"), figure="front"),),
        says="Of strengths 5.6 times apart the best, times the mean Fisher, is {} on images whose pixels are permuted,"
        " {} on two classes at a time with the task known, {} with it unknown, and {} on recall. Attention maps"
        " drift less with EWC on queries and keys than on as many random parameters, at a plasticity of 0.95 or more:"
        " {H1}. What drifts more forgets more: {H2}. Queries and keys are better to protect than as many random"
        " parameters: {H3}. EWC gains {} less accuracy with twice the pairs to recall, {} less with twice the length.",
        decides={
            "permuted (domain), times the mean Fisher": "permuted",
            "split (task), times the mean Fisher": "split, task known",
            "split (class), times the mean Fisher": "split, unknown",
            "recall (class, 2 pairs, T = 8), times the mean Fisher": "recall",
            "twice the pairs": "lost with twice the pairs", "twice the length": "with twice the length",
        },
        holds=f"Of a small transformer that learns two to five tasks in 60 to 240 steps each. {_TOGETHER}",
        holds_full=f"Of MNIST in 400 steps a task, letters in 600, and recall as in the quick size. {_TOGETHER}",
        by_name=True,
    ),
}  # fmt: skip


class Answer(NamedTuple):
    """What the rows of its experiments say of a claim."""

    finding: Finding
    """With the numbers that decide."""
    numbers: Mapping[str, Estimate]
    """All that its rules read, and what else the sentence says."""
    figures: tuple[Figure, ...] = ()
    rules: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    headers: tuple[dict, ...] = ()
    """Of each experiment that has a folder the last launch that measured a row, or the last where none has."""
    verdicts: Mapping[str, str] | None = None
    """Of each rule, by its name."""


def chosen(names: Sequence[str]) -> dict[str, Claim]:
    """The claims of these names, or all that are measured without being named.

    Raises:
      ConfigError: no such claim; the nearest is named.
    """
    for name in names:
        if name not in CLAIMS:
            of = [claim for claim, one in CLAIMS.items() if name in {asked.experiment for asked in one.asked}]
            known = f": the experiment is asked by {' and '.join(of)}" if of else nearest(name, CLAIMS)
            raise ConfigError(f"no claim {name!r}{known}")
    return {name: claim for name, claim in CLAIMS.items() if name in names or not (names or claim.by_name)}


def experiments(wanted: Mapping[str, Claim]) -> dict[str, Asked]:
    """By name what is run for these claims, each once: all of its cells where one of the claims asks for all."""
    found: dict[str, Asked] = {}
    for one in (one for claim in wanted.values() for one in claim.asked):
        if one.experiment not in found or not one.only:
            found[one.experiment] = one
    return found


def sizes(names: Iterable[str], size: plan.Size) -> dict[str, plan.Size]:
    """By experiment the size in which it is measured: the one asked for, or the quick one where it has no other.

    Raises:
      ConfigError: none of them has a full size, which was asked for.
    """
    names, full = list(names), plan.with_full() if size == "full" else []
    if size == "full" and not set(names) & set(full):
        raise plan.no_full(names)
    return {name: size if name in full else "quick" for name in names}


def answer(name: str, claim: Claim, out: Path, options: Sequence[str] = ()) -> Answer:
    """What the folders of the claim's experiments, in `out`, say; a claim that nobody has measured says so, and so does
    one whose rows cannot be read or reported.

    options: of the command that measures a claim which the plain one leaves out.
    """
    found, figures, warnings, headers, beside, verdicts = [], [], [], [], {}, {}
    for one in claim.asked:
        if not (out / one.experiment / rows.FILE).exists():
            found.append(Finding(one.experiment, "", word=UNMEASURED))
            continue
        experiment = plan.load(one.experiment)
        try:
            results = rows.current(rows.read(out / one.experiment))
            page = experiment.report.report(results.rows)
            judged = _judged(experiment, page, one.rules)
            verdicts |= {rule: finding.verdict for rule in one.rules for finding in judged
                         if finding.rule == experiment.report.RULES[rule]}  # fmt: skip
        except Exception as error:  # whatever a report stumbles over, the page has the other claims
            known = isinstance(error, FolderError)
            found.append(Finding(one.experiment, "", word=UNMEASURED))
            warnings.append(str(error) if known else f"{one.experiment}: its report failed: {error!r}")
            continue
        found += judged
        for label, number in (item for finding in page.answers for item in finding.estimates.items()):
            beside.setdefault(label, number)  # the first question's, as later ones ask the same of other studies
        named = [figure for figure in page.figures if figure and one.figure in ("", figure.name)]
        figures += named[:1]
        warnings += [*doubts(page, results.headers, results.rows), *page.notes]
        measured = {row.get("header") for row in results.rows}
        headers += ([one for one in results.headers if one["id"] in measured] or results.headers)[-1:]
    numbers: dict[str, Estimate] = {}
    every = [(finding, *one) for finding in found for one in finding.estimates.items()]
    for finding, label, estimate in every:  # what two questions share stands there once
        other = any(label == name and estimate != value for _, name, value in every)
        numbers[f"{finding.question} {label}" if other else label] = estimate
    numbers |= {label: beside[label] for label in claim.decides if label in beside and label not in numbers}
    verdict = combined([finding.verdict for finding in found])
    decides = {new: numbers.get(label, NOTHING) for label, new in claim.decides.items()} if headers else {}
    text, again = "Not measured.", shlex.join(["run.py", "claims", "--only", name, *options])
    if claim.by_name and not warnings:
        text = f"Not measured: {again}"
    if headers:
        text = f"{sentence(claim, numbers, headers, verdicts)} {claim.conditions(headers)}"
    of = name.replace("_", " ")
    return Answer(
        Finding(claim.quote, text, decides, word=verdict, of=of),
        numbers,
        tuple(replace(one, name=f"{name}_{one.name}", title=f"{of}: {one.title}") for one in figures),
        tuple(finding.rule.text for finding in found if finding.rule),
        tuple(warnings),
        tuple(headers),
        verdicts,
    )


def sentence(
    claim: Claim,
    numbers: Mapping[str, Estimate],
    headers: Sequence[dict] = (),
    verdicts: Mapping[str, str] | None = None,
    intervals: bool = False,
) -> str:
    """What was found, with the numbers that decide, with their intervals if asked for, and the rules' verdicts.

    What has not come that far is "more than" so much; what is not there is "(no number)".
    """
    given = (_written(numbers.get(label, NOTHING), intervals) for label in claim.decides)
    device = " and ".join(sorted({_device(last) for last in headers}))
    return claim.says.format(*given, device=device, **(verdicts or {}))


def _device(header: dict) -> str:
    device, threads = str(header.get("device")), header.get("threads")
    return device if device != "cpu" else f"{threads} CPU threads" if threads else "a CPU"


def _written(estimate: Estimate, intervals: bool) -> str:
    if estimate.n == 0:
        return "(no number)"
    if isnan(estimate.value):
        return f"more than {_short(estimate.low)}" if estimate.high == inf else shown(estimate)
    known = intervals and estimate.low < estimate.high < inf
    return _short(estimate.value) + (f" [{_short(estimate.low)}, {_short(estimate.high)}]" if known else "")


def _short(value: float) -> str:
    """Two decimals, and none where the value is whole or large."""
    return f"{round(value, 2) + 0.0:.2f}" if abs(value) < 20 and value % 1 else f"{value:,.0f}"


def combined(verdicts: Sequence[str]) -> str:
    """One verdict of several: theirs where they agree, TASK-DEPENDENT where some support and some refute; INCONCLUSIVE
    where a part is not measured."""
    found = set(verdicts)
    if len(found) == 1:
        return found.pop()
    if UNMEASURED in found:
        return Verdict.INCONCLUSIVE
    if Verdict.TASK_DEPENDENT in found or {Verdict.SUPPORTED, Verdict.REFUTED} <= found:
        return Verdict.TASK_DEPENDENT
    return Verdict.INCONCLUSIVE


def _judged(experiment: plan.Experiment, page: Report, rules: Sequence[str]) -> list[Finding]:
    wanted = [experiment.report.RULES[rule] for rule in rules]
    return [finding for finding in page.answers if finding.rule in wanted]
