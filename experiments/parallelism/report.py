"""The report of `parallelism`: whose steps must follow each other, and what that costs on this machine."""

from transformer_jax.intervals import Estimate
from transformer_jax.report import (
    Finding,
    Report,
    Rows,
    Rule,
    all_above,
    all_below,
    conditions,
    lines,
    only_recurrences,
)
from transformer_jax.report.points import groups, ratio, relative, select, slope, values
from transformer_jax.report.tables import table

T, DEEP, FLAT = "seq_len", 0.9, 0.25
SHALLOWEST = ("attention (reference)", "rnn", "gru", "lstm", "min_gru (associative)")


def _word(exponent: Estimate) -> str:
    return "sequential" if exponent.low >= DEEP else "parallel" if exponent.high <= FLAT else "between"


def _sequential(exponent: Estimate) -> bool | None:
    return {"sequential": True, "parallel": False}.get(_word(exponent))


RULES = {
    "only_recurrences_are_sequential": Rule(
        f"Steps are sequential where the depth grows as T^{DEEP} or faster, parallel where as T^{FLAT} or slower (a sum"
        " over T is log T deep, which has 0.2 over these lengths). SUPPORTED if attention is parallel and every"
        " recurrence, in its least deep form, sequential; REFUTED if attention is sequential or every recurrence"
        " parallel; TASK-DEPENDENT if attention and some recurrences are parallel and others sequential; else, or"
        " where one is not measured, INCONCLUSIVE.",
        only_recurrences(_sequential),
    ),
    "time_grows_less": Rule(
        "SUPPORTED if from the shortest to the longest T a token's time grows by a smaller factor for attention than"
        " for each recurrence: the ratio of the factors below 1, with its 95 % interval over passes; REFUTED if above 1"
        " for all; TASK-DEPENDENT if there are both; else, or where one is not measured, INCONCLUSIVE.",
        all_below(1.0),
    ),
    "speed_is_kept": Rule(
        "As for a token's time, with FLOPs per second: SUPPORTED if attention keeps more of them than each recurrence,"
        " the ratio above 1; REFUTED if below 1 for all.",
        all_above(1.0),
    ),
}


def report(rows: Rows) -> Report:
    """Any subset of rows will do; what is missing has no verdict."""
    rows = [row | _read(row) for row in rows]
    depth, generation, time = (select(rows, study=name) for name in ("depth", "generation", "time"))
    lengths = values(select(time, status="ok"), T)
    span = f"from T = {lengths[0]:,} to {lengths[-1]:,}" if lengths else ""
    short, long = (select(time, seq_len=lengths[at]) if lengths else [] for at in (0, -1))
    grown = {y: relative(long, y, short, ("contender",)) for y in ("token_seconds", "speed")}
    others = [name for name in values(time, "contender") if name != "attention"]
    against = {y: {f"over {name}": ratio(part, "ratio", "contender", "attention", name) for name in others}
               for y, part in grown.items()}  # fmt: skip
    deep = {name: slope(select(depth, contender=name), T, "train_depth", None) for name in SHALLOWEST}
    written = {name: slope(part, T, "generation_depth", None) for (name,), part in groups(generation, "mixer").items()}
    rule, power = RULES["only_recurrences_are_sequential"], "the depth grows as T to this power"
    return Report(
        question="Are a recurrence's steps sequential, and attention's parallel?",
        setting="As many tokens in every step: T goes up, the batch down. Depth: operations that must follow each other"
        " on any number of processors, counted from the program.",
        answers=(
            Finding("Must a training step go through T steps in turn?", power, deep, rule, _word,
                    of="the op alone, forward and backward, least deep form"),
            Finding("And writing T tokens?", power, written, rule, _word, of="whole model, one token after another"),
            Finding("Does a token's time grow less with attention?", f"attention's factor {span} over the recurrence's",
                    against["token_seconds"], RULES["time_grows_less"], of="training step of the whole model"),
            Finding("Does attention keep more of its speed?", f"FLOPs per second: attention's factor {span} over the"
                    " recurrence's", against["speed"], RULES["speed_is_kept"], of="the same steps, by their FLOPs"),
        ),
        figures=(
            lines(depth, T, "train_depth", "contender", pair=None, name="depth_by_length", y_label="operations in turn",
                  title="Depth of a training step of the op alone, in every form that was counted",
                  caption="Attention in blocks stores no scores: it runs head by head and block by block in a loop."),
            lines(time, T, "token_seconds", "contender", name="token_time_by_length", y_label="time of one token",
                  title="Time per token of a training step of the whole model, as many tokens in each",
                  caption="Attention's FLOPs per token grow with T, a recurrence's do not."),
            lines(time, T, "speed", "contender", name="speed_by_length", y_label="FLOPs per second",
                  title="Speed of the same steps"),
        ),
        tables=(table(depth, ("contender",), T, "forward_depth", None, "Depth of the op, forward"),
                table(generation, ("mixer",), T, "generation_depth", None, "Depth of writing T tokens"),
                *(table(part, ("mixer",), "contender", "ratio", title=f"Factor of {y.replace('_', ' ')} {span}")
                  for y, part in grown.items())),
        limits=(*conditions(rows), "A sum of n numbers is log2 n operations deep, a loop its trips times its body.",
                "Time is of this device with all its cores; one core against all of them is not measured."),
    )  # fmt: skip


def _read(row: dict) -> dict:
    """Who it is, in which form; what a token takes, and the FLOPs per second."""
    mixer, seconds = row["model.mixer"], row.get("step_seconds")
    form = row["model.attention"] if mixer == "attention" else row["model.recurrence"]
    known = {"token_seconds": seconds / row["tokens"], "speed": row["jaxpr_flops"] / seconds} if seconds else {}
    return {"contender": mixer if form == "auto" else f"{mixer} ({form})"} | known
