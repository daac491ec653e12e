"""The report of `interaction`: what reaches the last output past the steps in between, and how much from how far."""

from transformer_jax.intervals import Estimate
from transformer_jax.report import Finding, Report, Rows, Rule, all_above, conditions, lines, only_recurrences, table
from transformer_jax.report.points import by_seed, groups, mean, ratio, select, values
from transformer_jax.report.rules import with_missing
from transformer_jax.report.tables import number

RECURRENCES = ("rnn", "gru", "lstm", "min_gru")
STARTS = (*RECURRENCES, "lstm, forget bias 3", "lstm, forget bias 5.5")


def _nothing_passes(share: Estimate) -> bool | None:
    return share.high == 0 if share.low == share.high and share.value in (0, 1) else None


def _shares(mixer: Rows, y: str) -> dict[str, Estimate]:
    found = {reader: mean(part, y, "lane") for (reader,), part in groups(mixer, "reader").items()}
    return with_missing(found, ("attention", *RECURRENCES))


def _left(rows: Rows) -> dict[str, Estimate]:
    found = {f"over {reader}": ratio(rows, "left", "reader", "attention", reader, "lane")
             for reader in values(rows, "reader") if reader != "attention"}  # fmt: skip
    return with_missing(found, (f"over {reader}" for reader in STARTS))


def _read(row: dict) -> dict:
    mixer, bias, whole = row["model.mixer"], row["measure.forget_bias"], row.get("whole")
    return {"reader": mixer if bias == 1 else f"{mixer}, forget bias {bias:g}",
            "share": row["direct"] / whole if whole else None, "kept": row.get("left")}  # fmt: skip


RULES = {
    "past_what_lies_between": Rule(
        "SUPPORTED if, with all that the steps in between hand on held fixed, attention's last output still depends on"
        " every input from lag 2 on, and each recurrence's on none, in every seed; REFUTED if attention's depends on"
        " none, or every recurrence's on all; TASK-DEPENDENT if only some recurrences differ from it; else, or where"
        " one is not measured, INCONCLUSIVE. It checks what follows from how they are built.",
        only_recurrences(_nothing_passes),
        reads=(_shares, _read),
    ),
    "more_is_left": Rule(
        "SUPPORTED if the influence at the last lag over that at lag 1 is larger for attention than for every"
        " recurrence and start of the LSTM, by a ratio whose 95 % interval over seeds lies above 1; REFUTED if below 1"
        " for all; TASK-DEPENDENT if above for some and below for others; else, or where one is not measured,"
        " INCONCLUSIVE.",
        all_above(1.0),
        reads=(_left, _read),
    ),
}


def report(rows: Rows) -> Report:
    """Seed by seed."""
    rows = [row | _read(row) for row in by_seed(rows, apart=False)]
    mixer, far = select(rows, study="mixer"), max((row.get("lag", 0) for row in rows), default=0)
    past, nonzero, left = _shares(mixer, "past"), _shares(mixer, "nonzero"), _left(rows)
    kept = {reader: ratio(part, "whole", "lag", far, 1, "lane") for (reader,), part in groups(rows, "reader").items()}
    left_of_each = "; ".join(f"{reader}: {number(estimate.value)}" for reader, estimate in kept.items())
    look = {"pair": "lane", "x_label": "lag (steps before the last)"}
    return Report(
        question="Do all tokens interact directly?",
        setting="One layer, without residual sum: how the last output depends on each earlier input. Held fixed: what"
        " the steps in between hand on, which is a key and a value in attention and the state in a recurrence.",
        answers=(
            Finding("Does an input act past the steps in between?", "share of the lags from 2 on at which it does;"
                    " it follows from how they are built, and is checked", past, RULES["past_what_lies_between"],
                    of="what the steps in between hand on held fixed"),
            Finding("Does every earlier input change the last output?", "share of the lags at which it does, in any"
                    " way: it tells nobody apart", nonzero, of="nothing held fixed"),
            Finding(f"How much is left at lag {far}?", f"Over the influence at lag 1: {left_of_each}. The numbers:"
                    " attention's over each recurrence's.", left, RULES["more_is_left"], of="before training"),
        ),
        figures=(
            lines(rows, "lag", "whole", "reader", name="influence_by_lag", log="y", **look,
                  y_label="norm of the Jacobian's block", title="How much the last output depends on an earlier input",
                  caption="Frobenius norm, geometric means over seeds, 95 % intervals."),
            lines(mixer, "lag", "share", "reader", name="direct_by_lag", log="", **look,
                  y_label="share of the influence", title="How much of it passes what the steps in between hand on",
                  caption="At lag 1 nothing lies in between; from lag 2 on all recurrences lie on 0."),
        ),
        tables=(table(rows, ("reader",), "lag", "whole", "lane", "Influence by lag"),
                table(rows, ("reader",), "lag", "direct", "lane", "The same, past the steps in between"),
                table(select(rows, lag=far), ("reader",), "seed", "kept", None,
                      f"What is left at lag {far} over that at lag 1, seed by seed")),
        limits=(*conditions(rows), "Attention is causal: no token acts on an earlier one. With a window it would act on"
                " no token beyond it. Of several layers even a recurrence has paths of other lengths.",
                "Inputs are independent normal vectors, and nothing is trained."),
    )  # fmt: skip
