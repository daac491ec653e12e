"""The report of `pareto`: on which axes of cost a lower loss takes attention, and on which a recurrence."""

from collections.abc import Mapping

from transformer_jax.intervals import CONFIDENCE, Estimate, ratio_unpaired
from transformer_jax.report import AT_EDGE, Finding, Report, Rows, Rule, Verdict, conditions, lines, note
from transformer_jax.report.points import by_seed, difference, groups, is_number, mean, select
from transformer_jax.report.tables import grid, table

AXES = {"parameters": "parameters", "training_flops": "training FLOPs", "step_seconds": "seconds of a step",
        "state_bytes": "bytes that decoding keeps of a sequence"}  # fmt: skip
MIXERS, SEEDS, MARGIN = ("attention", "gru", "lstm", "min_gru"), 5, 0.01


def _is_beaten(behind: Estimate) -> bool:
    return behind.n >= SEEDS and behind.low > MARGIN


def _decide(estimates: Mapping[str, Estimate]) -> Verdict:
    beaten = {name.partition(" ")[0] for name, behind in estimates.items() if _is_beaten(behind)}
    if "attention" in beaten:
        return Verdict.TASK_DEPENDENT if len(beaten) > 1 else Verdict.REFUTED
    return Verdict.SUPPORTED if beaten >= {*MIXERS[1:]} else Verdict.INCONCLUSIVE


def _trained(rows: Rows) -> list[dict]:
    """The lanes of trained models."""
    return [row | {"who": f"{row['model.mixer']} {row['model.d_model']}"}
            for row in by_seed(select(rows, study="loss")) if "lane" in row]  # fmt: skip


def _seconds(rows: Rows) -> dict[str, list[float]]:
    """By model the times of a step."""
    timed = select(rows, study="seconds", status="ok", step_seconds=is_number)
    return {f"{mixer} {width}": [row["step_seconds"] for row in part]
            for (mixer, width), part in groups(timed, "timed", "d_model").items()}  # fmt: skip


def _behind(rows: Rows, axis: str) -> dict[str, Estimate]:
    """By model its loss less that of its rival, seed by seed; the intervals hold together. A model without a rival is
    left out; all are where a mixer lacks seeds, or was measured at one width alone."""
    trained, seconds = _trained(rows), _seconds(rows)
    ready = {who: part[0] for (who,), part in groups(trained, "who").items() if mean(part, "loss", "lane").n >= SEEDS}
    measured = [first["model.mixer"] for first in ready.values()]
    if any(measured.count(mixer) < 2 for mixer in MIXERS):
        return {}

    def is_rival(other: str, who: str) -> bool:
        mine, theirs = ready[who], ready[other]
        if (mine["model.mixer"] == "attention") == (theirs["model.mixer"] == "attention"):
            return False
        if axis == "step_seconds":  # of two that are about equal neither is the cheaper one
            return {who, other} <= {*seconds} and ratio_unpaired(seconds[other], seconds[who]).high < 1
        return theirs[axis] <= mine[axis]

    best = {}
    for who in ready:
        losses = {other: row.get("choosing_loss") for other, row in ready.items() if is_rival(other, who)}
        if losses := {other: loss for other, loss in losses.items() if is_number(loss)}:
            best[who] = min(losses, key=losses.get)
    together = 1 - (1 - CONFIDENCE) / max(1, len(best))
    return {f"{who} (to {other})": difference(trained, "loss", "who", who, other, "lane", together)
            for who, other in best.items()}  # fmt: skip


RULES = {
    "attention_is_cheaper": Rule(
        "On one axis of cost a model's rival is, of the other side's models that cost no more (in seconds: less, with"
        " the whole 95 % interval of the ratio), the one with the least loss on the seed that chose its rate, which is"
        f" not compared. A model is beaten if its rival's validation loss is lower by more than {MARGIN:g} nats a"
        f" letter, with its whole interval over at least {SEEDS} seeds: of 1 - 0.05/k, of k models compared, so that"
        " all hold together with 95 %. The sides are attention, and GRU, LSTM and minGRU. SUPPORTED if a model of each"
        " recurrence is beaten and none with attention; REFUTED if one with attention is beaten and no recurrence's;"
        " TASK-DEPENDENT if some of both are; else, or where a mixer is not measured at two widths or more,"
        " INCONCLUSIVE.",
        _decide,
        reads=(_behind,),
    )
}


def _one_sided(behind: Mapping[str, Estimate]) -> str:
    """That the models of one side have no rival, so that half of the answers are impossible."""
    sides = {name.startswith("attention") for name in behind}
    beaten, others = ("attention", "recurrences") if sides == {True} else ("recurrences", "attention")
    text = f"one-sided: only {beaten} can be beaten, as no model of {others} has a rival that costs no more"
    return text if len(sides) == 1 else ""


def report(rows: Rows) -> Report:
    """Loss over each cost; a cost without a clock is one number, seconds are the mean of their samples."""
    behind, seconds = {axis: _behind(rows, axis) for axis in AXES}, _seconds(rows)
    times = {who: sum(of) / len(of) for who, of in seconds.items()}
    trained = [row | ({"step_seconds": times[row["who"]]} if row["who"] in times else {}) for row in _trained(rows)]
    models = {}
    for (who,), part in groups(trained, "who").items():
        own = {what: [one for name, one in behind[axis].items() if name.startswith(f"{who} (")]
               for axis, what in AXES.items()}  # fmt: skip
        models[part[0]["model.mixer"], part[0]["model.d_model"]] = {
            "loss": mean(part, "loss", "lane"), **{what: part[0].get(axis) for axis, what in AXES.items()},
            "beaten by the other side on": ", ".join(w for w, one in own.items() if any(map(_is_beaten, one))),
            "not tested on": ", ".join(what for what, one in own.items() if not one),
        }  # fmt: skip
    return Report(
        question="What does a lower loss cost, with attention and with recurrences?",
        setting="A language model of letters (numbers in words, generated) at several widths, as many steps for all.",
        answers=[Finding(f"Is attention cheaper in {what}?", "nats a letter above the rival of the other side that"
                         " costs no more; intervals that hold together; a model without a rival is not named",
                         behind[axis], RULES["attention_is_cheaper"], of=_one_sided(behind[axis]))
                 for axis, what in AXES.items()],
        figures=[lines(trained, axis, "loss", "mixer", pair="lane", log="x", name=f"loss_by_{axis}",
                       title=f"Validation loss by {what}", x_label=what, y_label="nats a letter",
                       caption="Each line goes from the narrowest model to the widest; means over seeds.")
                 for axis, what in AXES.items()],
        tables=(
            grid("Every model, and where the other side beats it", ("mixer", "width"), models),
            table(trained, ("mixer", "d_model"), "seed", "loss", None, "Validation loss, seed by seed"),
        ),
        notes=note(AT_EDGE, (row["who"] for row in select(trained, rate_at_edge=True))),
        limits=(*conditions(rows), "One generated text that every model learns: with more steps, or another text, the"
                " order may be another. A seed's loss is of its own parameters and batches. Of models of which none is"
                " better, at most one answer in forty calls one beaten; each axis is a question of its own."
                " Seconds are of one model alone on this device; mixers of one width are timed in turns, widths one"
                " after the other, and what the machine did in between is in no interval."),
    )  # fmt: skip
