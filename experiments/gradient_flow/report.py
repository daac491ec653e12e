"""The report of `gradient_flow`: through what the gradient vanishes or explodes, and what decides it."""

from transformer_jax.intervals import Estimate
from transformer_jax.report import Finding, Report, Rows, Rule, Verdict, conditions, lines, mean, select, table
from transformer_jax.report.points import groups

LIMIT, UNIT = 1.0, "orders of magnitude in 100 steps"


def _word(slope: Estimate) -> str:
    if slope.high < -LIMIT or slope.low > LIMIT:
        return "vanishes" if slope.high < 0 else "explodes"
    return "kept" if -LIMIT <= slope.low and slope.high <= LIMIT else "open"


def _only_recurrences_lose_it(slopes: dict[str, Estimate]) -> Verdict:
    words = {name: _word(slope) for name, slope in slopes.items()}
    attention, recurrent = ({word == "kept" for name, word in words.items() if name.startswith("attention") == is_one}
                            for is_one in (True, False))  # fmt: skip
    if "open" in words.values() or not (attention and recurrent):
        return Verdict.INCONCLUSIVE
    if attention == {True} and recurrent == {False}:
        return Verdict.SUPPORTED
    return Verdict.REFUTED if attention == {False} or recurrent == {True} else Verdict.TASK_DEPENDENT


def _rule(where: str) -> Rule:
    return Rule(
        f"A gradient vanishes where the slope of its norm over the lag lies below -{LIMIT:g} {UNIT} with its whole 95 %"
        f" interval over seeds, explodes where above {LIMIT:g}, and is kept where between. SUPPORTED if attention keeps"
        f" it and every recurrence loses it, {where}; REFUTED if in all of them attention loses it, or every recurrence"
        " keeps it; TASK-DEPENDENT if each is lost or kept, but not all of a kind are; else, or where one is not"
        " measured, INCONCLUSIVE.",
        _only_recurrences_lose_it,
    )


ASKED = {  # of each study: the question, where the rule looks, and what tells its slopes apart
    "mixer": ("Through a mixer alone?", "alone and as their layers start", "reader"),
    "stack": ("Through two blocks?", "in two blocks with either norm", "reader", "norm"),
    "start": (
        "However it starts?",
        "alone, for every forget bias of the LSTM and recurrent matrix of the RNN",
        "start",
    ),
    "trained": ("After a short training?", "in two blocks, before and after the training", "reader", "when"),
}
RULES = {study: _rule(where) for study, (_, where, *_) in ASKED.items()}


def report(rows: Rows) -> Report:
    """Seed by seed; a study that is not measured has a finding without a verdict."""
    rows = [row | _read(row) for row in rows]
    mixer, stack, start, trained = (select(rows, study=study) for study in ASKED)
    slopes = {study: {", ".join(key): mean(part, "decades", "lane")
                      for key, part in groups(select(rows, study=study), *names).items()}
              for study, (_, _, *names) in ASKED.items()}  # fmt: skip
    look = {"pair": "lane", "log": "y", "x_label": "lag (steps before the last)", "y_label": "norm over that at lag 1"}
    return Report(
        question="Does the gradient vanish or explode through a recurrence, and not through attention?",
        setting="The gradient of the last output by what each earlier step reads. -20 orders of magnitude in 100 steps:"
        " 100 steps further back it is 10⁻²⁰ times as large.",
        answers=[Finding(ASKED[study][0], "slope of the norm over the lag", found, RULES[study], _word, of=UNIT)
                 for study, found in slopes.items()],
        figures=(
            lines(mixer + stack, "lag", "relative_norm", "reader", "place", name="gradient_by_lag", **look,
                  title="The gradient on its way back, before training",
                  caption="Means of the logarithm over seeds, 95 % intervals. Lines end where float32 does."),
            lines(start, "lag", "relative_norm", "start", "reader", name="gradient_by_start", **look,
                  title="A mixer alone: the LSTM's forget bias and the RNN's recurrent matrix at the start"),
            lines(trained, "lag", "relative_norm", "when", "reader", name="gradient_trained", **look,
                  title="Two blocks, before and after a short training on copying symbols over a blank"),
        ),
        tables=(table([row for row in rows if row.get("lost") is not None], ("start", "place", "when"), "lag", "lost",
                      "lane", "Share of seeds whose gradient at the last lag is under 10⁻⁶, or over 10³, of lag 1's"),),
        limits=(*conditions(rows), "A residual stream carries a vector to its own step alone: from lag 1 on all of the"
                " gradient of a stack has come through the mixers. Inputs are independent normal vectors; where a stack"
                " is trained, the embeddings of the task's tokens, before and after."),
    )  # fmt: skip


def _read(row: dict) -> dict:
    """What the gradient went through, and how that started."""
    mixer, bias, scale = row["model.mixer"], row["measure.forget_bias"], row["measure.recurrent_scale"]
    start = {"lstm": f"lstm, forget bias {bias:g}", "rnn": f"rnn, matrix × {scale:g}"}.get(mixer, mixer)
    places = {"mixer": "a mixer alone", "trained": "two blocks, copying"}
    place = places.get(row["measure.level"], f"two blocks, {row['model.norm']}-norm")
    when = f"after {row['step']} steps" if row.get("step") else "before"
    decades = None if row.get("slope") is None else 100 * row["slope"]
    return {"reader": mixer, "start": start, "place": place, "when": when, "decades": decades}
