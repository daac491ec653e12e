"""The report of `recall`: who recalls more, at how many pairs, by how much."""

from transformer_jax.report import Finding, Report, Rows, Rule, all_above, conditions, difference, lines, select, table

PAIRS = (2, 4, 8)  # one pair is no choice


RULES = {
    "attention_recalls_more": Rule(
        "SUPPORTED if attention's accuracy less the LSTM's, over seeds, has a 95 % interval above 0 at 2, 4 and 8"
        " pairs; REFUTED if below 0 at all three; TASK-DEPENDENT if above at some and below at others; else, or where"
        " one of them is not measured, INCONCLUSIVE.",
        all_above(),
    )
}


def report(rows: Rows) -> Report:
    """The last evaluation of every lane, compared lane by lane."""
    curve = select(rows, study="pairs", status="ok")
    last = select(curve, step=max((row["step"] for row in curve), default=0))
    gaps = {
        f"{n} pairs": difference(select(last, num_items=n), "accuracy", "mixer", "attention", "lstm", pair="lane")
        for n in PAIRS
    }
    finding = Finding(
        "Does attention recall more pairs than an LSTM with as many parameters, after as many steps?",
        "attention's accuracy less the LSTM's",
        gaps,
        RULES["attention_recalls_more"],
    )
    return Report(
        question="How many key-value pairs does each recall after a short training?",
        answers=(finding,),
        figures=(
            lines(last, "num_items", "accuracy", "mixer", pair="lane", log="x", name="accuracy_by_pairs"),
            lines(curve, "step", "accuracy", "mixer", panel="num_items", pair="lane", log="", name="accuracy_by_step"),
        ),
        tables=(table(last, ("num_items",), "mixer", "accuracy", pair="lane"),),
        limits=(
            *conditions(rows),
            "One size, one learning rate, a short training: it measures how soon recall is learned, not what a"
            " model can hold.",
        ),
    )
