"""The report of `attention_cost`: how costs grow, where attention passes a recurrence, what heads and depth do."""

from transformer_jax.config import MIXERS
from transformer_jax.intervals import growth_word, verdict
from transformer_jax.report.findings import Finding, Report, conditions
from transformer_jax.report.plots import lines
from transformer_jax.report.points import Rows, crossing, ends, groups, growth, mean, ratio, relative, select, values
from transformer_jax.report.tables import grid, table

T, TIME, PLACE, LEVELS = "seq_len", "step_seconds", ("level", "phase", "matching"), ("op", "block", "model")
QUANTITIES = {"time": (TIME, "round"), "FLOPs": ("flops", None), "memory": ("memory_bytes", None)}
HEADS = {"heads": "num_heads", "head_dim": "num_heads", "model_heads": "num_heads"}
AXES = HEADS | {"depth": "num_layers", "decode": T}
COUNTED = ("implementation", "sequential_depth", "closed_form_flops", "jaxpr_matmul_flops", "jaxpr_flops", "xla_flops",
           "predicted_seconds")  # fmt: skip


def report(rows: Rows) -> Report:
    """Seven answers, the figures that show them, tables. Any subset of rows will do: the rest is named as missing."""
    peak = max((row["matmul_peak_flops"] for row in rows if row.get("matmul_peak_flops")), default=None)
    rows = [_with_costs(row, peak) for level in LEVELS for row in select(rows, level=level)]
    length, place = select(rows, study=("length", "matching", "decode")), (*PLACE, "contender")
    growths = {(name, *key): growth(part, T, y, pair, first=1024, same="implementation")
               for name, (y, pair) in QUANTITIES.items() for key, part in groups(length, *place).items()}  # fmt: skip
    growths = {key: line for key, line in growths.items() if line}
    versus = _versus(length)
    changes = {(study, *key): {name: ends(part, y, axis, pair) for name, (y, pair) in QUANTITIES.items()}
               for study, axis in AXES.items()
               for key, part in groups(select(rows, study=study), "contender", "at").items()}  # fmt: skip
    named = [(key, part, who) for key, part in groups(length, *PLACE).items() for who in values(part, "contender")]
    forms = {(*key, who): {t: ratio(select(part, seq_len=t), TIME, "contender", who, who.split(" ")[0])
                           for t in values(select(part, contender=who), T)}
             for key, part, who in named if "(" in who}  # fmt: skip
    twins = {key: {"second over first": ratio(part, TIME, "repeat", 1, 0)}
             for key, part in groups(select(rows, study="twins"), *place, T).items()}  # fmt: skip
    cells = {key: {name: part[-1].get(name) for name in COUNTED} | {y: mean(part, y) for y in (TIME, "peak_share")}
             for key, part in groups(select(length, status="ok"), *place, T).items()}  # fmt: skip
    train = select(length, phase="train", matching="width")
    shares = relative(select(train, level=LEVELS[:2]), "part_seconds", select(train, level="model"), (T, "contender"))
    missing = [study for study in ("length", "matching", *AXES, "twins") if not select(rows, study=study, status="ok")]
    return Report(
        question="What does attention cost against a recurrence?",
        answers=_answers(growths, versus, changes),
        figures=_figures(rows, length, train, versus),
        tables=(
            grid("Exponents of T, and time as a + bT + cT²", ("quantity", *place), growths),
            grid("Attention's time over the recurrence's, and where the two cross", (*PLACE, "recurrence"), versus),
            grid("Another form's time over that of the one that is picked", place, forms),
            grid("The last point of a study's axis over the first", ("study", "contender", "T"), changes),
            table(shares, ("contender", "level"), T, "ratio", title="Shares of the model's training step"),
            grid("FLOPs three ways, predicted and measured time", (*place, "T"), cells),
            grid("The same program measured twice", (*place, "T"), twins),
        ),
        limits=(*conditions(rows), f"Not measured in these rows: {', '.join(missing) or 'no study'}."),
    )


def _with_costs(row: dict, peak: float | None) -> dict:
    """The row with its contender's name and the columns that follow from the measured ones, where those are there."""
    reads, seconds, closed = MIXERS[row["model.mixer"]].reads, row.get(TIME), row.get("closed_form_flops")
    form = next((row.get(f"model.{key}") for key in ("attention", "recurrence") if key in reads), None) or "auto"
    parts = [row.get(f"{part}_bytes") for part in ("argument", "output", "temp")]
    return row | {
        "contender": row["model.mixer"] if form == "auto" else f"{row['model.mixer']} ({form})",
        "at": "every T" if row["measure.phase"] == "decode" else row["task.seq_len"],
        "flops": row.get("jaxpr_flops") or closed,
        "memory_bytes": None if None in parts else sum(parts) - (row.get("alias_bytes") or 0),
        "peak_share": closed / seconds / peak if closed and seconds and peak else None,
        "predicted_seconds": closed / peak if closed and peak else None,
        "part_seconds": seconds and seconds * (1 if row["measure.level"] == "model" else row["model.num_layers"]),
    }


