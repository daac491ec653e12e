"""The report of `peers`: who is faster where, losses included."""

from collections import Counter

from transformer_jax.intervals import verdict
from transformer_jax.report.findings import Finding, Report, conditions
from transformer_jax.report.plots import dots, lines
from transformer_jax.report.points import Rows, groups, mean, ratio, relative, select, values
from transformer_jax.report.tables import grid

NAMES = {"jax_nn": "jax.nn", "linen": "flax.linen", "nnx": "flax.nnx", "keras": "Keras", "torch": "PyTorch",
         "torch_compile": "torch.compile"}  # fmt: skip
TIME = "step_seconds"


def report(rows: Rows) -> Report:
    """Ours (`auto`) over every other contender of the same problem, round by round; any subset of rows will do."""
    rows = [row | _place(row) for row in rows]
    pairs: dict[tuple, dict] = {}
    for key, part in groups(rows, "problem", "seq_len").items():
        programs = [f"ours: {name}" for name in values(select(part, contender="ours"), "implementation")]
        for other in values(part, "contender"):
            theirs, over = select(part, contender=other), ratio(part, TIME, "contender", "ours", other)
            if over.n and other != "ours":
                word = "the same program" if other in programs else verdict(over)
                columns = {name: theirs[-1].get(name) for name in ("temp_bytes", "largest_difference")}
                pairs[*key, other] = {"ours / other": over, "ours is": word, "other (s)": mean(theirs, TIME)} | columns
    peers = {key: line for key, line in pairs.items() if not key[-1].startswith("ours")}
    lost = {f"{who}, {what}, T = {T}": line["ours / other"] for (what, T, who), line in peers.items()
            if line["ours is"] == "slower"}  # fmt: skip
    counts = Counter(line["ours is"] for line in peers.values()).most_common()
    counted = ", ".join(f"ours is {word} in {n}" for word, n in counts)
    open_ones = sum(line["ours is"] not in ("faster", "slower") for line in peers.values())
    nowhere = f"Nowhere for certain; {open_ones} comparisons are about equal or undecided."
    losses = Finding("Where is the other faster?", "Our time over theirs." if lost else nowhere, lost)
    others = select(rows, problem=lambda name: "causal" in name, contender=lambda name: name != "ours")
    over = relative(others, TIME, select(rows, contender="ours"), ("problem", "seq_len"), inverse=True)
    layers: dict[str, dict] = {}
    for (problem, T, other), line in peers.items():
        if "causal" not in problem:
            layers.setdefault(f"{problem}, T = {T}", {})[other] = line["ours / other"]
    caption = "Bars: 95 % intervals. Where the ratio is below 1, ours is faster."
    return Report(
        question="Is what we measure as fast as what others offer?",
        answers=(Finding("How often is ours faster?", f"Of {len(peers)} comparisons {counted}."), losses)
        if peers else (),
        figures=(
            lines(over, "seq_len", "ratio", "contender", "problem", reference=1, name="attention_by_length",
                  title="Attention: our time over the others'", caption=caption),
            dots(layers, name="layers_and_steps", title="Layers and steps: our time over the others'", caption=caption),
        ),
        tables=(grid("Who is faster where", ("problem", "T", "other"), pairs, "Ours is “auto”."),),
        limits=conditions(rows),
    )  # fmt: skip


def _place(row: dict) -> dict:
    """Which problem, and by whom it is solved."""
    peer, form = row["measure.peer"], row["model.attention"]
    kind = {True: "causal", False: "not causal"}[row.get("model.causal", True)]
    what = f"attention, {kind}" if row["model.mixer"] == "attention" else f"{row['model.mixer']} layer"
    work = "forward" if row["measure.phase"] == "forward" else "forward and backward"
    step = f"{row['model.mixer']} language model, training step"
    return {
        "problem": step if row["measure.level"] == "model" else f"{what}, {work}",
        "contender": NAMES.get(peer, peer) if peer != "ours" else "ours" if form == "auto" else f"ours: {form}",
    }
