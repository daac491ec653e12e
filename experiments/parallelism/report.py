"""The report of `parallelism`: whose steps must follow each other, and what that costs on this machine."""

from collections.abc import Mapping

from transformer_jax.intervals import ABOUT_EQUAL, Estimate, verdict
from transformer_jax.report import Finding, Report, Rows, Rule, Verdict, all_above, all_below, conditions, lines
from transformer_jax.report.points import groups, mean, ratio, relative, select, slope, values
from transformer_jax.report.rules import of_at_least, only_recurrences
from transformer_jax.report.tables import grid, number, table
from transformer_jax.report.variants import formed

T, DEEP, FLAT = "seq_len", 0.9, 0.25
SHALLOWEST = ("attention (reference)", "rnn", "gru", "lstm", "min_gru (associative)")


def _word(exponent: Estimate) -> str:
    return "sequential" if exponent.low >= DEEP else "parallel" if exponent.high <= FLAT else "between"


def _sequential(exponent: Estimate) -> bool | None:
    return {"sequential": True, "parallel": False}.get(_word(exponent))


def _depth(depth: Rows) -> dict[str, Estimate]:
    return {name: slope(select(depth, contender=name), T, "train_depth", None) for name in SHALLOWEST}


def _written(generation: Rows) -> dict[str, Estimate]:
    return {f"{name}, writing": slope(part, T, "generation_depth", None)
            for (name,), part in groups(generation, "mixer").items()}  # fmt: skip


def _read(row: dict) -> dict:
    """Who it is, in which form; what a token takes, and the FLOPs per second."""
    seconds = row.get("step_seconds")
    known = {"token_seconds": seconds / row["tokens"], "speed": row["jaxpr_flops"] / seconds} if seconds else {}
    return {"contender": formed(row)} | known


def _helps_more(speed_ups: Mapping[str, Estimate]) -> Verdict:
    words = {verdict(ratio) for ratio in speed_ups.values()}
    larger, not_larger = (
        "slower" in words,
        words & {"faster", "equal", "about equal"},
    )  # of times a ratio above 1: slower
    if "undecided" in words:
        return Verdict.INCONCLUSIVE
    return Verdict.TASK_DEPENDENT if larger and not_larger else Verdict.SUPPORTED if larger else Verdict.REFUTED


RULES = {
    "only_recurrences_are_sequential": Rule(
        f"Steps are sequential where the depth grows as T^{DEEP} or faster, parallel where as T^{FLAT} or slower (a sum"
        " over T is log T deep, which has 0.2 over these lengths). SUPPORTED if attention is parallel and every"
        " recurrence, in its least deep form, sequential; REFUTED if attention is sequential or every recurrence"
        " parallel; TASK-DEPENDENT if attention and some recurrences are parallel and others sequential; else, or"
        " where one is not measured, INCONCLUSIVE.",
        only_recurrences(_sequential),
        reads=(_depth, _written, _read),
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
    "cores_help_more": Rule(
        "A step's speed-up is its time on one core over that on all of them, at the longest T. SUPPORTED if attention's"
        " is larger than each recurrence's: the ratio above 1 with its 95 % interval over passes; REFUTED if it is for"
        f" none: below 1, or about equal (the interval holds 1 and lies within {ABOUT_EQUAL[0]} and {ABOUT_EQUAL[1]});"
        " TASK-DEPENDENT if it is for some and not for others; else, or where one is not measured, INCONCLUSIVE.",
        of_at_least(2, _helps_more),
    ),
}


def _against(ratios: Rows, measured: Rows) -> dict[str, Estimate]:
    """Attention's ratio over that of each other that was measured."""
    return {f"over {name}": ratio(ratios, "ratio", "contender", "attention", name)
            for name in values(measured, "contender") if name != "attention"}  # fmt: skip


def report(rows: Rows) -> Report:
    """Any subset of rows will do; what is missing has no verdict."""
    rows = [row | _read(row) for row in rows]
    depth, generation, time, cores = (select(rows, study=name) for name in ("depth", "generation", "time", "cores"))
    lengths = values(select(time, status="ok"), T)
    span = f"at T = {lengths[-1]:,} over that at {lengths[0]:,}" if lengths else ""
    over = "The numbers: attention's over each recurrence's."
    ends = {y: {name: ratio(part, y, T, lengths[-1], lengths[0]) for (name,), part in groups(time, "contender").items()}
            for y in ("token_seconds", "speed")} if lengths else {}  # fmt: skip
    short, long = (select(time, seq_len=lengths[at]) if lengths else [] for at in (0, -1))
    grown = {y: relative(long, y, short, ("contender",)) for y in ("token_seconds", "speed")}
    gained = relative(select(cores, cores="one"), "step_seconds", select(cores, cores="all"), ("contender", T))
    farthest = select(gained, seq_len=values(gained, T)[-1:])
    faster = "; ".join(f"{name}: {number(mean(part, 'ratio').value)}"
                       for (name,), part in groups(farthest, "contender").items())  # fmt: skip
    each = {y: "; ".join(f"{name}: {number(e.value)}" for name, e in found.items()) for y, found in ends.items()}
    time_of, speed_of = (f"{span}: {each[y]}. {over}" if lengths else "" for y in ("token_seconds", "speed"))
    deep, written = _depth(depth), _written(generation)
    rule, power = RULES["only_recurrences_are_sequential"], "the depth grows as T to this power"
    return Report(
        question="Are a recurrence's steps sequential, and attention's parallel?",
        setting="As many tokens in every step: T goes up, the batch down. Depth: operations that must follow each other"
        " on any number of processors, counted from the program.",
        answers=(
            Finding("In training: a recurrence sequential, attention parallel?", power, deep, rule, _word,
                    of="the op alone, forward and backward, least deep form"),
            Finding("In writing T tokens: the same?", power, written, rule, _word, of="the whole model"),
            Finding("Does a token's time grow less with attention?", f"Time {time_of}",
                    _against(grown["token_seconds"], time), RULES["time_grows_less"],
                    of="training step of the whole model"),
            Finding("Does attention keep more of its speed?", f"FLOPs per second {speed_of}",
                    _against(grown["speed"], time), RULES["speed_is_kept"], of="the same steps, by their FLOPs"),
            Finding("Do more cores help attention more?", faster and f"Speed-up from one core to all: {faster}. {over}",
                    _against(farthest, cores), RULES["cores_help_more"], of="the same programs, at the longest T"),
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
            lines(gained, T, "ratio", "contender", log="x", name="speed_up_by_length", y_label="times as fast",
                  title="What all cores make of a step on one of them", reference=1),
        ),
        tables=(table(depth, ("contender",), T, "forward_depth", None, "Depth of the op, forward"),
                table(generation, ("mixer",), T, "generation_depth", None, "Depth of writing T tokens"),
                grid(f"Factors {span}", ("of",), {(y,): found for y, found in ends.items()})),
        limits=(*conditions(rows), "A sum of n numbers is log2 n operations deep, a loop its trips times its body.",
                "Time is of this device with all its cores. On one core a program's threads take turns; on the two of"
                " an AMD EPYC that took up to a tenth longer than a program made for one. Cores are withheld on a CPU"
                " under Linux alone."),
    )  # fmt: skip
