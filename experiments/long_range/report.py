"""The report of `long_range`: who learns what is far away, and who keeps it on longer sequences."""

from math import isfinite

from transformer_jax.report import Finding, Report, Rows, Rule, Verdict, conditions, lines, mean, reached, select, table

TASKS = ("adding", "copy_memory", "parity", "even_pairs", "cycle_navigation")
SIDES = {"attention": ("attention, none", "attention, sinusoidal", "attention, rotary"), "recurrences": ("gru", "lstm")}
SEEDS, SHARE, FAR, KEPT = 5, 0.8, 16, 0.95


def _decide(estimates) -> Verdict:
    if any(one.n < SEEDS for one in estimates.values()):
        return Verdict.INCONCLUSIVE
    attention, recurrences = ([estimates[f"{name}: {side}"] for name in TASKS] for side in SIDES)
    solved, won = [any(isfinite(one.high) for one in side) for side in (attention, recurrences)], []
    for mine, others in ((attention, recurrences), (recurrences, attention)):
        won.append([a.high * 2 <= b.low and not isfinite(b.high) for a, b in zip(mine, others, strict=True)])
    if all(won[0]) or all(won[1]):
        return Verdict.SUPPORTED if all(won[0]) else Verdict.REFUTED
    return Verdict.TASK_DEPENDENT if any(won[0] + won[1]) and all(solved) else Verdict.INCONCLUSIVE


def _only_one_copies(estimates) -> Verdict:
    if any(one.n < SEEDS for one in estimates.values()):
        return Verdict.INCONCLUSIVE
    attention, recurrences = (estimates[f"copying: {side}"] for side in SIDES)
    for mine, other, word in ((attention, recurrences, Verdict.SUPPORTED), (recurrences, attention, Verdict.REFUTED)):
        if mine.high * 2 <= other.low and not isfinite(other.high):
            return word
    return Verdict.INCONCLUSIVE


RULES = {
    "attention_solves_more": Rule(
        "A seed has solved a task at its first evaluation, within the trained lengths, with an accuracy of 0.99 or a"
        f" mean squared error below 0.01; a side, once {SHARE:.0%} of at least {SEEDS} seeds of one of its models have:"
        " attention with no, sinusoidal or rotary positions; a GRU or an LSTM. A side wins a task that it solves within"
        " half of the steps, if the other does not solve it within all. SUPPORTED if attention wins every task;"
        " REFUTED if the recurrences do; TASK-DEPENDENT if one side wins a task and the other solves another; else, or"
        " where a model is not measured, INCONCLUSIVE: who fails may have lacked steps.",
        _decide,
    ),
    "only_attention_copies": Rule(
        f"A side has solved copying (four symbols, over 50 blanks) once {SHARE:.0%} of at least {SEEDS} seeds of one of"
        " its models answer 99 % right: attention with no, sinusoidal or rotary positions; a GRU or an LSTM. SUPPORTED"
        " if attention solves it within half of the steps and the recurrences do not within all; REFUTED if it is the"
        " other way round; else (both do, neither does, one was late), or where a model is not measured, INCONCLUSIVE.",
        _only_one_copies,
    ),
}


def _read(row: dict) -> dict:
    """A lane without a finite number answers nothing right, and takes no other with it."""
    row = row | {"reader": ", ".join((row["model.mixer"], row["model.position"])).removesuffix(", auto")}
    if "lane" not in row:
        return row
    right = {"accuracy": row["accuracy"] or 0.0} if "accuracy" in row else {}
    seed = row["round"] * row["train.lanes"] + row["lane"] + 1
    return row | right | {"status": "ok", "seed": seed, "score": row.get("mse", row.get("accuracy"))}


def report(rows: Rows) -> Report:
    """Steps by task and side; accuracy by length of those who solve the task."""
    rows = [_read(row) for row in rows if row["task.name"] in row["studies"]]
    ok = select(rows, status="ok")
    short, far, of_all = select(ok, longer=1), select(ok, longer=FAR), [one for side in SIDES.values() for one in side]
    steps = {(name, reader): reached(select(short, name=name, reader=reader), "solved_step", SHARE, "step")
             for name in TASKS for reader in of_all}  # fmt: skip
    sides = {f"{name}: {side}": min((steps[name, reader] for reader in readers), key=lambda e: (e.n, e.low, e.high))
             for name in TASKS for side, readers in SIDES.items()}  # fmt: skip
    kept = {f"{name}: {reader}": mean(select(far, name=name, reader=reader), "accuracy", pair="lane")
            for name, reader in steps if name in TASKS[2:] and isfinite(steps[name, reader].value)}  # fmt: skip
    copying = {f"copying: {side}": sides[f"copy_memory: {side}"] for side in SIDES}
    edges = {f"{row['task.name']} by {row['reader']}": None for row in select(short, rate_at_edge=True)}
    return Report(
        question="Who learns what is far away, and who keeps it on longer sequences?",
        answers=(
            Finding("Does attention learn dependencies that recurrences with as many parameters do not?",
                    f"steps until {SHARE:.0%} of a model's seeds had solved it", sides, RULES["attention_solves_more"]),
            Finding(f"Who keeps it at {FAR} times the trained length?",
                    f"accuracy there of those who solved the task; kept: above {KEPT}, lost: below", kept,
                    judge=lambda e: "kept" if e.low > KEPT else "lost" if e.high < KEPT else "undecided"),
            Finding("Does attention copy what recurrences with as many parameters do not?",
                    f"steps until {SHARE:.0%} of a model's seeds had solved it", copying,
                    RULES["only_attention_copies"], of="four symbols, repeated after 50 blanks"),
        ),
        figures=(
            lines(ok, "longer", "accuracy", "reader", "name", pair="lane", log="x", name="accuracy_by_length",
                  title="Accuracy by the length of the test", x_label="length of the test over the trained one",
                  caption="Means over seeds with 95 % intervals, of those too who did not learn the task."),
        ),
        tables=(
            table(short, ("name", "reader"), "seed", "solved_step", None, "Steps until solved, seed by seed"),
            table(ok, ("name", "reader", "seed"), "longer", "score", None, "Accuracy (adding: MSE) by length"),
        ),
        notes=[f"The chosen rate is the lowest or highest that was tried: {', '.join(edges)}."] * bool(edges),
        limits=(*conditions(rows), "One size, few steps, as many for all: what solves a task later is not asked. Of"
                " five rates one is chosen in half of them, on a seed that no answer uses. A side counts by its best."),
    )  # fmt: skip
