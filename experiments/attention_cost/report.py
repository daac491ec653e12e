"""The report of `attention_cost`: how costs grow, where attention passes a recurrence, what heads and depth do."""

from transformer_jax.config import MIXERS
from transformer_jax.intervals import Estimate, is_quadratic, verdict
from transformer_jax.report.findings import Finding, Report, conditions
from transformer_jax.report.plots import lines
from transformer_jax.report.points import Rows, crossing, ends, groups, growth, mean, ratio, relative, select, values
from transformer_jax.report.tables import grid, table

T, TIME, PLACE, LEVELS = "seq_len", "step_seconds", ("level", "phase", "matching"), ("op", "block", "model")
QUANTITIES = {"time": (TIME, "round"), "FLOPs": ("flops", None), "memory": ("memory_bytes", None)}
AXES = {"heads": "num_heads", "head_dim": "num_heads", "model_heads": "num_heads", "depth": "num_layers", "decode": T}
COUNTED = ("closed_form_flops", "jaxpr_matmul_flops", "jaxpr_flops", "xla_flops", "predicted_seconds")


def report(rows: Rows) -> Report:
    """Seven answers, the figures that show them, tables. Any subset of rows will do: the rest is named as missing."""
    peak = max((row["matmul_peak_flops"] for row in rows if row.get("matmul_peak_flops")), default=None)
    rows = [_with_costs(row, peak) for level in LEVELS for row in select(rows, level=level)]
    length = select(rows, study=("length", "matching", "decode"))
    curves = groups(length, *PLACE, "contender")
    growths = {(q, *key): growth(part, T, *of, first=1024, same="implementation")
               for q, of in QUANTITIES.items() for key, part in curves.items()}  # fmt: skip
    growths = {key: line for key, line in growths.items() if line}
    versus = _versus(length)
    changes = {(study, who, t): {q: ends(part, y, AXES[study], pair) for q, (y, pair) in QUANTITIES.items()}
               for study in AXES for (who, t), part in _change_groups(rows, study).items()}  # fmt: skip
    cells = {key: {name: part[-1].get(name) for name in COUNTED} | {y: mean(part, y) for y in (TIME, "peak_share")}
             for key, part in groups(select(length, status="ok"), *PLACE, "contender", T).items()}  # fmt: skip
    return Report(
        question="What does attention cost against a recurrence?",
        answers=_answers(growths, versus, changes),
        figures=_figures(rows, length, versus),
        tables=(
            grid("Exponents of T, and time as a + bT + cT²", ("quantity", *PLACE, "contender"), growths),
            grid("Attention's time over the recurrence's, by T, and where the two cross", (*PLACE, "recurrence"), versus),
            grid("The last point of a study's axis over the first", ("study", "contender", "T"), changes),
            grid("FLOPs three ways, predicted and measured time", (*PLACE, "contender", "T"), cells,
                 "XLA counts the body of a loop once. Predicted: at the largest matmul rate measured in this run."),
            table(_parts(length), ("contender", "level"), T, "ratio", title="Shares of the model's training step"),
        ),
        limits=(*conditions(rows), *_limits(rows)),
    )  # fmt: skip


def _with_costs(row: dict, peak: float | None) -> dict:
    """The row with its contender's name and the columns that follow from the measured ones, where those are there."""
    reads, seconds, closed = MIXERS[row["model.mixer"]].reads, row.get(TIME), row.get("closed_form_flops")
    form = next((row.get(f"model.{key}") for key in ("attention", "recurrence") if key in reads), None) or "auto"
    parts = [row.get(f"{part}_bytes") for part in ("argument", "output", "temp")]
    blocks = 1 if row["measure.level"] == "model" else row["model.num_layers"]
    return row | {
        "contender": row["model.mixer"] if form == "auto" else f"{row['model.mixer']} ({form})",
        "flops": row.get("jaxpr_flops") or closed,
        "memory_bytes": None if None in parts else sum(parts) - (row.get("alias_bytes") or 0),
        "peak_share": closed / seconds / peak if closed and seconds and peak else None,
        "predicted_seconds": closed / peak if closed and peak else None,
        "part_seconds": seconds and seconds * blocks,
    }


def _versus(length: Rows) -> dict[tuple, dict]:
    """Attention (`auto` where it was measured; at its own width, whatever is matched) against every recurrence."""
    found = {}
    for (level, phase), part in groups(length, "level", "phase").items():
        mine, *forms = [name for name in values(part, "contender") if name.startswith("attention")] or [None]
        for (matching, other), theirs in groups(part, "matching", "contender").items():
            if mine and other not in (mine, *forms):
                both = select(part, contender=mine, matching="width") + theirs
                line = {f"T* in {q}": crossing(both, T, QUANTITIES[q][0], "contender", mine, other, QUANTITIES[q][1])
                        for q in ("time", "FLOPs")}  # fmt: skip
                line |= {t: ratio(select(both, seq_len=t), TIME, "contender", mine, other) for t in values(theirs, T)}
                found[level, phase, matching, other] = line
    return found


def _change_groups(rows: Rows, study: str) -> dict[tuple, list[dict]]:
    """By (contender, T) where T is held; the axis itself is not."""
    found = groups(select(rows, study=study), "contender", *({T} - {AXES[study]}))
    return {(*key, None)[:2]: part for key, part in found.items()}


