"""The report of `long_range`: who learns what is far away, and who keeps it on longer sequences."""

from math import isfinite

from transformer_jax.intervals import NOTHING, Estimate
from transformer_jax.lab.in_seconds import equal_budgets, how_timed, in_attentions_steps
from transformer_jax.report import AT_EDGE, SOONEST, Finding, Report, Rows, Rule, conditions, lines, note, table
from transformer_jax.report.points import by_seed, is_number, mean, reached, select
from transformer_jax.report.rules import of_at_least, sooner, soonest

TASKS = ("adding", "copy_memory", "parity", "even_pairs", "cycle_navigation")
SIDES = {"attention": ("attention, none", "attention, sinusoidal", "attention, rotary"), "recurrences": ("gru", "lstm")}
SEEDS, SHARE, FAR, KEPT = 5, 0.8, 16, 0.95


def _read(rows: Rows) -> list[dict]:
    """Who reads, what was asked, and how well; a lane without a finite number answers nothing right."""
    return [_asked(row) if "lane" in row else row for row in map(_reader, by_seed(rows))]


def _reader(row: dict) -> dict:
    return row | {"reader": ", ".join((row["model.mixer"], row["model.position"])).removesuffix(", auto")}


def _asked(row: dict) -> dict:
    blanks = row["task.seq_len"] - 2 * row["task.num_items"]
    apart = "delays" in row["studies"] and "copy_memory" not in row["studies"]  # one delay is that of the task too
    right = {"accuracy": row["accuracy"] or 0.0} if "accuracy" in row else {}
    right |= {"asked": f"copying over {blanks} blanks" if apart else row["task.name"]}
    return row | right | {"score": row.get("mse", row.get("accuracy"))}


def _best(of_models: list[Estimate]) -> Estimate:
    """That of the model that was soonest; nothing where one of them lacks seeds."""
    return soonest(of_models) if all(one.n >= SEEDS for one in of_models) else NOTHING


def _steps(rows: Rows, study=TASKS, tasks=TASKS) -> dict[tuple[str, str], Estimate]:
    """By task and reader, of rows as they were measured."""
    rows = select(_read(rows), study=study, status="ok", longer=1)
    return {(task, reader): reached(select(rows, asked=task, reader=reader), "solved_step", SHARE, "step")
            for task in tasks for side in SIDES.values() for reader in side}  # fmt: skip


def _solved(rows: Rows, study=TASKS, tasks=TASKS) -> dict[str, Estimate]:
    """By task and side, the steps of its best model."""
    steps = _steps(rows, study, tasks)
    return {f"{task}: {side}": _best([steps[task, reader] for reader in readers])
            for task in tasks for side, readers in SIDES.items()}  # fmt: skip


def _copied(rows: Rows) -> dict[str, Estimate]:
    sides = _solved(rows, "copy_memory", ("copy_memory",))
    return {f"copying: {side}": sides[f"copy_memory: {side}"] for side in SIDES}


RULES = {
    "attention_solves_more": Rule(
        "A seed has solved a task at its first evaluation, within the trained lengths, with an accuracy of 0.99 or a"
        f" mean squared error below 0.01; a side, once {SHARE:.0%} of at least {SEEDS} seeds of one of its models have:"
        " attention with no, sinusoidal or rotary positions; a GRU or an LSTM. A side wins a task that it solves within"
        " half of the steps, if the other does not solve it within all. SUPPORTED if attention wins every task;"
        " REFUTED if the recurrences do; TASK-DEPENDENT if one side wins a task and the other solves another; else, or"
        " where a model is not measured, INCONCLUSIVE: who fails may have lacked steps.",
        of_at_least(SEEDS, sooner("solves")),
        reads=(_solved,),
    ),
    "only_attention_copies": Rule(
        f"A side has solved copying (four symbols, over 50 blanks) once {SHARE:.0%} of at least {SEEDS} seeds of one of"
        " its models answer 99 % right: attention with no, sinusoidal or rotary positions; a GRU or an LSTM. SUPPORTED"
        " if attention solves it within half of the steps and the recurrences do not within all; REFUTED if it is the"
        " other way round; else (both do, neither does, one was late), or where a model is not measured, INCONCLUSIVE.",
        of_at_least(SEEDS, sooner("solves")),
        reads=(_copied,),
    ),
}


def report(rows: Rows) -> Report:
    """Steps by task and side; accuracy by length of those who solve the task; what only the full size has is behind."""
    counted, whole = in_attentions_steps(rows), _read(rows)
    ok = select(whole, study=TASKS, status="ok")
    short, far = select(ok, longer=1), select(ok, longer=FAR)
    seconds = select(whole, study="seconds", longer=1, trained_steps=is_number)
    others = [row for row in whole if row.get("asked", TASKS[0]) not in TASKS]
    more, behind = dict.fromkeys(row["asked"] for row in others), {study for row in others for study in row["studies"]}
    steps, learned = _steps(counted), f"steps until {SHARE:.0%} of a model's seeds had solved it"
    rule = RULES["attention_solves_more"]
    kept = {f"{name}: {reader}": mean(select(far, name=name, reader=reader, solved_step=is_number), "accuracy", "seed")
            for name, reader in steps if name in TASKS[2:] and isfinite(steps[name, reader].value)}  # fmt: skip
    edges = (f"{row['task.name']} by {row['reader']}" for row in select(short, rate_at_edge=True))
    return Report(
        question="Who learns what is far away, and who keeps it on longer sequences?",
        answers=(
            Finding("Does attention learn dependencies that recurrences with as many parameters do not?",
                    learned, _solved(counted), rule),
            *equal_budgets(counted, learned, lambda study: _solved(counted, study), rule),
            Finding(f"Who keeps it at {FAR} times the trained length?",
                    f"accuracy there of the seeds that solved the task; kept: above {KEPT}, lost: below", kept,
                    judge=lambda e: "kept" if e.low > KEPT else "lost" if e.high < KEPT else "undecided"),
            Finding("Does attention copy what recurrences with as many parameters do not?",
                    learned, _copied(counted), RULES["only_attention_copies"],
                    of="four symbols, repeated after 50 blanks"),
            Finding("Who solves other tasks, and copies over longer delays?", learned, _solved(counted, behind, more))
            if more else None,
        ),
        figures=(
            lines(ok, "longer", "accuracy", "reader", "name", pair="lane", log="x", name="accuracy_by_length",
                  title="Accuracy by the length of the test", x_label="length of the test over the trained one",
                  caption="Means over seeds with 95 % intervals, of those too who did not learn the task."),
            lines(short, "seed", "solved_step", "reader", "name", pair=None, log="", name="steps_by_seed",
                  title="Steps until solved, seed by seed", x_label="seed", y_label="steps",
                  caption="A seed without a mark did not solve the task within all steps."),
        ),
        tables=(
            table(short, ("name", "reader"), "seed", "solved_step", None, "Steps until solved, seed by seed"),
            table(ok, ("name", "reader", "seed"), "longer", "score", None, "Accuracy (adding: MSE) by length"),
            table(seconds, ("name",), "mixer", "trained_steps", "seed", "Steps in as many seconds as attention's"),
        ),
        notes=note(AT_EDGE, edges),
        limits=(*conditions(whole), *how_timed(whole), "As many steps (or seconds) for all: what solves a task later is"
                f" not asked. {SOONEST} The rate is chosen in half of the steps. A side counts by its best model."),
    )  # fmt: skip
