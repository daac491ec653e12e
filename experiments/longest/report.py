"""The report of `longest`: how far each implementation gets, and what stopped it."""

from math import inf, nan

from transformer_jax.intervals import NOTHING, Estimate
from transformer_jax.report import Finding, Report, Rows, Rule, Table, Verdict, conditions, lines, select
from transformer_jax.report.rules import of_at_least

STORING, BLOCKS = "reference", "blockwise"


def _blocks_reach_further(estimates: dict[str, Estimate]) -> Verdict:
    stores, blocks = estimates[STORING], estimates[BLOCKS]
    if blocks.low > stores.high:
        return Verdict.SUPPORTED
    return Verdict.REFUTED if blocks.high < stores.low else Verdict.INCONCLUSIVE


def _bounds(rows: Rows) -> dict[str, Estimate]:
    """By reader, the longest length that could be done and the shortest that could not: one search, without noise."""
    return {_reader(row): Estimate(nan, row["longest_len"] or 0, row["too_long"] or inf, 1)
            for row in select(rows, study="longest") if row.get("tried_len") is not None}  # fmt: skip


RULES = {
    "blocks_reach_further": Rule(
        f"SUPPORTED if the longest length that {BLOCKS} could do is above the shortest that {STORING} could not;"
        f" REFUTED if the shortest that {BLOCKS} could not is below the longest that {STORING} could; else, or where"
        " one of them is not measured, INCONCLUSIVE. Both within the same limits of memory and of time for a try.",
        of_at_least(1, _blocks_reach_further),
        reads=(_bounds,),
    )
}


def report(rows: Rows) -> Report:
    """Each search by its name: an implementation of attention, or a recurrence."""
    rows = [row | {"reader": _reader(row)} for row in select(rows, study="longest")]
    tries = [row for row in rows if row.get("tried_len") is not None]
    searches, bounds = {row["reader"]: row for row in tries}, _bounds(rows)
    pairs = {name: bounds.get(name, NOTHING) for name in (STORING, BLOCKS)}
    stopped = ", ".join(f"{reader} by {row['limited_by']}" for reader, row in searches.items())
    drawn = [row for row in tries if row["outcome"] == "ok"]
    labels = {"x_label": "sequence length T (tokens)", "pair": None}
    return Report(
        question="Of how long a sequence can one training step be done here?",
        answers=(
            Finding("How long can a sequence be?",
                    f"between the longest that could be done and the shortest that could not (limited: {stopped})",
                    bounds),
            Finding("Does attention that stores no scores reach further than the formula?", "the same bounds",
                    pairs, RULES["blocks_reach_further"]),
        ),
        figures=(
            lines(drawn, "tried_len", "peak_bytes", "reader", name="memory_by_length", **labels,
                  title="Peak memory of the process that did the step",
                  caption="Lengths that could be done. The libraries themselves take what the left end shows."),
            lines(drawn, "tried_len", "step_seconds", "reader", name="seconds_by_length", **labels,
                  title="Seconds of that one step", caption="A single step each, without repetition."),
        ),
        tables=(
            _table("Every try", tries, "tried_len", "outcome", "compile_seconds", "step_seconds", "peak_bytes"),
            _table("Where each search ended", list(searches.values()), "longest_len", "too_long", "limited_by",
                   "limit_bytes"),
        ),
        limits=(*conditions(rows), "A length that could be done is taken to say that every shorter one can be.",
                "Where time was the limit, compiling counts, and another load of the machine moves the answer.",
                "Memory is the data of the process (RLIMIT_DATA), so that an array that is planned counts in full."),
    )  # fmt: skip


def _reader(row: dict) -> str:
    return row["model.attention"] if row["model.mixer"] == "attention" else row["model.mixer"]


def _table(title: str, rows: Rows, *names: str) -> Table:
    found = tuple((row["reader"], *(row[name] for name in names)) for row in rows)
    return Table(title, ("", *(name.replace("_", " ") for name in names)), found)
