"""The report of `utilisation`: what share of the machine's peak a step reaches, and which roof it stands under."""

from transformer_jax.intervals import Estimate
from transformer_jax.report import Finding, Report, Rows, Rule, all_above, conditions, lines, mean, ratio, select
from transformer_jax.report.costs import flops
from transformer_jax.report.points import groups, values
from transformer_jax.report.tables import grid, number

T, RECURRENCES, ROOF = "seq_len", ("rnn", "gru", "lstm", "min_gru"), "the roof"
STEPS = {"train": "a training step", "decode": "one more token"}


def _read(row: dict, peak: float | None, bandwidth: float | None) -> dict:
    """FLOPs per second, their share of the peak, FLOPs per byte, and what the lower roof allows there."""
    seconds, done, moved = row.get("step_seconds"), flops(row), row.get("jaxpr_bytes")
    if not (seconds and done and peak):
        return row
    row = row | {"speed": done / seconds, "share": done / seconds / peak}
    known = moved and bandwidth  # not where a fused kernel hides what it moves
    return row | ({"intensity": done / moved, "roof": min(peak, done / moved * bandwidth)} if known else {})


def _over(rows: Rows, study: str, place: int) -> dict[str, Estimate]:
    """Attention's FLOPs per second over each recurrence's, at the first or last length of the study."""
    lengths = values(select(rows, study=study, status="ok"), T)
    here = select(rows, study=study, seq_len=lengths[place]) if lengths else []
    return {f"over {mixer}": ratio(here, "speed", "mixer", "attention", mixer) for mixer in RECURRENCES}


RULES = {
    "attention_uses_more": Rule(
        "SUPPORTED if at this length a step with attention does more FLOPs per second than one with each recurrence"
        " (tanh-RNN, GRU, LSTM, minGRU): the ratio above 1 with its 95 % interval over passes; REFUTED if below 1 for"
        " all four; TASK-DEPENDENT if above for some and below for others; else, or where one is not measured,"
        " INCONCLUSIVE.",
        all_above(1.0),
        reads=(_read, _over),
    ),
}


def _question(rows: Rows, study: str, place: int) -> Finding:
    """What `_over` finds, beside the share of the peak that each reaches there."""
    lengths = values(select(rows, study=study, status="ok"), T)
    here = select(rows, study=study, seq_len=lengths[place]) if lengths else []
    shares = {mixer: mean(part, "share") for (mixer,), part in groups(here, "mixer").items()}
    each = ", ".join(f"{mixer} {share.value:.2%}" for mixer, share in shares.items() if share.n)
    step, which = STEPS[study], {0: "shortest", -1: "longest"}[place]
    text = f"Of the matmul's peak: {each}. The numbers: attention's FLOPs per second over each recurrence's."
    return Finding(f"Does {step} use more of the machine with attention, at the {which} T?", text,
                   _over(rows, study, place), RULES["attention_uses_more"],
                   of=f"T = {lengths[place]:,}" if lengths else "")  # fmt: skip


def report(rows: Rows) -> Report:
    """Any subset of rows will do; what is missing has no verdict."""
    peak, bandwidth = (max((row[name] for row in rows if row.get(name)), default=None)
                       for name in ("matmul_peak_flops", "moved_bytes_per_second"))  # fmt: skip
    rows = [_read(row, peak, bandwidth) for row in rows]
    train = select(rows, study="train")
    roofs = {(row[f"task.{T}"], row["intensity"], row["roof"]): None for row in train if "roof" in row}
    roofs = [{"model.mixer": ROOF, f"task.{T}": at, "intensity": x, "speed": speed} for at, x, speed in roofs]
    peaks = (f"Peaks of this run: {number(peak / 1e9)} GFLOP/s of a large matmul, {number(bandwidth / 1e9)} GB/s of"
             " memory.") if peak and bandwidth else ""  # fmt: skip
    points = {key: {"FLOPs per byte": part[0].get("intensity"), "FLOPs per second": mean(part, "speed"),
                    "share of the peak": mean(part, "share"), "the lower roof": part[0].get("roof")}
              for key, part in groups(select(rows, status="ok"), "phase", "mixer", T).items()}  # fmt: skip
    return Report(
        question="How much of the machine does a step use, with attention and with recurrences?",
        setting=f"As many tokens in every training step: T goes up, the batch down. {peaks}",
        answers=tuple(_question(rows, study, place) for study in STEPS for place in (-1, 0)),
        figures=(
            lines(train, T, "share", "mixer", name="share_by_length", reference=1, y_label="share of the matmul's peak",
                  title="A training step's FLOPs per second over the peak of a large matmul"),
            lines(train + roofs, "intensity", "speed", "mixer", T, name="roofline", log="y", x_label="FLOPs per byte",
                  y_label="FLOPs per second", title="The same steps under the roofs of memory and of the matmul",
                  caption="Bytes as if every operation read and wrote memory: caches and fusion move fewer, so that a"
                  " step may stand above the roof."),
        ),
        tables=(grid("Where each step stands", ("phase", "mixer", "T"), points),),
        limits=(*conditions(rows), "FLOPs are those of the program, loops multiplied by their trips, and what is"
                " computed twice counts twice. A share of the peak is no measure of usefulness: attention does more"
                " FLOPs for the same tokens. The peak is of one matmul on this device with all its cores."),
    )  # fmt: skip
