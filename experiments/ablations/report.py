"""The report of `ablations`: what is lost without residual sums, norms, or positions."""

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


RULES = {
    "residual_needed": Rule(
        f"SUPPORTED if at {DEEPEST} blocks residual sums raise the accuracy, the interval above 0, with and without"
        f" norms; REFUTED if they lower both; {_ELSE}",
        all_above(),
    ),
    "norm_needed": Rule(
        f"SUPPORTED if at {DEEPEST} blocks norms raise the accuracy, the interval above 0, with and without residual"
        f" sums; REFUTED if they lower both; {_ELSE}",
        all_above(),
    ),
    "positions_needed": Rule(
        "SUPPORTED if sinusoidal, learned and rotary positions each raise the accuracy over none, the interval above 0;"
        f" REFUTED if all lower it; {_ELSE}",
        all_above(),
    ),
}


def report(rows: Rows) -> Report:
    """Lane by lane; a study that is not measured has findings without a verdict."""
    depth, positions = (select(rows, study=name) for name in ("depth", "positions"))
    depth = [row | _read(row) for row in depth if row.get("step") is not None]
    deep = select(depth, num_layers=DEEPEST)
    residual = {NORMS[n]: difference(select(deep, norm=n), "accuracy", "residual", True, False, "lane") for n in NORMS}
    norm = {RESIDUAL[r]: difference(select(deep, residual=r), "accuracy", "norm", "pre", "none", "lane")
            for r in RESIDUAL}  # fmt: skip
    gains = {p: difference(positions, "accuracy", "position", p, "none", "lane") for p in POSITIONS}
    asked = (
        ("Does depth need residual sums?", f"accuracy gained by them at {DEEPEST} blocks", residual, "residual_needed"),
        ("Does depth need norms?", f"accuracy gained by them at {DEEPEST} blocks", norm, "norm_needed"),
        ("What do positions give?", "accuracy over that without positions", gains, "positions_needed"),
    )  # fmt: skip
    return Report(
        question="What is attention worth without some of its parts?",
        answers=tuple(Finding(*one, RULES[rule]) for *one, rule in asked),
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


def _read(row: dict) -> dict:
    """A loss that was not finite is a seed that did not learn."""
    accuracy = row.get("accuracy") or 0.0
    kept = KEPT[row["model.residual"], row["model.norm"]]
    return {"status": "ok", "accuracy": accuracy, "share_of_learned": float(accuracy >= LEARNED), "block": kept}
