"""The report of `recall_length`: who still recalls when the distance grows beyond what was trained."""

from transformer_jax.intervals import NOTHING, Estimate
from transformer_jax.report import Finding, Report, Rows, Rule, all_above, conditions, lines, table
from transformer_jax.report.points import difference, mean, select

POSITIONS = ("none", "sinusoidal", "rotary")
RECURRENCES = ("gru", "lstm")
LONGER, LEARNED = 4, 0.9


def _read(row: dict) -> dict:
    """Who read, how long the test was (of a cell that failed: as the training), and by how much it was longer."""
    mixer, trained = row["model.mixer"], row["task.seq_len"]
    test_len = row.get("test_len", trained)
    reader = f"attention, {row['model.position']}" if mixer == "attention" else mixer
    return {"reader": reader, "test_len": test_len, "longer": test_len / trained}


def _trained(rows: Rows) -> dict[str, Estimate]:
    """By reader the accuracy at the trained length."""
    ok = select(rows, status="ok")
    return {reader: mean(select(ok, reader=reader, longer=1), "accuracy", pair="lane")
            for reader in dict.fromkeys(row["reader"] for row in ok)}  # fmt: skip


def _gaps(rows: Rows) -> dict[str, Estimate]:
    """Attention's accuracy less a recurrence's at the longest test, of those who learned it at the trained length."""
    learned = {reader for reader, accuracy in _trained(rows).items() if accuracy.low > LEARNED}
    both = {f"{p} less {other}": (f"attention, {p}", other) for p in POSITIONS for other in RECURRENCES}
    far = select(rows, longer=LONGER)
    return {label: difference(far, "accuracy", "reader", *who, "lane") if {*who} <= learned else NOTHING
            for label, who in both.items()}  # fmt: skip


RULES = {
    "attention_recalls_more": Rule(
        "Of queries farther from their key than any in training, at four times the trained length: SUPPORTED if the"
        " accuracy of attention, with no positions, with sinusoidal and with rotary ones, less that of a GRU and less"
        " that of an LSTM has a 95 % interval above 0, over seeds, in all six comparisons; REFUTED if below 0 in all;"
        " TASK-DEPENDENT if above in some and below in others; else, or where one of them is not measured,"
        f" INCONCLUSIVE. A model whose accuracy at the trained length does not lie above {LEARNED} with its interval"
        " has learned nothing that could be kept, and is not compared.",
        all_above(),
        reads=(_read, _gaps),
    )
}


def report(rows: Rows) -> Report:
    """Accuracy by length, lane by lane."""
    rows = [row | _read(row) for row in select(rows, study="length")]
    ok, trained = select(rows, status="ok"), _trained(rows)
    learned = [reader for reader, accuracy in trained.items() if accuracy.low > LEARNED]
    lost = {reader: difference(select(ok, reader=reader), "accuracy", "longer", LONGER, 1, pair="lane")
            for reader in learned}  # fmt: skip
    return Report(
        question="Who recalls at distances beyond those of the training?",
        answers=(
            Finding("Does attention recall more than a recurrence beyond the trained distances?",
                    f"attention's accuracy less the recurrence's at {LONGER} times the length, as many parameters",
                    _gaps(rows), RULES["attention_recalls_more"],
                    lacking="not compared, as one of the two is not measured or had not learned it"),
            Finding("What does each lose beyond the trained distances?", f"accuracy there, at {LONGER} times the"
                    " length, less that at the trained length, of those who had learned it there", lost),
            Finding("Who had learned it at the trained length?", "accuracy there", trained,
                    judge=lambda e: "learned" if e.low > LEARNED else "not learned"),
        ),
        figures=(
            lines(rows, "test_len", "accuracy", "reader", pair="lane", log="x", name="accuracy_by_length",
                  title="Accuracy by the length of the test: at the shortest, the trained one, of all queries; then of"
                  " those that are farther than any in training", x_label="length of the test (tokens)",
                  caption="Means over seeds with 95 % intervals. The number of pairs is the same at every length; the"
                  " random tokens between them grow."),
        ),
        tables=(
            table(ok, ("reader",), "test_len", "accuracy", "lane", "Accuracy of farther queries (shortest: of all)"),
            table(ok, ("reader",), "test_len", "accuracy_of_all", "lane", "Accuracy of all queries, near ones too"),
        ),
        limits=(*conditions(rows), "One size, one number of pairs, one learning rate, a short training."),
    )  # fmt: skip
