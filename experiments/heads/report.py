"""The report of `heads`: how alike the heads of a layer are, and what is lost without one."""

from transformer_jax.intervals import Estimate
from transformer_jax.report import Finding, Report, Rows, Rule, all_below, conditions, lines, table
from transformer_jax.report.points import mean, select

HALF = 0.5
"""Of the similarity of heads: the middle between nothing in common and equal."""

HEADS = (2, 4, 8)


def _read(rows: Rows) -> list[dict]:
    """Layers from 1 on."""
    return [row | {"layer": row["layer"] + 1} if "layer" in row else row for row in select(rows, study="heads")]


def _alike(rows: Rows) -> dict[str, Estimate]:
    """By number of heads and layer."""
    rows = _read(rows)
    layers = range(1, 1 + max((row["model.num_layers"] for row in rows), default=1))
    return {f"{H} heads, layer {n}": mean(select(rows, num_heads=H, layer=n), "cka", pair="lane")
            for H in HEADS for n in layers}  # fmt: skip


RULES = {
    "heads_differ": Rule(
        f"SUPPORTED if the mean linear CKA of two heads lies below {HALF} with its interval in every layer and for"
        f" every number of heads (2, 4, 8); REFUTED if above {HALF} everywhere; TASK-DEPENDENT if there are both. Else,"
        " or where one is not measured, INCONCLUSIVE. By 95 % intervals over seeds.",
        all_below(HALF),
        reads=(_alike,),
    ),
}


def report(rows: Rows) -> Report:
    """Lane by lane; any subset of rows will do."""
    heads, alike = _read(rows), _alike(rows)
    several = select(heads, num_heads=lambda H: H > 1)
    return Report(
        question="Do the heads of a layer do different things, and what is lost without one of them?",
        answers=(Finding("Do heads do different things?", "linear CKA of two heads' outputs, mean over pairs", alike,
                         RULES["heads_differ"]),),
        figures=(
            lines(several, "num_heads", "cka", "layer", log="x", name="similarity_of_heads", pair="lane",
                  title="How alike the heads of a layer are", y_label="linear CKA", caption="1: equal up to rotation."),
            lines(heads, "num_heads", "lost", "layer", log="x", name="lost_without_a_head", pair="lane",
                  title="Accuracy lost without one head", y_label="accuracy lost",
                  caption="Mean over the heads of a layer; nothing is trained"
                  " anew. With one head all of the layer's attention is gone."),
        ),
        tables=(table(heads, ("num_heads",), "layer", "most_lost", "lane", "Accuracy lost without the best head"),),
        limits=(*conditions(rows), "More heads are narrower ones: d_model stays. Patches count as examples of the"
                " CKA, and all images share their positions. One small task, one learning rate for all."),
    )  # fmt: skip
