"""The report of `ablations`: what is lost without heads, residual sums, norms, positions, or the scale."""

from transformer_jax.intervals import Estimate
from transformer_jax.report import Finding, Report, Rows, Rule, Verdict, all_above, all_below, conditions, lines, table
from transformer_jax.report.points import difference, mean, ratio, select
from transformer_jax.report.rules import of_at_least

LEARNED = 0.9
"""Validation accuracy from which a seed has learned the digits; chance is 0.1."""
DEPTHS, DEEPEST = (2, 4, 8), 8
NORMS = {"pre": "with norms", "none": "without norms"}
RESIDUAL = {True: "with residual sums", False: "without residual sums"}
KEPT = {(True, "pre"): "both", (True, "none"): "residual sums alone", (False, "pre"): "norms alone",
        (False, "none"): "neither"}  # fmt: skip
SCALE = {"scaled_dot": "with the scale", "dot": "without"}
POSITIONS = ("sinusoidal", "learned", "rotary")
HALF = 0.5
"""Of the similarity of heads, and of what is left of entropy and gradient: the middle between all and nothing."""
NARROW, WIDE = 16, 1024


_OVER = "Else, or where one is not measured, INCONCLUSIVE. By 95 % intervals over seeds."
_ELSE = f"TASK-DEPENDENT if there are both. {_OVER}"


def _collapses(estimates: dict[str, Estimate]) -> Verdict:
    without = [e for name, e in estimates.items() if name.endswith(SCALE["dot"])]
    scaled = [e for name, e in estimates.items() if name.endswith(SCALE["scaled_dot"])]
    if all(e.high < HALF for e in without) and all(e.low > HALF for e in scaled):
        return Verdict.SUPPORTED
    return Verdict.REFUTED if all(e.low > HALF for e in without) else Verdict.INCONCLUSIVE


RULES = {
    "heads_differ": Rule(
        f"SUPPORTED if the mean linear CKA of two heads lies below {HALF} with its interval in every layer and for"
        f" every number of heads; REFUTED if above {HALF} everywhere; {_ELSE}",
        all_below(HALF),
    ),
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
    "scale_needed": Rule(
        f"SUPPORTED if from width {NARROW} to {WIDE} both entropy and gradient fall to less than {HALF} of what they"
        f" were without the scale, and to no less than that with it; REFUTED if neither does without it. {_OVER}",
        of_at_least(1, _collapses),
    ),
}


def report(rows: Rows) -> Report:
    """Lane by lane; a study that is not measured has findings without a verdict."""
    heads, depth, positions, scale = (select(rows, study=name) for name in ("heads", "depth", "positions", "scale"))
    depth = [row | _read(row) for row in depth if row.get("step") is not None]
    deep = select(depth, num_layers=DEEPEST)
    heads = [row | {"layer": row["layer"] + 1} if "layer" in row else row for row in heads]
    several = select(heads, num_heads=lambda H: H > 1)
    alike = {f"{H} heads, layer {n}": mean(select(several, num_heads=H, layer=n), "cka", pair="lane")
             for H in (2, 4, 8) for n in (1, 2)}  # fmt: skip
    residual = {NORMS[n]: difference(select(deep, norm=n), "accuracy", "residual", True, False, "lane") for n in NORMS}
    norm = {RESIDUAL[r]: difference(select(deep, residual=r), "accuracy", "norm", "pre", "none", "lane")
            for r in RESIDUAL}  # fmt: skip
    gains = {p: difference(positions, "accuracy", "position", p, "none", "lane") for p in POSITIONS}
    fall = {f"{y}, {text}": ratio(select(scale, score=score), column, "width", WIDE, NARROW, "lane")
            for y, column in (("entropy", "entropy"), ("gradient", "gradient_norm"))
            for score, text in SCALE.items()}  # fmt: skip
    asked = (
        ("Do heads do different things?", "linear CKA of two heads' outputs, mean over pairs", alike, "heads_differ"),
        ("Does depth need residual sums?", f"accuracy gained by them at {DEEPEST} blocks", residual, "residual_needed"),
        ("Does depth need norms?", f"accuracy gained by them at {DEEPEST} blocks", norm, "norm_needed"),
        ("What do positions give?", "accuracy over that without positions", gains, "positions_needed"),
        ("Does the softmax need the scale by √d?", f"its entropy and gradient at width {WIDE}, over those at {NARROW}",
         fall, "scale_needed"),
    )  # fmt: skip
    lane = {"pair": "lane"}
    return Report(
        question="What is attention worth without some of its parts?",
        answers=tuple(Finding(*one, RULES[rule]) for *one, rule in asked),
        figures=(
            lines(several, "num_heads", "cka", "layer", log="x", name="similarity_of_heads", **lane,
                  title="How alike the heads of a layer are", y_label="linear CKA", caption="1: equal up to rotation."),
            lines(heads, "num_heads", "lost", "layer", log="x", name="lost_without_a_head", **lane,
                  title="Accuracy lost without one head", y_label="accuracy lost",
                  caption="Mean over the heads of a layer; nothing is trained"
                  " anew. With one head all of the layer's attention is gone."),
            lines(depth, "num_layers", "share_of_learned", "block", log="x", name="seeds_that_learn",
                  title="Share of seeds that learn", y_label="share of seeds", pair="lane",
                  caption="What a block keeps: residual sums and norms, one of them, neither. A seed has learned at a"
                  f" validation accuracy of {LEARNED}."),
            lines(scale, "width", "entropy", "score", name="entropy_by_width", log="x", **lane,
                  title="Entropy of a softmax over random scores", y_label="entropy / log(keys)"),
            lines(scale, "width", "gradient_norm", "score", name="gradient_by_width", log="xy", **lane,
                  title="Gradient that passes such a softmax", y_label="norm of the gradient by the scores"),
        ),
        tables=(
            table(depth, ("block",), "num_layers", "share_of_learned", "lane", "Share of seeds that learn, by depth"),
            table(depth, ("block",), "num_layers", "accuracy", "lane", "Accuracy, by depth"),
            table(positions, ("num_layers",), "position", "accuracy", "lane", "Accuracy, by positions"),
            table(heads, ("num_heads",), "layer", "most_lost", "lane", "Accuracy lost without the best head"),
        ),
        limits=(*conditions(rows), "More heads are narrower ones: d_model stays. Patches count as examples of the"
                " CKA, and all images share their positions.",
                "One small task, one size, one learning rate for all.",
                "Scores are of independent normal vectors, as they are before training, not of trained ones."),
    )  # fmt: skip


def _read(row: dict) -> dict:
    """A loss that was not finite is a seed that did not learn."""
    accuracy = row.get("accuracy") or 0.0
    kept = KEPT[row["model.residual"], row["model.norm"]]
    return {"status": "ok", "accuracy": accuracy, "share_of_learned": float(accuracy >= LEARNED), "block": kept}
