"""What a page says of recurrences that trained for as many FLOPs or seconds as attention: see `lab.equal_seconds`."""

import math
from collections.abc import Callable, Mapping

from transformer_jax.intervals import Estimate
from transformer_jax.report.findings import Finding
from transformer_jax.report.points import Rows, is_number, select, values
from transformer_jax.report.rules import Rule


def in_attentions_steps(rows: Rows) -> list[dict]:
    """The rows; where a recurrence trained `trained_steps`, each `step_seconds_ratio` times as long as attention's, its
    `step` and `solved_step` are counted in steps of attention that take as long."""

    def counted(row: dict) -> dict:
        steps = {name: row[name] for name in ("step", "solved_step") if row.get(name) is not None}
        return row | {name: step * row["step_seconds_ratio"] for name, step in steps.items()}

    return [counted(row) if is_number(row.get("trained_steps")) else row for row in rows]


def equal_budgets(rows: Rows, text: str, steps: Callable[[str], Mapping[str, Estimate]], rule: Rule) -> list[Finding]:
    """The rule asked once more of the studies "flops" and "seconds", of those that have rows.

    steps: of a study, where `text` says what they are; those of "seconds" by `in_attentions_steps`.
    """
    asked = {
        "flops": ("And those with as many training FLOPs?", text),
        "seconds": ("And those with as many seconds of training?", f"{text}, in attention's that take as long"),
    }
    return [Finding(question, of, steps(study), rule) for study, (question, of) in asked.items()
            if select(rows, study=study)]  # fmt: skip


def how_timed(rows: Rows) -> list[str]:
    """What the seconds are that `in_attentions_steps` counts in; nothing where no row has been matched so."""
    timed = [row for row in rows if is_number(row.get("trained_steps"))]
    if not timed:
        return []
    seeds = " or ".join(str(lanes) for lanes in values(timed, "train.lanes"))
    ratios = [tuple(row[f"step_seconds_ratio{end}"] for end in ("", "_low", "_high")) for row in timed]
    widest = max(max(high / ratio, ratio / low) - 1 if low else math.inf for ratio, low, high in ratios)
    return [
        f"As many seconds: a step of {seeds} seeds at once, as they are trained, takes a recurrence"
        f" {min(ratios)[0]:.3g} to {max(ratios)[0]:.3g} times as long as attention (95 % interval of a cell:"
        f" ±{widest:.0%} at most), measured before it trained; data and evaluations are not counted, and the seconds of"
        " the training itself not recorded."
    ]
