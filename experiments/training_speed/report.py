"""The report of `training_speed`: seconds to a loss, attention over recurrences with as many parameters."""

from transformer_jax.intervals import NOTHING, Estimate
from transformer_jax.report import SOONEST, Finding, Report, Rows, Rule, all_below, conditions, lines, note, table
from transformer_jax.report.points import by_seed, ratio, select

LENGTHS, RECURRENCES = (64, 256), ("gru", "lstm")
SEEDS = 5
TEXTS = {"shakespeare_char": "Tiny Shakespeare", "number_words": "numbers in words (generated)"}


def _lanes(rows: Rows, study: str = "speed") -> list[dict]:
    return [_timed(row) for row in by_seed(select(rows, study=study)) if "lane" in row]


def _timed(row: dict) -> dict:
    """With the seconds to the loss; None: it did not come to it."""
    return row | {"seconds": None if row["steps"] is None else row["steps"] * row["step_seconds"]}


def _versus(lanes: Rows) -> list[dict]:
    """Two rows for each lane of a recurrence: its own, and attention's with the time of a step measured beside it."""
    attention = {(row["task.seq_len"], row["seed"]): row for row in select(lanes, mixer="attention")}
    found = []
    for row in lanes:
        twin = attention.get((row["task.seq_len"], row["seed"]))
        if row["model.mixer"] != "attention" and twin:
            of_twin = {"steps": twin["steps"], "step_seconds": row["twin_step_seconds"]}
            found += [row | {"who": "recurrence"}, _timed(row | of_twin | {"who": "attention"})]
    return found


def _ratios(rows: Rows, y: str = "seconds", study: str = "speed", lengths=LENGTHS) -> dict[str, Estimate]:
    """Attention's y over a recurrence's, by window and recurrence; nothing where a seed lacks, or (but for a step's
    seconds) did not come to the loss."""
    both, found = _versus(_lanes(rows, study)), {}
    for T in lengths:
        for mixer in RECURRENCES:
            part = select(both, seq_len=T, mixer=mixer)
            came = y == "step_seconds" or all(row["steps"] is not None for row in part)
            whole = len(part) >= 2 * SEEDS and came
            over = ratio(part, y, "who", "attention", "recurrence", pair="lane") if whole else NOTHING
            found[f"T {T}, over {mixer}"] = over
    return found


RULES = {
    "attention_is_sooner": Rule(
        "Seconds to a validation loss of 2 nats a letter of Tiny Shakespeare (0.32 of numbers in words): steps times"
        " the seconds of a step of one model alone. SUPPORTED if those of attention over those of a GRU, and over those"
        " of an LSTM, have a 95 % interval below 1, over seeds, in windows of 64 and of 256 letters; REFUTED if above 1"
        f" in all four; TASK-DEPENDENT if below in some and above in others; else, or where fewer than {SEEDS} seeds"
        " are measured or one does not come to that loss, INCONCLUSIVE.",
        all_below(1.0),
        reads=(_ratios,),
    )
}


def report(rows: Rows) -> Report:
    """Ratios lane by lane; what only the full size has stands behind."""
    lanes, flops, long = (_lanes(rows, study) for study in ("speed", "flops", "long"))
    both = _versus(lanes)
    over = [mine | {"over": twin["seconds"] / mine["seconds"]} for mine, twin in zip(both[::2], both[1::2], strict=True)
            if mine["seconds"] and twin["seconds"]]  # fmt: skip

    text, device = (", ".join(dict.fromkeys(map(str, (row.get(c) for row in lanes)))) for c in ("task.name", "device"))
    letters = ", ".join({f"{row['task.seq_len'] * row['task.batch_size']:,}": None for row in lanes})
    late, edges = ([f"{row['model.mixer']} at T {row['task.seq_len']}" for row in part]
                   for part in (select(lanes, steps=None), select(lanes, rate_at_edge=True)))  # fmt: skip
    return Report(
        question="Does attention train to a given loss in less time than a recurrence?",
        setting=f"Text: {TEXTS.get(text, text)}; {letters} letters a step; device: {device}.",
        answers=(
            Finding("Does attention come to the loss in less time?", f"its seconds over the recurrence's, on {device}",
                    _ratios(rows), RULES["attention_is_sooner"]),
            Finding("In fewer steps?", "its steps over the recurrence's", _ratios(rows, "steps")),
            Finding("Is its step shorter?", "its seconds a step over the recurrence's", _ratios(rows, "step_seconds")),
            Finding("Is it sooner than those with as many training FLOPs?", "its seconds over the recurrence's",
                    _ratios(rows, study="flops"), RULES["attention_is_sooner"]) if flops else None,
            Finding("Is it sooner in windows of 1,024 letters?", "its seconds over the recurrence's, with as many"
                    " parameters", _ratios(rows, study="long", lengths=(1024,))) if long else None,
        ),
        figures=(
            lines(over, "seq_len", "over", "mixer", pair="lane", log="x", name="seconds_by_window", reference=1,
                  title="Attention's seconds to the loss over the recurrence's", x_label="letters of a window",
                  y_label="ratio", caption="Means over seeds; both steps timed in turns."),
            lines(lanes, "seed", "steps", "mixer", "seq_len", pair="lane", log="", name="steps_by_seed",
                  title="Steps to the loss", caption="Every seed; one without a mark did not come to it."),
        ),
        tables=(
            table(lanes, ("seq_len", "mixer"), "seed", "steps", None, "Steps to the loss, seed by seed"),
            table(lanes, ("seq_len",), "mixer", "step_seconds", "lane", "Seconds of a step"),
            table(lanes, ("seq_len",), "mixer", "compile_seconds", "lane", "Seconds to compile it, not counted above"),
        ),
        notes=[*note("A seed did not come to the loss within the steps", late),
               *note("The chosen rate is an end of its grid", edges)],
        limits=(*conditions(select(rows, study="speed")), "One text; a validation reads the first 16 batches of its"
                f" validation part, or all where it has no more. {SOONEST} The rate is chosen in 400 steps."),
    )  # fmt: skip
