"""The report of `peers`: who is faster where, losses included."""

from collections import Counter

from transformer_jax.intervals import verdict
from transformer_jax.report.findings import Finding, Report, conditions
from transformer_jax.report.plots import dots, lines
from transformer_jax.report.points import Rows, groups, mean, ratio, relative, select, values
from transformer_jax.report.tables import grid

NAMES = {"jax_nn": "jax.nn", "linen": "flax.linen", "nnx": "flax.nnx", "keras": "Keras", "torch": "PyTorch",
         "torch_compile": "torch.compile"}  # fmt: skip


def report(rows: Rows) -> Report:
    """Ours (`auto`) over every other contender of the same problem, round by round; any subset of rows will do."""
    rows = [row | _place(row) for row in rows]
    pairs = {}
    for key, part in groups(rows, "problem", "seq_len").items():
        for other in values(part, "contender"):
            over = ratio(part, "step_seconds", "contender", "ours", other)
            if over.n and other != "ours":
                theirs = select(part, contender=other)
                same = other.removeprefix("ours: ") in values(select(part, contender="ours"), "implementation")
                pairs[*key, other] = {
                    "ours / other": over, "ours is": "the same program" if same else verdict(over),
                    "ours (s)": mean(select(part, contender="ours"), "step_seconds"), "other (s)": mean(theirs, "step_seconds"),
                    "temporaries, other (bytes)": theirs[-1].get("temp_bytes"),
                    "outputs differ by": theirs[-1].get("largest_difference"),
                }  # fmt: skip
    peers = {key: line for key, line in pairs.items() if not key[-1].startswith("ours")}
    lost = {f"{other}, {problem}, T = {T}": line["ours / other"] for (problem, T, other), line in peers.items()
            if line["ours is"] == "slower"}  # fmt: skip
    counts = Counter(line["ours is"] for line in peers.values())
    told = ", ".join(f"ours is {word} in {n}" for word, n in counts.most_common())
    attention = select(rows, problem=lambda name: "causal" in name)
    others = select(attention, contender=lambda name: name != "ours")
    attention = relative(
        others, "step_seconds", select(attention, contender="ours"), ("problem", "seq_len"), inverse=True
    )
    layers: dict[str, dict] = {}
    for (problem, T, other), line in peers.items():
        if "causal" not in problem:
            layers.setdefault(f"{problem}, T = {T}", {})[other] = line["ours / other"]
    return Report(
        question="Is what we measure as fast as what others offer?",
        answers=(
            Finding("How often is ours the faster one?", f"Of {len(peers)} comparisons with other libraries {told}."),
            Finding("Where is the other faster?", "Our time over theirs." if lost else "Nowhere.", lost),
        ) if peers else (),
        figures=(
            lines(attention, "seq_len", "ratio", "contender", "problem", reference=1,
                  name="attention_by_length", y_label="our time / theirs",
                  title="Attention: our time over the others'", caption="Below the line ours is faster."),
            dots(layers, name="layers_and_steps", title="Recurrent layers and training steps: our time over the others'",
                 caption="Left of the line ours is faster.", x_label="our time / theirs"),
        ),
        tables=(grid("Who is faster where", ("problem", "T", "other"), pairs, "The ratio is taken within each round."
                     " Ours is `auto`; our other implementations stand among the others. Outputs differ by: the largest"
                     " difference from ours, as a share of the largest entry."),),
        limits=conditions(rows),
    )  # fmt: skip


def _place(row: dict) -> dict:
    """Which problem, and by whom it is solved."""
    mixer, peer, form = row["model.mixer"], row["measure.peer"], row["model.attention"]
    kind = "" if row.get("model.causal", True) else ", not causal"
    kind = f"{kind or ', causal'}" if mixer == "attention" else " layer"
    work = {"forward": ", forward"}.get(row["measure.phase"], ", forward and backward")
    whole = row["measure.level"] == "model"
    return {
        "problem": f"{mixer} language model, training step" if whole else f"{mixer}{kind}{work}",
        "contender": NAMES.get(peer, peer) if peer != "ours" else "ours" if form == "auto" else f"ours: {form}",
    }
