"""The report of `complexity`: with which power of the length attention's costs grow, and a recurrence's."""

from collections.abc import Mapping
from itertools import product
from math import inf

from transformer_jax.intervals import ABOUT_POWER, NOTHING, Estimate
from transformer_jax.report import Finding, Report, Rows, Rule, Verdict, conditions, lines, select
from transformer_jax.report.costs import flops, memory_bytes
from transformer_jax.report.points import NO_LAW, groups, growth
from transformer_jax.report.rules import of_at_least
from transformer_jax.report.tables import grid
from transformer_jax.report.variants import formed

T = "seq_len"
COSTS = {"time": ("step_seconds", "round"), "FLOPs": ("flops", None), "memory": ("memory_bytes", None)}
FORMS = {"attention": "", "attention (reference)": ", scores stored"}


def _read(rows: Rows) -> list[dict]:
    """Who it is, and what the op costs without a clock."""
    return [row | {"who": formed(row), "flops": flops(row), "memory_bytes": memory_bytes(row)}
            for row in select(rows, study="length")]  # fmt: skip


def _growths(rows: Rows) -> dict[tuple[str, str], dict]:
    """By cost and who has it, how it grows with T."""
    rows = _read(rows)
    found = {(cost, who): growth(part, T, y, pair, first=1024, same="implementation")
             for cost, (y, pair) in COSTS.items() for (who,), part in groups(rows, "who").items()}  # fmt: skip
    return {key: line for key, line in found.items() if line}


def _exponents(rows: Rows) -> dict[str, Estimate]:
    """Of attention's costs, and of an LSTM's time; nothing where one is not measured at three lengths or more."""
    found = {key: line["exponent"] for key, line in _growths(rows).items() if line["growth"] != NO_LAW}
    attention = {f"attention's {cost}{how}": found.get((cost, who), NOTHING)
                 for who, how in FORMS.items() for cost in COSTS}  # fmt: skip
    return attention | {"LSTM's time": found.get(("time", "lstm"), NOTHING)}


def _quadratic_and_linear(estimates: Mapping[str, Estimate]) -> Verdict:
    may = [_grows_so(e, name.startswith("attention")) for name, e in estimates.items()]
    possible = {_if_so(dict(zip(estimates, holds, strict=True))) for holds in product(*may)}
    return possible.pop() if len(possible) == 1 else Verdict.INCONCLUSIVE


def _grows_so(exponent: Estimate, quadratic: bool) -> tuple[bool, ...]:
    """Whether a cost grows at least as a square, or about as a line: it does, it does not, or the interval allows
    both."""
    low, high = (2 - ABOUT_POWER, inf) if quadratic else (1 - ABOUT_POWER, 1 + ABOUT_POWER)
    inside, outside = low <= exponent.low and exponent.high <= high, exponent.high < low or exponent.low > high
    return (True,) if inside else (False,) if outside else (True, False)


def _if_so(holds: Mapping[str, bool]) -> Verdict:
    attention = [one for name, one in holds.items() if name.startswith("attention")]
    linear = all(one for name, one in holds.items() if not name.startswith("attention"))
    if all(attention) and linear:
        return Verdict.SUPPORTED
    return Verdict.TASK_DEPENDENT if any(attention) and linear else Verdict.REFUTED


RULES = {
    "quadratic": Rule(
        "SUPPORTED if time, FLOPs and memory of attention's op in training, as it is picked and with every score"
        f" stored, all grow with T by an exponent that lies above {2 - ABOUT_POWER:g} with its interval, and the time"
        f" of an LSTM's by one within {ABOUT_POWER} of 1; TASK-DEPENDENT if the LSTM's does and only some of"
        " attention's; REFUTED if the LSTM's does not, or none of attention's; INCONCLUSIVE where one is not measured"
        " at three lengths, or is left open by its interval and the others do not decide without it.",
        of_at_least(1, _quadratic_and_linear),
        reads=(_exponents,),
    )
}


def report(rows: Rows) -> Report:
    """Any subset of rows will do; what is missing leaves the answer open."""
    length, growths = _read(rows), _growths(rows)
    over = {who: line["over"] for (cost, who), line in growths.items() if cost == "time"}
    look = {"x_label": "T, tokens in a sequence"}
    return Report(
        question="Is attention's cost quadratic in the length of the sequence, and a recurrence's linear?",
        setting="The op that mixes time steps, alone, forward and backward. Attention stores no score where it is in"
        " blocks, and all T² of them as “reference”.",
        answers=(
            Finding("Is attention quadratic in the sequence length, and a recurrence linear?",
                    "Exponents with which the cost of the op alone grows with T in a training step: attention as it is"
                    " picked (auto), attention that stores every score (reference), and an LSTM.", _exponents(rows),
                    RULES["quadratic"], of="; ".join(f"{who}: T = {span}" for who, span in over.items())),
        ),
        figures=(
            lines(length, T, "step_seconds", "who", name="time_by_length", title="Time of the op", y_label="time",
                  **look),
            lines(length, T, "memory_bytes", "who", name="memory_by_length", title="Its memory", y_label="memory",
                  pair=None, **look),
            lines(length, T, "flops", "who", name="flops_by_length", title="Its FLOPs", y_label="FLOPs", pair=None,
                  **look),
        ),
        tables=(grid("Exponents of T, and time as a + bT + cT²", ("cost", "who"), growths),),
        limits=conditions(rows),
    )  # fmt: skip
