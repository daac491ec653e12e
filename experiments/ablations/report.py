"""The report of `ablations`: what is lost without residual sums, norms, or positions."""

from transformer_jax.intervals import Estimate
from transformer_jax.report import Finding, Report, Rows, Rule, all_above, conditions, lines, table
from transformer_jax.report.points import difference, select

LEARNED = 0.9
"""Validation accuracy from which a seed has learned the digits; chance is 0.1."""
DEPTHS, DEEPEST = (2, 4, 8), 8
NORMS = {"pre": "with norms", "none": "without norms"}
RESIDUAL = {True: "with residual sums", False: "without residual sums"}
KEPT = {(True, "pre"): "both", (True, "none"): "residual sums alone", (False, "pre"): "norms alone",
        (False, "none"): "neither"}  # fmt: skip
POSITIONS = ("sinusoidal", "learned", "rotary")

_OVER = "Else, or where one is not measured, INCONCLUSIVE. By 95 % intervals over seeds."
_ELSE = f"TASK-DEPENDENT if there are both. {_OVER}"


def _read(row: dict) -> dict:
    """A loss that was not finite is a seed that did not learn."""
    accuracy = row.get("accuracy") or 0.0
    kept = KEPT[row["model.residual"], row["model.norm"]]
    return {"status": "ok", "accuracy": accuracy, "share_of_learned": float(accuracy >= LEARNED), "block": kept}


def _deep(rows: Rows) -> list[dict]:
    return select([row | _read(row) for row in select(rows, study="depth") if row.get("step") is not None],
                  num_layers=DEEPEST)  # fmt: skip


def _of_residual(rows: Rows) -> dict[str, Estimate]:
    return {word: difference(select(_deep(rows), norm=norm), "accuracy", "residual", True, False, "lane")
            for norm, word in NORMS.items()}  # fmt: skip


def _of_norm(rows: Rows) -> dict[str, Estimate]:
    return {word: difference(select(_deep(rows), residual=residual), "accuracy", "norm", "pre", "none", "lane")
            for residual, word in RESIDUAL.items()}  # fmt: skip


def _of_positions(rows: Rows) -> dict[str, Estimate]:
    positions = select(rows, study="positions")
    return {name: difference(positions, "accuracy", "position", name, "none", "lane") for name in POSITIONS}


RULES = {
    "residual_needed": Rule(
        f"SUPPORTED if at {DEEPEST} blocks residual sums raise the accuracy, the interval above 0, with and without"
        f" norms; REFUTED if they lower both; {_ELSE}",
        all_above(),
        reads=(_of_residual,),
    ),
    "norm_needed": Rule(
        f"SUPPORTED if at {DEEPEST} blocks norms raise the accuracy, the interval above 0, with and without residual"
        f" sums; REFUTED if they lower both; {_ELSE}",
        all_above(),
        reads=(_of_norm,),
    ),
    "positions_needed": Rule(
        "SUPPORTED if sinusoidal, learned and rotary positions each raise the accuracy over none, the interval above 0;"
        f" REFUTED if all lower it; {_ELSE}",
        all_above(),
        reads=(_of_positions,),
    ),
}


def report(rows: Rows) -> Report:
    """Lane by lane; a study that is not measured has findings without a verdict."""
    positions = select(rows, study="positions")
    depth = [row | _read(row) for row in select(rows, study="depth") if row.get("step") is not None]
    gained = f"accuracy gained by them at {DEEPEST} blocks"
    return Report(
        question="What is attention worth without some of its parts?",
        answers=(
            Finding("Does depth need residual sums?", gained, _of_residual(rows), RULES["residual_needed"]),
            Finding("Does depth need norms?", gained, _of_norm(rows), RULES["norm_needed"]),
            Finding("What do positions give?", "accuracy over that without positions", _of_positions(rows),
                    RULES["positions_needed"]),
        ),
        figures=(
            lines(depth, "num_layers", "share_of_learned", "block", log="x", name="seeds_that_learn",
                  title="Share of seeds that learn", y_label="share of seeds", pair="lane",
                  caption="What a block keeps: residual sums and norms, one of them, neither. A seed has learned at a"
                  f" validation accuracy of {LEARNED}."),
        ),
        tables=(
            table(depth, ("block",), "num_layers", "share_of_learned", "lane", "Share of seeds that learn, by depth"),
            table(depth, ("block",), "num_layers", "accuracy", "lane", "Accuracy, by depth"),
            table(positions, ("num_layers",), "position", "accuracy", "lane", "Accuracy, by positions"),
        ),
        limits=(*conditions(rows), "One small task, one size, one learning rate for all."),
    )  # fmt: skip
