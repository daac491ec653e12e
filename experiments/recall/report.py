"""The report of `recall`: who recalls more, at how many pairs, how far away, by how much."""

from transformer_jax.intervals import NOTHING
from transformer_jax.report import (
    Finding,
    Report,
    Rows,
    Rule,
    all_above,
    conditions,
    difference,
    lines,
    mean,
    select,
    table,
)

PAIRS, RECURRENCES, SEEDS = (2, 4, 8), ("gru", "lstm"), 5


RULES = {
    "attention_recalls_more": Rule(
        "SUPPORTED if attention's accuracy less a GRU's, and less an LSTM's, has a 95 % interval above 0, over seeds,"
        " at 2, 4 and 8 pairs; REFUTED if below 0 in all six; TASK-DEPENDENT if above in some and below in others;"
        f" else, or where fewer than {SEEDS} seeds are measured, INCONCLUSIVE.",
        all_above(),
    )
}


def report(rows: Rows) -> Report:
    """The last evaluation of every lane, compared lane by lane."""
    curve = select(rows, study="pairs", status="ok")
    last = select(curve, step=max((row["step"] for row in curve), default=0))

    def gap(n: int, mixer: str):
        found = difference(select(last, num_items=n), "accuracy", "mixer", "attention", mixer, pair="lane")
        return found if found.n >= SEEDS else NOTHING

    most = select(last, num_items=max(PAIRS))
    octaves = {name for row in most for name in row if name.startswith("accuracy_")}
    by_distance = [row | {"distance": int(name.split("_")[1]), "right": row[name]}
                   for row in most for name in octaves if row.get(name) is not None]  # fmt: skip
    edges = {f"{row['model.mixer']} at {row['task.num_items']} pairs": None for row in select(last, rate_at_edge=True)}
    return Report(
        question="How many key-value pairs does each recall after a short training?",
        answers=(
            Finding("Does attention recall more pairs than recurrences with as many parameters, after as many steps?",
                    "attention's accuracy less theirs",
                    {f"{n} pairs, less {mixer}": gap(n, mixer) for n in PAIRS for mixer in RECURRENCES},
                    RULES["attention_recalls_more"]),
            Finding(f"How much does each recall of {max(PAIRS)} pairs?",
                    f"share of right answers; guessing among their values gives {1 / max(PAIRS):g}",
                    {f"{max(PAIRS)} pairs: {mixer}": mean(select(most, mixer=mixer), "accuracy", pair="lane")
                     for mixer in ("attention", *RECURRENCES)}),
        ),
        figures=(
            lines(last, "num_items", "accuracy", "mixer", pair="lane", log="x", name="accuracy_by_pairs",
                  title="Accuracy by the number of pairs", x_label="pairs",
                  caption="Guessing among the values of n pairs is right once in n times."),
            lines(curve, "step", "accuracy", "mixer", panel="num_items", pair="lane", log="", name="accuracy_by_step"),
            lines(by_distance, "distance", "right", "mixer", pair="lane", log="x", name="accuracy_by_distance",
                  title=f"Accuracy by distance, {max(PAIRS)} pairs", x_label="tokens from a key to where it is asked"
                  " for, at least", caption="By octave, each drawn at its lower end; means over seeds."),
        ),
        tables=(
            table(last, ("num_items",), "mixer", "accuracy", pair="lane"),
            table(last, ("num_items", "mixer"), "lane", "accuracy", None, "Accuracy, seed by seed"),
        ),
        notes=[f"The chosen rate is the lowest or highest that was tried: {', '.join(edges)}."] * bool(edges),
        limits=(*conditions(rows), "One size, a short training: it measures how soon recall is learned, not what a"
                " model can hold. Of five rates one is chosen by as many steps of a seed that no answer uses."),
    )  # fmt: skip
