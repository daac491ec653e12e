"""The report of `gradient_flow`: through what the gradient vanishes or explodes, and what decides it."""

from transformer_jax.intervals import Estimate
from transformer_jax.report import Finding, Report, Rows, Rule, conditions, lines, only_recurrences, table
from transformer_jax.report.points import by_seed, groups, mean, select
from transformer_jax.report.rules import with_missing

LIMIT, UNIT = 1.0, "orders of magnitude in 100 steps"


def _word(slope: Estimate) -> str:
    if slope.high < -LIMIT or slope.low > LIMIT:
        return "vanishes" if slope.high < 0 else "explodes"
    return "kept" if -LIMIT <= slope.low and slope.high <= LIMIT else "open"


def _loses(slope: Estimate) -> bool | None:
    return {"kept": False, "open": None}.get(_word(slope), True)


def _rule(where: str) -> Rule:
    return Rule(
        f"A gradient vanishes where the slope of its norm over the lag lies below -{LIMIT:g} {UNIT} with its whole 95 %"
        f" interval over seeds, explodes where above {LIMIT:g}, and is kept where between. SUPPORTED if attention keeps"
        f" it and every recurrence loses it, {where}; REFUTED if in all of them attention loses it, or every recurrence"
        " keeps it; TASK-DEPENDENT if each is lost or kept, but not all of a kind are; else, or where one is not"
        " measured, INCONCLUSIVE.",
        only_recurrences(_loses),
        reads=(_slopes,),
    )


APART = {"mixer": ("reader",), "stack": ("reader", "norm"), "start": ("start",), "trained": ("reader", "trained")}
"""By study what tells its slopes apart."""
EVERY = ("attention", "rnn", "gru", "lstm", "min_gru")
ASKED_OF = {
    "mixer": EVERY, "stack": [f"{reader}, {norm}" for reader in EVERY for norm in ("pre", "post")],
    "start": ["attention", *(f"lstm, forget bias {bias}" for bias in ("0", "1", "3", "5.5")),
              *(f"rnn, matrix × {scale}" for scale in (1, 2, 3))],
    "trained": [f"{reader}, {when}" for reader in ("attention", "gru", "lstm") for when in ("before", "after")],
}  # fmt: skip
"""By study those without whom its rule is open."""
ASKED = {  # of each study: the question, and where the rule looks
    "mixer": ("Through a mixer alone?", "alone and as their layers start"),
    "stack": ("Through two blocks?", "in two blocks with either norm"),
    "start": ("However it starts?", "alone, for each forget bias of the LSTM and matrix of the RNN"),
    "trained": ("Before and after training?", "in two blocks, over the blank, before and after"),
}
THROUGH = {"mixer": "a mixer alone", "trained": "two blocks, copying"}
STARTS = {"lstm": ("measure.forget_bias", "forget bias"), "rnn": ("measure.recurrent_scale", "matrix ×")}


def _slopes(rows: Rows) -> dict[str, dict[str, Estimate]]:
    """By study, and in it by what tells its slopes apart."""
    rows = _flows(rows)
    found = {study: {", ".join(key): mean(part, "decades", "lane")
                     for key, part in groups(select(rows, study=study), *names).items()}
             for study, names in APART.items()}  # fmt: skip
    return {study: with_missing(slopes, ASKED_OF[study]) for study, slopes in found.items()}


def _flows(rows: Rows) -> list[dict]:
    """What the gradient went through, how that started, and how fast it falls; in the order of a page."""
    found = []
    for row in rows:
        mixer, step, slope = row["model.mixer"], row.get("step") or 0, row.get("slope")
        column, word = STARTS.get(mixer, ("", ""))
        value = f"{word} {row[column]:g}" if column else ""
        order = (column, row.get(column, 0), row["model.norm"] == "post", step)
        found.append((order, row | {
            "reader": mixer, "value": value, "start": f"{mixer}, {value}" if value else mixer,
            "trained": "after" if step else "before", "when": f"after {step} steps" if step else "before",
            "decades": None if slope is None else 100 * slope,
            "through": THROUGH.get(row["measure.level"], f"two blocks, {row['model.norm']}-norm"),
            "share_of_lost": row.get("lost"),
        }))  # fmt: skip
    return [row for _, row in sorted(found, key=lambda one: one[0])]


RULES = {study: _rule(where) for study, (_, where) in ASKED.items()}


def report(rows: Rows) -> Report:
    """Seed by seed; a study that is not measured has a finding without a verdict."""
    slopes, whole = _slopes(rows), by_seed(_flows(rows), apart=False)
    rows, spectrum = (select(whole, study=study) for study in (ASKED, "spectrum"))
    ends = [row for row in rows if row.get("lost") is not None]
    through = [row for row in select(whole, study="through_training") if row.get("step")]
    mixer, stack, start, trained = (select(rows, study=study) for study in ASKED)
    look = {"pair": "lane", "log": "y", "x_label": "lag (steps before the last)", "y_label": "norm over that at lag 1"}
    return Report(
        question="Does the gradient vanish or explode through a recurrence, and not through attention?",
        setting="The gradient of the last output by what each earlier step reads. -20 orders of magnitude in 100 steps:"
        " 100 steps further back it is 10⁻²⁰ times as large.",
        answers=[
            Finding(ASKED[study][0], _sentence(found), found, RULES[study], of=UNIT) for study, found in slopes.items()
        ],
        figures=(
            lines(mixer + stack, "lag", "relative_norm", "reader", "through", name="gradient_by_lag", **look,
                  title="The gradient on its way back, before training",
                  caption="Means of the logarithm over seeds, 95 % intervals. Lines end where float32 does."),
            lines([row for row in start if row["value"]], "lag", "relative_norm", "value", "reader",
                  name="gradient_by_start", **look, title="A mixer alone, by how it starts"),
            lines(trained, "lag", "relative_norm", "when", "reader", name="gradient_trained", **look,
                  title="Two blocks, before and after training on copying symbols over a blank",
                  caption="The symbols are the last lags, and all others up to the seventh read the same blank."),
            lines(through, "step", "decades", "reader", pair="lane", log="x", name="slope_through_training",
                  title="The slope through training", x_label="steps of training", y_label=UNIT),
            lines(spectrum, "place", "singular_value", "start", pair="lane", log="y", name="spectrum_of_a_step",
                  title="Singular values of one step's Jacobian, state by the state before",
                  x_label="place among them: 0 the smallest, 1 the largest", y_label="singular value"),
        ),
        tables=(
            table(ends, ("start", "through", "when"), "lag", "share_of_lost", "lane",
                  "Share of seeds whose gradient at the last lag is under 10⁻⁶, or over 10³, of lag 1's"),
            table(ends, ("start", "through", "when"), "seed", "decades", None, f"The slope seed by seed, {UNIT}"),
        ),
        limits=(*conditions(rows), "A residual stream carries a vector to its own step alone: from lag 1 on all of the"
                " gradient of a stack has come through the mixers. Inputs are independent normal vectors; where a stack"
                " is trained, the embeddings of the task's tokens, before and after."),
    )  # fmt: skip


def _sentence(slopes: dict[str, Estimate]) -> str:
    """Who does what: "kept: attention; vanishes or explodes: rnn"."""
    words: dict[str, dict] = {}
    for name, slope in ((name, slope) for name, slope in slopes.items() if slope.n):
        words.setdefault(name.partition(",")[0], {})[_word(slope)] = None
    readers = {said: [reader for reader in words if " or ".join(words[reader]) == said]
               for said in map(" or ".join, words.values())}  # fmt: skip
    return "; ".join(f"{said}: {', '.join(names)}" for said, names in readers.items())
