"""The report of `vectorized_heads`: how much faster attention's heads are together than in a loop."""

from transformer_jax.intervals import verdict
from transformer_jax.report import Finding, Report, Rows, conditions, lines, ratio, relative, select, table

TOGETHER = ("vmap", "batched")
FORMS = ("loop", *TOGETHER)


def report(rows: Rows) -> Report:
    """The loop's time over that of the other two forms, round by round; any subset of rows will do."""
    forms = [
        {**row, "form": form, "seconds": row.get(f"{form}_seconds"), "compiling": row.get(f"{form}_compile_seconds")}
        for row in rows
        for form in FORMS
    ]
    heads = sorted({row["model.num_heads"] for row in rows})
    found = {
        f"{form}, T = {T}": ratio(select(forms, seq_len=T, num_heads=heads[-1]), "seconds", "form", form, "loop")
        for form in TOGETHER
        for T in sorted({row["task.seq_len"] for row in rows})
    }
    axes = ("seq_len", "num_heads")
    faster = relative(select(forms, form=TOGETHER), "seconds", select(forms, form="loop"), axes, inverse=True)
    speed_up = lines(
        faster, "num_heads", "ratio", "form", "seq_len", reference=1, name="speedup_by_heads",
        title="Speed-up over a loop, by number of heads", y_label="time of the loop / of the form",
        caption="Above the line the heads are faster together. Bars: 95 % intervals over rounds.",
    )  # fmt: skip
    return Report(
        question="Does it pay to compute attention's heads together?",
        answers=(
            Finding("How long do all heads together take?", f"Time over that of a loop over {heads[-1]} heads.", found,
                    judge=verdict),
        ) if found else (),
        figures=(speed_up,),
        tables=(
            table(forms, axes, "form", "seconds", title="Seconds of a forward pass"),
            table(forms, axes, "form", "compiling", pair=None, title="Seconds to compile"),
        ),
        limits=(*conditions(rows), "All forms give the same numbers."),
    )  # fmt: skip