def _versus(length: Rows) -> dict[tuple, dict]:
    """Attention (`auto` where it was measured; at its own width, whatever is matched) against every recurrence."""
    found = {}
    for (level, phase, matching, other), theirs in groups(length, *PLACE, "contender").items():
        here = select(length, level=level, phase=phase, matching="width")
        mine = next((name for name in values(here, "contender") if name.startswith("attention")), None)
        if mine and not other.startswith("attention"):
            both = select(here, contender=mine) + theirs
            line = {
                f"T* in {name}": crossing(both, T, y, "contender", mine, other, pair)
                for name, (y, pair) in list(QUANTITIES.items())[:2]
            }
            line |= {t: ratio(select(both, seq_len=t), TIME, "contender", mine, other) for t in values(theirs, T)}
            found[level, phase, matching, other] = line
    return found


def _answers(growths: dict, versus: dict, changes: dict) -> list[Finding]:
    """Of training, of the op and the whole model; the tables have the rest."""
    grows = {f"{who} {name}, {key[0]}": line["exponent"] for (name, *key, who), line in growths.items()
             if key[1:] == ["train", "width"] and (key[0] == "model" or (key[0], name) == ("op", "time"))}  # fmt: skip
    mine = {name: estimate for name, estimate in grows.items() if name.startswith("attention")}
    theirs = {name: estimate for name, estimate in grows.items() if name not in mine}
    train = {key: line for key, line in versus.items() if key[1] == "train" and key[0] != "block"}
    crossings = {f"{name}, {key[0]}, {who}, same {key[2]}": line[f"T* in {name}"] for name in ("time", "FLOPs")
                 for (*key, who), line in train.items() if key[0] == "model" or name == "time"}  # fmt: skip
    last = {f"{who}, same {matching}, T = {list(line)[-1]}": list(line.values())[-1]
            for (level, _, matching, who), line in train.items() if level == "model"}  # fmt: skip
    at = max((t for _, _, t in changes if t != "every T"), default=None)
    ends_of, exponent = f"Time of the last point over the first, T = {at}.", "Exponent of T, training."
    heads, depth, context = (
        {f"{who}, {study}": line["time"] for (study, who, t), line in changes.items()
         if study in some and t in (at, "every T")}
        for some in (("heads", "head_dim"), ("depth",), ("decode",))
    )  # fmt: skip
    found = [
        Finding("How does attention's cost grow with length?", exponent, mine, judge=growth_word),
        Finding("How does a recurrence's?", exponent, theirs, judge=growth_word),
        Finding("Where does attention's cost pass a recurrence's?", "T at which both are equal, training.", crossings),
        Finding("What is it at the greatest length?", "Attention's time over the recurrence's.", last, judge=verdict),
        Finding("What do heads do?", ends_of, heads, judge=verdict),
        Finding("What does depth do?", ends_of, depth, judge=verdict),
        Finding("What does a longer context cost?", "Time of a new token, last over first.", context, judge=verdict),
    ]
    return [finding for finding in found if any(estimate.n for estimate in finding.estimates.values())]


def _figures(rows: Rows, length: Rows, train: Rows, versus: dict) -> list:
    marks = {(phase, level): {key[3]: line["T* in time"] for key, line in versus.items()
                              if key[:3] == (level, phase, "width")}
             for phase in ("forward", "train") for level in LEVELS}  # fmt: skip
    steps = select(length, matching="width", phase=["forward", "train"])
    others = select(length, level="model", phase="train", mixer=list(MIXERS)[1:])
    over = relative(others, TIME, select(train, level="model", contender="attention"), (T,), inverse=True)
    heads = [row | {"sweep": study} for study in HEADS for row in select(rows, study=study)]
    return [
        lines(steps, T, TIME, "contender", ("phase", "level"), marks=marks, name="time_by_length",
              title="Time of a step against sequence length", caption="Bars: 95 % intervals. Vertical: where attention"
              " passes the recurrence of the same width."),
        lines(over, T, "ratio", "matching", "contender", reference=1, name="attention_over_recurrence",
              title="Attention's training step over the recurrence's, by what the two share"),
        lines(train, T, "flops", "contender", "level", pair=None, name="flops_by_length"),
        lines(train, T, "memory_bytes", "contender", "level", pair=None, name="memory_by_length"),
        lines(heads, "num_heads", TIME, T, "sweep", relative_to={"num_heads": 1}, name="heads_by_length",
              title="Time over the time with one head"),
        lines(select(rows, study="depth"), "num_layers", TIME, T, "contender", relative_to={"num_layers": 1},
              name="depth_by_length", title="Time over the time of one block"),
        lines(select(rows, study="decode"), T, TIME, "contender", name="decoding", title="Time of one new token"),
    ]  # fmt: skip