def _answers(growths: dict, versus: dict, changes: dict) -> list[Finding]:
    """Of training, and of the op and the whole model; the tables have the rest."""
    grows = {f"{who} {q}, {level}": line["exponent"] for (q, level, phase, matching, who), line in growths.items()
             if (phase, matching) == ("train", "width") and level != "block" and (q == "time" or level == "model")}  # fmt: skip
    train = {key: line for key, line in versus.items() if key[1] == "train" and key[0] != "block"}
    crossings = {f"{q}, {level}, {who}, same {matching}": line[f"T* in {q}"]
                 for (level, _, matching, who), line in train.items() for q in ("time", "FLOPs")
                 if q == "time" or (level, matching) == ("model", "width")}  # fmt: skip
    last = {f"{who}, same {matching}, T = {list(line)[-1]}": list(line.values())[-1]
            for (level, _, matching, who), line in train.items() if level == "model"}  # fmt: skip

    def change(question: str, *studies: str) -> Finding:
        at = max((t or 0 for study, _, t in changes if study in studies), default=0)
        mine = {
            f"{who}, {study}": line for (study, who, t), line in changes.items() if study in studies and (t or 0) == at
        }
        flops = ", ".join(f"{line['FLOPs'].value:.3g}" for line in mine.values())
        return Finding(question, f"Time at the last point over the first (T = {at or 'context'}). FLOPs: {flops}.",
                       {name: line["time"] for name, line in mine.items()}, judge=verdict)  # fmt: skip

    found = [
        Finding("How does attention's cost grow with length?", "Exponent of T, training.",
                {name: e for name, e in grows.items() if name.startswith("attention")}, judge=_quadratic),
        Finding("How does a recurrence's?", "Exponent of T, training.",
                {name: e for name, e in grows.items() if not name.startswith("attention")}, judge=_quadratic),
        Finding("Where does attention's cost pass a recurrence's?", "T at which both cost the same, training.", crossings),
        Finding("What is it at the greatest length?", "Attention's time over the recurrence's.", last, judge=verdict),
        change("What do heads do?", "heads", "head_dim"),
        change("What does depth do?", "depth"),
        change("What does a longer context cost when decoding?", "decode"),
    ]  # fmt: skip
    return [finding for finding in found if any(estimate.n for estimate in finding.estimates.values())]


def _quadratic(exponent: Estimate) -> str:
    return "quadratic" if is_quadratic(exponent) else ""


def _parts(length: Rows) -> list[dict]:
    """Op and block, each timed alone, times the number of blocks, over the model's training step of the same round."""
    train = select(length, phase="train", matching="width")
    return relative(
        select(train, level=["op", "block"]), "part_seconds", select(train, level="model"), (T, "contender")
    )


def _figures(rows: Rows, length: Rows, versus: dict) -> list:
    width = select(length, matching="width")
    train = select(width, phase="train")
    marks: dict[tuple, dict] = {}
    for (level, phase, matching, other), line in versus.items():
        if matching == "width":
            marks.setdefault((phase, level), {})[other] = line["T* in time"]
    others = select(length, level="model", phase="train", mixer=list(MIXERS)[1:])
    over = relative(others, TIME, select(train, level="model", contender="attention"), (T,), inverse=True)
    heads = [row | {"sweep": study} for study in list(AXES)[:3] for row in select(rows, study=study)]
    depth = select(rows, study="depth")
    return [
        lines(select(width, phase=["forward", "train"]), T, TIME, "contender", ("phase", "level"), marks=marks,
              name="time_by_length", title="Time of a step against sequence length", caption="Bars: 95 % intervals over"
              " rounds. Vertical: where attention's step becomes as long as the recurrence's of the same width."),
        lines(over, T, "ratio", "matching", "contender", reference=1, name="attention_over_recurrence", y_label="ratio of times",
              title="Attention's training step over the recurrence's, by what the two share"),
        lines(train, T, "flops", "contender", "level", pair=None, name="flops_by_length"),
        lines(train, T, "memory_bytes", "contender", "level", pair=None, name="memory_by_length"),
        lines(heads, "num_heads", TIME, T, "sweep", relative_to={"num_heads": 1},
              name="heads_by_length", caption="Time over the time with one head."),
        lines(depth, "num_layers", TIME, T, "contender", relative_to={"num_layers": 1},
              name="depth_by_length", caption="Time over the time of one block."),
        lines(select(rows, study="decode"), T, TIME, "contender", name="decoding", title="Time of one new token"),
    ]  # fmt: skip


def _limits(rows: Rows) -> list[str]:
    places = groups(select(rows, study="twins"), *PLACE, "contender", T).values()
    twins = [twin for part in places if (twin := ratio(part, TIME, "repeat", 1, 0)).n]
    equal = sum(twin.low <= 1 <= twin.high for twin in twins)
    missing = [study for study in ("length", "matching", *AXES, "twins") if not select(rows, study=study, status="ok")]
    return [
        f"Of {len(twins)} programs measured twice in this run, {equal} do not differ from themselves at 95 %.",
        f"Not measured in these rows: {', '.join(missing) or 'no study'}.",
    ]
