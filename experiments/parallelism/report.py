"""The report of `parallelism`: whose steps must follow each other."""

from transformer_jax.intervals import Estimate
from transformer_jax.report import Finding, Report, Rows, Rule, conditions, lines, only_recurrences, table
from transformer_jax.report.points import groups, select, slope
from transformer_jax.report.rules import with_missing
from transformer_jax.report.variants import formed

T, DEEP, FLAT = "seq_len", 0.9, 0.25
SHALLOWEST = ("attention (reference)", "rnn", "gru", "lstm", "min_gru (associative)")
WRITERS = ("attention", "rnn", "gru", "lstm", "min_gru")


def _word(exponent: Estimate) -> str:
    return "sequential" if exponent.low >= DEEP else "parallel" if exponent.high <= FLAT else "between"


def _sequential(exponent: Estimate) -> bool | None:
    return {"sequential": True, "parallel": False}.get(_word(exponent))


def _depth(rows: Rows) -> dict[str, Estimate]:
    depth = [row | {"contender": formed(row)} for row in select(rows, study="depth")]
    return {name: slope(select(depth, contender=name), T, "train_depth", None, least=3) for name in SHALLOWEST}


def _written(rows: Rows) -> dict[str, Estimate]:
    found = {f"{name}, writing": slope(part, T, "generation_depth", None, least=3)
             for (name,), part in groups(select(rows, study="generation"), "mixer").items()}  # fmt: skip
    return with_missing(found, (f"{name}, writing" for name in WRITERS))


RULES = {
    "only_recurrences_are_sequential": Rule(
        f"Steps are sequential where the depth grows as T^{DEEP} or faster, parallel where as T^{FLAT} or slower (a sum"
        " over T is log T deep, which has 0.2 over these lengths). SUPPORTED if attention is parallel and every"
        " recurrence, in its least deep form, sequential; REFUTED if attention is sequential or every recurrence"
        " parallel; TASK-DEPENDENT if attention and some recurrences are parallel and others sequential; else, or"
        " where one is not measured, at three lengths or more, INCONCLUSIVE.",
        only_recurrences(_sequential),
        reads=(_depth, _written),
    ),
}


def report(rows: Rows) -> Report:
    """Any subset of rows will do; what is missing has no verdict."""
    rule, power = RULES["only_recurrences_are_sequential"], "the depth grows as T to this power"
    depth = [row | {"contender": formed(row)} for row in select(rows, study="depth")]
    return Report(
        question="Are a recurrence's steps sequential, and attention's parallel?",
        setting="As many tokens in every step: T goes up, the batch down. Depth: operations that must follow each other"
        " on any number of processors, counted from the program.",
        answers=(
            Finding("In training: a recurrence sequential, attention parallel?", power, _depth(rows), rule, _word,
                    of="the op alone, forward and backward, least deep form"),
            Finding("In writing T tokens: the same?", power, _written(rows), rule, _word, of="the whole model"),
        ),
        figures=(
            lines(depth, T, "train_depth", "contender", pair=None, name="depth_by_length", y_label="operations in turn",
                  title="Depth of a training step of the op alone, in every form that was counted",
                  caption="Attention in blocks stores no scores: it runs head by head and block by block in a loop."),
        ),
        tables=(table(depth, ("contender",), T, "forward_depth", None, "Depth of the op, forward"),
                table(select(rows, study="generation"), ("mixer",), T, "generation_depth", None,
                      "Depth of writing T tokens")),
        limits=(*conditions(rows), "A sum of n numbers is log2 n operations deep, a loop its trips times its body.",
                "What more processors make of it is asked by “experiment cores”."),
    )  # fmt: skip
