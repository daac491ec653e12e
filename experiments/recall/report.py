"""The report of `recall`: who learns to recall, at how many pairs and how far away, and in how many steps."""

from transformer_jax.intervals import Estimate
from transformer_jax.lab.in_seconds import equal_budgets, how_timed, in_attentions_steps
from transformer_jax.report import AT_EDGE, SOONEST, Finding, Report, Rows, Rule, conditions, lines, note, table
from transformer_jax.report.points import groups, is_number, mean, reached, select, values
from transformer_jax.report.rules import of_at_least, sooner

PAIRS, MIXERS, SEEDS, SHARE = (2, 4, 8), ("attention", "gru", "lstm"), 5, 0.8


def _last(rows: Rows, study: str) -> list[dict]:
    """The last evaluation of each cell; where seconds are matched, cells differ in their steps."""
    cells = groups(select(rows, study=study, status="ok"), "key", "round").values()
    return [row for of_cell in cells for row in select(of_cell, step=max(row["step"] for row in of_cell))]


def _steps(rows: Rows, study: str = "pairs") -> dict[str, Estimate]:
    last = _last(rows, study)
    return {f"{n} pairs, {mixer}": reached(select(last, num_items=n, mixer=mixer), "solved_step", SHARE, "step")
            for n in PAIRS for mixer in MIXERS}  # fmt: skip


RULES = {
    "only_attention_recalls": Rule(
        f"A model has learned to recall n pairs once {SHARE:.0%} of at least {SEEDS} seeds answer 99 % of new queries."
        " It wins if it has within half of the steps and the other side, of the recurrences the sooner, has not within"
        " all. SUPPORTED if attention wins at 2, 4 and 8 pairs; REFUTED if a GRU or LSTM does; TASK-DEPENDENT if each"
        " wins somewhere; else, or where a model is not measured, INCONCLUSIVE: who fails may have lacked steps.",
        of_at_least(SEEDS, sooner("wins")),
        reads=(_steps,),
    )
}


def report(rows: Rows) -> Report:
    """Every lane's curve, and its last evaluation; what only the full size has stands behind."""
    counted = in_attentions_steps(rows)
    curve = select(rows, study="pairs", status="ok")
    last, length, state = (_last(rows, study) for study in ("pairs", "length", "state"))
    seconds = select(_last(rows, "seconds"), trained_steps=is_number)
    learned, rule = f"steps until {SHARE:.0%} of the seeds answer 99 %", RULES["only_attention_recalls"]
    n = max(values(select(last, num_items=PAIRS), "num_items") or values(last, "num_items"), default=max(PAIRS))
    most, pairs = select(last, num_items=n), f"{n} pair{'s' if n > 1 else ''}"
    right = {f"{pairs}: {mixer}": mean(select(most, mixer=mixer), "accuracy", pair="lane") for mixer in MIXERS}
    octaves = {name for row in most for name in row if name.startswith("accuracy_")}
    by_distance = [row | {"distance": int(name.split("_")[1]), "accuracy_there": row[name]}
                   for row in most for name in octaves if row.get(name) is not None]  # fmt: skip
    edges = (f"{row['model.mixer']} at {row['task.num_items']} pairs" for row in select(last, rate_at_edge=True))
    return Report(
        question=f"Who learns to recall key-value pairs, in {max([0, *(row['step'] for row in last)]):,} steps?",
        answers=(
            Finding("Does attention learn to recall what recurrences with as many parameters do not?",
                    learned, _steps(counted), rule),
            Finding(f"How much does each recall of {pairs} in the end?",
                    f"share of right answers; a guess among the values of a row gives {1 / n:.3g}", right),
            *equal_budgets(counted, learned, lambda study: _steps(counted, study), rule),
        ),
        figures=(
            lines(last, "num_items", "accuracy", "mixer", pair="lane", log="x", name="accuracy_by_pairs",
                  title="Accuracy by the number of pairs", x_label="pairs",
                  caption="A guess among the n values of a row is right once in n times."),
            lines(curve, "step", "accuracy", "mixer", panel="num_items", pair="lane", log="", name="accuracy_by_step"),
            lines(by_distance, "distance", "accuracy_there", "mixer", pair="lane", log="x", name="accuracy_by_distance",
                  title=f"Accuracy by distance, {pairs}", x_label="tokens from a key to where it is asked"
                  " for, at least", caption="By octave, each drawn at its lower end; means over seeds."),
            lines(length, "seq_len", "accuracy", "mixer", pair="lane", log="x", name="accuracy_by_length",
                  title="Accuracy where pairs grow with the length: 4, 8, 16 and 64"),
            lines(state, "state_bytes", "accuracy", "mixer", pair="lane", log="x", name="accuracy_by_state",
                  title="Accuracy by what is kept of the sequence, 16 pairs in 256 tokens",
                  x_label="bytes that decoding keeps: keys and values, or the state"),
        ),
        tables=(
            table(last, ("num_items", "mixer"), "lane", "accuracy", None, "Accuracy, seed by seed"),
            table(last, ("num_items", "mixer"), "lane", "solved_step", None, "Steps until 99 %, seed by seed"),
            table(seconds, ("num_items",), "mixer", "trained_steps", "lane", "Steps in as many seconds as attention's"),
        ),
        notes=note(AT_EDGE, edges),
        limits=(*conditions(rows), *how_timed(rows), "It measures how soon recall is learned, not what a model can"
                f" hold. {SOONEST}"),
    )  # fmt: skip
