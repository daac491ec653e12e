"""The report of `scale`: what is left of a softmax's entropy and gradient as queries and keys grow wider."""

from collections.abc import Mapping

from transformer_jax.intervals import Estimate
from transformer_jax.report import Finding, Report, Rows, Rule, Verdict, conditions, lines
from transformer_jax.report.points import ratio, select
from transformer_jax.report.rules import of_at_least

SCALE = {"scaled_dot": "with the scale", "dot": "without"}
NARROW, WIDE = 16, 1024
HALF = 0.5
"""Of what is left of entropy and gradient: the middle between all and nothing."""


def _left(rows: Rows) -> dict[str, Estimate]:
    """Of entropy and gradient, with the scale and without: at the widest over at the narrowest."""
    scale = select(rows, study="scale")
    return {f"{y}, {text}": ratio(select(scale, score=score), column, "width", WIDE, NARROW, "lane")
            for y, column in (("entropy", "entropy"), ("gradient", "gradient_norm"))
            for score, text in SCALE.items()}  # fmt: skip


def _collapses(estimates: Mapping[str, Estimate]) -> Verdict:
    without = [e for name, e in estimates.items() if name.endswith(SCALE["dot"])]
    scaled = [e for name, e in estimates.items() if name.endswith(SCALE["scaled_dot"])]
    if all(e.high < HALF for e in without) and all(e.low > HALF for e in scaled):
        return Verdict.SUPPORTED
    return Verdict.REFUTED if all(e.low > HALF for e in without) else Verdict.INCONCLUSIVE


RULES = {
    "scale_needed": Rule(
        f"SUPPORTED if from width {NARROW} to {WIDE} both entropy and gradient fall to less than {HALF} of what they"
        f" were without the scale, and to no less than that with it; REFUTED if neither does without it. Else, or where"
        " one is not measured, INCONCLUSIVE. By 95 % intervals over draws.",
        of_at_least(1, _collapses),
        reads=(_left,),
    ),
}


def report(rows: Rows) -> Report:
    """Draw by draw; any subset of rows will do."""
    scale = select(rows, study="scale")
    look = {"log": "x", "pair": "lane", "x_label": "width of a query and a key"}
    return Report(
        question="Does the softmax of attention need the scale by √d?",
        answers=(Finding("Does the softmax need the scale by √d?",
                         f"its entropy and gradient at width {WIDE}, over those at {NARROW}", _left(rows),
                         RULES["scale_needed"]),),
        figures=(
            lines(scale, "width", "entropy", "score", name="entropy_by_width", **look,
                  title="Entropy of a softmax over random scores", y_label="entropy / log(keys)"),
            lines(scale, "width", "gradient_norm", "score", name="gradient_by_width", **look | {"log": "xy"},
                  title="Gradient that passes such a softmax", y_label="norm of the gradient by the scores"),
        ),
        limits=(*conditions(rows), "Scores are of independent normal vectors, as they are before training, not of"
                " trained ones."),
    )  # fmt: skip
