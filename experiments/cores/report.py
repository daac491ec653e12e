"""The report of `cores`: what a longer sequence costs a token, and what a second core gives it back."""

from transformer_jax.config import MIXERS
from transformer_jax.intervals import Estimate
from transformer_jax.report import Finding, Report, Rows, Rule, all_above, all_below, conditions, lines, relative, table
from transformer_jax.report.costs import flops
from transformer_jax.report.points import groups, mean, ratio, select, values
from transformer_jax.report.tables import number
from transformer_jax.report.variants import formed

T, TIME, TENTH = "seq_len", "step_seconds", 1.1
OTHERS = ("rnn", "gru", "lstm", "min_gru (sequential)", "min_gru (associative)")

RECURRENT = [mixer for mixer in MIXERS if mixer != "attention"]


def _read(row: dict) -> dict:
    """Who it is, in which form; what a token takes, and the FLOPs per second."""
    seconds = row.get(TIME)
    known = {"token_seconds": seconds / row["tokens"], "speed": flops(row) / seconds} if seconds else {}
    return row | {"contender": formed(row)} | known


def _grown(rows: Rows, y: str) -> list[dict]:
    """y at the longest T over that at the shortest, on all cores, pass by pass."""
    steps, lengths = select(rows, study="steps", cores="all"), values(rows, T)
    return relative(select(steps, seq_len=lengths[-1:]), y, select(steps, seq_len=lengths[:1]), ("contender",))


def _gained(rows: Rows) -> list[dict]:
    """Time on one core over that on all of them, pass by pass."""
    one, all_ = (select(rows, study="steps", cores=cores) for cores in ("one", "all"))
    return relative(one, TIME, all_, ("contender", T))


def _against(ratios: Rows, rows: Rows) -> dict[str, Estimate]:
    """Attention's ratio over that of each recurrence, whether it was measured or not."""
    mine = next(iter(values(select(rows, mixer="attention"), "contender")), "attention")
    names = dict.fromkeys([*OTHERS, *values(select(rows, mixer=RECURRENT), "contender")])
    return {f"over {name}": ratio(ratios, "ratio", "contender", mine, name) for name in names}


def _finding(question: str, what: str, ratios: Rows, rows: Rows, rule: str, of: str) -> Finding:
    each = "; ".join(f"{name}: {number(mean(part, 'ratio').value)}"
                     for (name,), part in groups(ratios, "contender").items())  # fmt: skip
    return Finding(question, f"{what}: {each}. The numbers: attention's over each recurrence's." if each else "",
                   _against(ratios, rows), RULES[rule], of=of)  # fmt: skip


RULES = {
    "time_grows_less": Rule(
        "SUPPORTED if from the shortest to the longest T a token's time grows by a smaller factor for attention than"
        " for each recurrence: the ratio of the factors below 1, with its 95 % interval over passes; REFUTED if above 1"
        " for all; TASK-DEPENDENT if there are both; else, or where one is not measured, INCONCLUSIVE.",
        all_below(1.0),
        reads=(_read, _grown, _against),
    ),
    "speed_is_kept": Rule(
        "As for a token's time, with FLOPs per second: SUPPORTED if attention keeps more, the ratio above 1 for each"
        " recurrence; REFUTED if below 1 for all.",
        all_above(1.0),
        reads=(_read, _grown, _against),
    ),
    "cores_help_more": Rule(
        "A step's speed-up is its time on one core over that on all of them, at the longest T. SUPPORTED if attention's"
        f" is more than {TENTH} times each recurrence's, with the 95 % interval over passes; REFUTED if each"
        f" recurrence's is more than {TENTH} times attention's; TASK-DEPENDENT if there are both; else, or where one is"
        " not measured, INCONCLUSIVE. A tenth: that threads take turns on one core costs a program up to that.",
        all_above(TENTH, below=1 / TENTH),
        reads=(_read, _gained, _against),
    ),
}


def report(rows: Rows) -> Report:
    """Any subset of rows will do; what is missing has no verdict."""
    rows = [_read(row) for row in rows]
    all_cores, lengths = select(rows, study="steps", cores="all"), values(rows, T)
    gained, last = _gained(rows), lengths[-1:]
    span = f"at T = {lengths[-1]:,} over that at {lengths[0]:,}" if lengths else ""
    return Report(
        question="What does a longer sequence cost a token, and what does a second core give back?",
        setting="A training step of as many tokens each time: T goes up, the batch down. The whole model.",
        answers=(
            _finding("Does a token's time grow less with attention?", f"Time {span}",
                     _grown(rows, "token_seconds"), rows, "time_grows_less", "on all cores"),
            _finding("Does attention keep more of its speed?", f"FLOPs per second {span}",
                     _grown(rows, "speed"), rows, "speed_is_kept", "on all cores"),
            _finding("Do more cores help attention more?", "Time on one core over that on all",
                     select(gained, seq_len=last), rows, "cores_help_more", f"T = {last[0]:,}" if last else ""),
        ),
        figures=(
            lines(all_cores, T, "token_seconds", "contender", name="token_time_by_length", y_label="time of one token",
                  title="Time per token, on all cores",
                  caption="Attention's FLOPs per token grow with T, a recurrence's do not."),
            lines(gained, T, "ratio", "contender", log="x", name="speed_up_by_length", y_label="times as fast",
                  title="How many times as fast a step is on all cores as on one", reference=1),
        ),
        tables=(table(gained, ("contender",), T, "ratio", title="Times as fast on all cores as on one"),
                table(all_cores, ("contender",), T, TIME, title="Seconds of a step, on all cores")),
        limits=(*conditions(rows), "On one core a program keeps its threads, which take turns: that costs up to a tenth"
                " (docs/measuring.md), which no interval holds. Cores are withheld on a CPU under Linux alone."),
    )  # fmt: skip
