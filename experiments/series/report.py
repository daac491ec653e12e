"""The report of `series`: who is ahead where a whole series is to be told apart."""

from transformer_jax.intervals import NOTHING, Estimate
from transformer_jax.report import AT_EDGE, Finding, Report, Rows, Rule, all_above, conditions, lines, note, table
from transformer_jax.report.points import by_seed, difference, mean, select

SERIES = {"digits": "permuted digits", "shapes_1d": "shapes"}
MIXERS, SEEDS = ("attention", "gru", "lstm"), 5
DIGITS, BATCHES = 359, 16
"""Test series: all digits of that part, and so many batches of generated shapes."""


def _read(rows: Rows) -> list[dict]:
    """A lane without a finite number answers nothing right."""
    rows = select(by_seed(rows), study=SERIES, status="ok")
    return [row | ({"accuracy": row["accuracy"] or 0.0} if "lane" in row else {}) for row in rows]


def _ahead(rows: Rows) -> dict[str, Estimate]:
    """Attention's right answers less a recurrence's, seed by seed; nothing where seeds are missing."""
    series = _read(rows)
    found = {f"{what}, over {mixer}": difference(select(series, study=study), "accuracy", "mixer", "attention", mixer,
                                                 pair="lane")
             for study, what in SERIES.items() for mixer in MIXERS[1:]}  # fmt: skip
    return {label: one if one.n >= SEEDS else NOTHING for label, one in found.items()}


RULES = {
    "attention_is_ahead_on_series": Rule(
        "Right answers on the test split after the last step: attention's (sinusoidal positions) less a GRU's and an"
        " LSTM's with as many parameters, seed by seed, of handwritten digits read pixel by pixel in a fixed random"
        " order, and of shapes in noisy series. SUPPORTED if all four lie above 0 with their 95 % interval over at"
        f" least {SEEDS} seeds; REFUTED if all lie below; TASK-DEPENDENT if some lie above and some below; else, or"
        " where one is not measured, INCONCLUSIVE. It says who is ahead after these steps, and nothing of more.",
        all_above(0.0),
        reads=(_ahead,),
    ),
}


def report(rows: Rows) -> Report:
    """Any subset of rows will do; what is missing has no verdict."""
    series = _read(rows)
    shapes = max((BATCHES * row["task.batch_size"] for row in select(series, study="shapes_1d")), default=0)
    right = {f"{what}, {mixer}": mean(select(series, study=study, mixer=mixer), "accuracy", "lane")
             for study, what in SERIES.items() for mixer in MIXERS}  # fmt: skip
    edges = (f"{row['task.name']} by {row['model.mixer']}" for row in select(series, rate_at_edge=True))
    return Report(
        question="Is attention ahead where a whole series is to be told apart?",
        answers=(
            Finding("Is attention ahead where a whole series is to be told apart?", "its share of right answers after"
                    " the last step less that of a recurrence with as many parameters", _ahead(rows),
                    RULES["attention_is_ahead_on_series"],
                    of=f"on these {DIGITS} digits and {shapes:,} shapes: intervals are over seeds, not over series"
                    if shapes else ""),
            Finding("How many does each get right?", "share of the test split; guessing gives 0.1", right),
        ),
        figures=(
            lines(series, "seed", "accuracy", "mixer", "name", pair=None, log="", name="accuracy_by_seed",
                  title="Right answers on the test split, seed by seed", caption="Guessing gives 0.1."),
        ),
        tables=(table(series, ("name", "mixer"), "seed", "accuracy", None, "Right answers, seed by seed"),),
        notes=note(AT_EDGE, edges),
        limits=(*conditions(rows), "As many steps for all. Of five rates the one is chosen that is best in the end on a"
                " seed that no answer uses, in half of the steps."),
    )  # fmt: skip
