"""The report of `pareto`: on which axes of cost a lower loss takes attention, and on which a recurrence."""

from collections.abc import Mapping

from transformer_jax.intervals import Estimate
from transformer_jax.report import Finding, Report, Rows, Rule, Verdict, conditions, difference, lines, mean, table
from transformer_jax.report.points import groups, select
from transformer_jax.report.tables import grid

AXES = {"parameters": "parameters", "training_flops": "training FLOPs", "step_seconds": "seconds of a step",
        "state_bytes": "bytes that decoding keeps of a sequence"}  # fmt: skip
MIXERS, SEEDS, MARGIN = ("attention", "gru", "lstm", "min_gru"), 5, 0.01


def _is_beaten(behind: Estimate) -> bool:
    return behind.n >= SEEDS and behind.low > MARGIN


def _decide(estimates: Mapping[str, Estimate]) -> Verdict:
    beaten = {name for name, behind in estimates.items() if _is_beaten(behind)}
    attention = {name for name in beaten if name.startswith("attention")}
    if not beaten:
        return Verdict.INCONCLUSIVE
    if attention and beaten - attention:
        return Verdict.TASK_DEPENDENT
    return Verdict.REFUTED if attention else Verdict.SUPPORTED


def _behind(rows: Rows, axis: str) -> dict[str, Estimate]:
    """By model its loss less that of the best rival, seed by seed: the one of the other side with the least mean loss
    of those that cost no more. A model without such a rival is left out; all are where a mixer lacks seeds."""
    cells = {model: part for (model,), part in groups(rows, "who").items() if part[0].get(axis)}
    means = {model: mean(part, "loss", "lane") for model, part in cells.items()}
    seen = {part[0]["model.mixer"] for model, part in cells.items() if means[model].n >= SEEDS}
    found = {}
    for model, (first, *_) in cells.items() if seen >= {*MIXERS} else ():
        rivals = [other for other, (theirs, *_) in cells.items() if theirs[axis] <= first[axis]
                  and (theirs["model.mixer"] == "attention") != (first["model.mixer"] == "attention")]  # fmt: skip
        if rivals:
            best = min(rivals, key=lambda other: means[other].value)
            found[f"{model} (to {best})"] = difference(rows, "loss", "who", model, best, "lane")
    return found


RULES = {
    "attention_is_cheaper": Rule(
        "On one axis of cost a model is beaten if the best of the other side that costs no more has a validation loss"
        f" lower by more than {MARGIN:g} nats a letter, with the whole 95 % interval over at least {SEEDS} seeds; the"
        " sides are attention, and GRU, LSTM and minGRU. SUPPORTED if a recurrence's model is beaten and no model with"
        " attention is; REFUTED if a model with attention is beaten and no recurrence's; TASK-DEPENDENT if some of both"
        " are; else, or where a mixer is not measured, INCONCLUSIVE.",
        _decide,
        reads=(_behind,),
    )
}


def report(rows: Rows) -> Report:
    """Loss over each cost; a cost without a clock is one number, seconds are the mean of their samples."""
    timed = {key: mean(part, "step_seconds", "sample")
             for key, part in groups(select(rows, study="seconds"), "timed", "d_model").items()}  # fmt: skip
    trained = []
    for row in select(rows, study="loss", status="ok"):
        mixer, width = row["model.mixer"], row["model.d_model"]
        taken = timed.get((mixer, width))
        seed = row["round"] * row["train.lanes"] + row["lane"] + 1
        seconds = {"step_seconds": taken.value} if taken and taken.n else {}
        trained.append(row | seconds | {"who": f"{mixer} {width}", "seed": seed})
    behind = {axis: _behind(trained, axis) for axis in AXES}
    models = {
        (part[0]["model.mixer"], part[0]["model.d_model"]): {
            "loss": mean(part, "loss", "lane"), **{what: part[0].get(axis) for axis, what in AXES.items()},
            "beaten by the other side on": ", ".join(
                what for axis, what in AXES.items() for name, one in behind[axis].items()
                if name.startswith(f"{who} (") and _is_beaten(one)
            ) or "nothing",
        }
        for (who,), part in groups(trained, "who").items()
    }  # fmt: skip
    edges = dict.fromkeys(row["who"] for row in select(trained, rate_at_edge=True))
    return Report(
        question="What does a lower loss cost, with attention and with recurrences?",
        setting="A language model of letters (numbers in words, generated) at several widths, as many steps for all.",
        answers=[Finding(f"Is attention cheaper in {what}?", "nats a letter above the best of the other side that costs"
                         " no more; a model without such a rival is not named", behind[axis],
                         RULES["attention_is_cheaper"]) for axis, what in AXES.items()],
        figures=[lines(trained, axis, "loss", "mixer", pair="lane", log="x", name=f"loss_by_{axis}",
                       title=f"Validation loss by {what}", x_label=what, y_label="nats a letter",
                       caption="Each line goes from the narrowest model to the widest; means over seeds.")
                 for axis, what in AXES.items()],
        tables=(
            grid("Every model, and on which fronts it is not", ("mixer", "width"), models),
            table(trained, ("mixer", "d_model"), "seed", "loss", None, "Validation loss, seed by seed"),
        ),
        notes=[f"The chosen rate is the lowest or highest that was tried: {', '.join(edges)}."] * bool(edges),
        limits=(*conditions(rows), "One generated text that every model learns, one short training: with more steps,"
                " or another text, the order may be another. A seed's loss is of its own parameters and batches, and a"
                " difference in twenty is beyond its interval by chance. Seconds are of one model alone on this device;"
                " mixers of one width are timed in turns, widths one after the other."),
    )  # fmt: skip
