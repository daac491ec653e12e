"""The report of `forgetting`: what protecting costs and keeps, how much of it is best, and what attention has to do
with it."""

from math import inf, isfinite

from transformer_jax.intervals import Estimate
from transformer_jax.report import Finding, Report, Rows, Rule, Verdict, all_above, all_below, conditions, lines
from transformer_jax.report.fronts import area, best, each, less, paired, rank_correlation
from transformer_jax.report.points import groups, mean, select
from transformer_jax.report.rules import of_at_least
from transformer_jax.report.tables import grid, table

X, Y, FLOOR, WEIGHTS, SEEDS = "plasticity", "stability", 0.95, (0.25, 0.5, 0.75), 5
STREAMS = 4
ALL, QK, RANDOM, L2, JOINT = "EWC on all", "EWC on Q and K", "EWC on a random subset", "L2 on all", "joint"


def _memory(estimates) -> Verdict:
    pairs, more = estimates["twice the pairs"], estimates["pairs less length"]
    if pairs.low > 0 and more.low > 0:
        return Verdict.SUPPORTED
    return Verdict.REFUTED if pairs.high < 0 or more.high < 0 else Verdict.INCONCLUSIVE


OVER = (
    f" SUPPORTED if its 95 % interval over at least {SEEDS} seeds lies {{}} 0 on each of {STREAMS} streams; REFUTED if"
    " {} on all; TASK-DEPENDENT if above on some and below on others; else INCONCLUSIVE."
)


def _read(row: dict) -> dict:
    """A row with the place of its stream, the variant of what protects there, and the setting of its lane."""
    continual = {key.removeprefix("continual."): value for key, value in row.items() if key.startswith("continual.")}
    method, part = continual["method"], {"query_key": "Q and K"}.get(continual["part"], continual["part"])
    drawn = "a random subset" + (f" as large as {part}" if part != "Q and K" else "")
    protected = f"{method.upper()} on {drawn if continual['control'] else part}"
    other = f" ({continual['variant']})" if continual["variant"] != "separate" else ""
    variant = {"joint": JOINT, "replay": f"replay of {continual['buffer']}"}.get(method, protected + other)
    recall = continual["stream"] == "vocabularies"
    sizes = f", {row['task.num_items']} pairs, T = {row['task.seq_len']}" if recall else ""
    sizes += "" if row["model.mixer"] == "attention" else f", {row['model.mixer']}"
    name = f"{'recall' if recall else continual['stream']} ({continual['scenario']}{sizes})"
    strength = "frozen" if row.get("frozen") else row.get("strength")
    drawn = None if row.get("frozen") else (row.get("strength") or 0) * (row.get("importance") or 0)
    return row | {"place": name, "variant": variant, "setting": strength, "drawn": drawn}


def _relative(rows: Rows) -> list[dict]:
    """With plasticity: accuracy on each task when it was learned, over that at strength 0 of the same seed."""
    zero = {(row["place"], row["seed"]): row["learning_accuracy"] for row in rows
            if row["setting"] == 0 and row["continual.method"] not in ("joint", "replay")}  # fmt: skip
    return [row | {X: row["learning_accuracy"] / zero[row["place"], row["seed"]]} for row in rows
            if zero.get((row["place"], row["seed"]))]  # fmt: skip


def _tried(rows: Rows) -> list[dict]:
    """Without the frozen lane: the hypotheses are of strengths."""
    return [row for row in rows if row["setting"] != "frozen"]


def _least_drift(rows: Rows) -> float | None:
    return min((row["drift"] for row in _tried(rows) if row[X] >= FLOOR and row["drift"] is not None), default=None)


def _gain(rows: Rows) -> float | None:
    zero = [row["average_accuracy"] for row in rows if row["setting"] == 0]
    return max(row["average_accuracy"] for row in _tried(rows)) - zero[0] if zero else None


def _correlation(rows: Rows) -> float | None:
    moved = [row for row in _tried(rows) if row["drift"] is not None]
    return rank_correlation(*([row[name] for row in moved] for name in ("drift", "forgetting"))) if moved else None


def _area(rows: Rows) -> float:
    return area(_tried(rows), X, Y)


RULES = {
    "H1": Rule(
        f"Of the strengths with a plasticity of at least {FLOOR} the lowest drift of attention maps, with EWC on"
        " queries and keys, less that with EWC on as many random parameters." + OVER.format("below", "above"),
        of_at_least(SEEDS, all_below(), STREAMS),
        reads=(_read, _relative, _least_drift),
    ),
    "H2": Rule(
        "Spearman's rank correlation of drift and forgetting over all strengths of the three EWC variants, within a"
        " seed." + OVER.format("above", "below"),
        of_at_least(SEEDS, all_above(), STREAMS),
        reads=(_read, _relative, _correlation),
    ),
    "H3": Rule(
        "The hypervolume of the front of plasticity and stability over strengths, with EWC on queries and keys, less"
        " that with EWC on as many random parameters." + OVER.format("above", "below"),
        of_at_least(SEEDS, all_above(), STREAMS),
        reads=(_read, _relative, _area),
    ),
    "H4": Rule(
        "The gain of EWC on all is the highest average accuracy over strengths less that at strength 0, within a seed."
        " What it loses with 4 pairs for 2 (T = 16), and with T = 16 for 8 (2 pairs): SUPPORTED if it loses with the"
        f" pairs, and more than with the length (95 % intervals over at least {SEEDS} seeds above 0); REFUTED if either"
        " lies below 0; else INCONCLUSIVE.",
        of_at_least(SEEDS, _memory),
        reads=(_read, _gain),
    ),
}


def _around(setting, tried: list[float], fisher: float) -> str:
    """The strengths that were tried before and after the best one, times the mean Fisher: no closer is it known."""
    if setting == "frozen":
        return "all frozen"
    steps = [0.0, *tried, inf]
    at = steps.index(setting)
    low, high = fisher * steps[max(at - 1, 0)], fisher * steps[at + 1]
    return f"{low:.3g} to {high:.3g}" if isfinite(high) else f"above {low:.3g}"


def _answer(place: str, rows: Rows) -> tuple[str, str, str, Estimate, Estimate]:
    """How much to protect, in words and in sentences; how closely that is known; the gain in average accuracy; and the
    strength times the mean Fisher: without an interval, as it is chosen once, of all seeds."""
    of_all, joint = select(rows, variant=ALL), select(rows, variant=JOINT)
    setting, _ = best(of_all, 0.5, X, Y, "setting")
    chosen, none = select(of_all, setting=setting), select(of_all, setting=0)
    tried = sorted({row["setting"] for row in of_all if row["setting"] not in ("frozen", 0)})
    at_edge = tried and setting in (tried[0], tried[-1])
    edge = ": the edge of a grid widened as far as it may be, a better one may lie beyond" if at_edge else ""
    at = {name: [mean(part, name, "seed").value for part in (chosen, none)] for name in (
        "average_accuracy", "forgetting", "learning_accuracy")}  # fmt: skip
    top = f", with all data {mean(joint, 'average_accuracy', 'seed').value:.0%}" if joint else ""
    drawn, fisher = (mean(chosen, name, "seed") for name in ("drawn", "importance"))
    drawn = drawn._replace(low=drawn.value, high=drawn.value) if drawn.n else drawn
    how = "freeze all after the first task" if setting == "frozen" else "no protection"
    if setting not in ("frozen", 0):
        how = f"strength {setting:g} (times the mean Fisher {drawn.value:.3g}){edge}"
    text = (f"Of {place}: {how}. Average accuracy {at['average_accuracy'][0]:.0%} against"
            f" {at['average_accuracy'][1]:.0%} without{top}; it forgets {at['forgetting'][0]:.0%} for"
            f" {at['forgetting'][1]:.0%}, and has learned"
            f" {at['learning_accuracy'][0]:.0%} for {at['learning_accuracy'][1]:.0%}.")  # fmt: skip
    seeds = {row["seed"]: row["average_accuracy"] for row in chosen}
    short = f"{place}: {f'strength {setting:g}' if isinstance(setting, float) else setting}"
    gain = paired(less(seeds, {row["seed"]: row["average_accuracy"] for row in none}))
    return short, text, f"{place}: {_around(setting, tried, fisher.value)}", gain, drawn


def report(rows: Rows) -> Report:
    """Seed by seed: every lane of a seed met the same batches."""
    rows = [_read(row) for row in rows]
    ok = _relative([row for row in rows if row.get("learning_accuracy") is not None])
    places = {name: part for (name,), part in groups(ok, "place").items()}
    asked = [row for row in ok if not row.get("widened")]  # the hypotheses are of one grid for all variants
    main = {name: part for (name,), part in groups(asked, "place").items() if select(part, variant=QK)}

    def compared(value) -> dict[str, Estimate]:
        return {name: paired(less(*(each(select(part, variant=v), "seed", value) for v in (QK, RANDOM))))
                for name, part in main.items()}  # fmt: skip

    ewc = {name: select(part, variant=[ALL, QK, RANDOM]) for name, part in main.items()}
    answers = {
        name: _answer(name, part)
        for name, part in places.items()
        if select(part, variant=ALL) and (len(groups(part, "variant")) > 1 or not select(part, "memory"))
    }
    recalled = select(asked, "memory", mixer="attention")
    few, longer, more = (each(select(recalled, num_items=n, seq_len=T), "seed", _gain)
                         for n, T in ((2, 8), (2, 16), (4, 16)))  # fmt: skip
    losses = {"twice the pairs": less(longer, more), "twice the length": less(few, longer)}
    memory = {name: paired(of) for name, of in (losses | {"pairs less length": less(*losses.values())}).items()}
    fronts = {key: of for key, of in groups(ok, "place", "variant").items() if key[1] != JOINT and of}
    areas = {", ".join(key): paired(each(select(of, widened=lambda n: not n), "seed", _area))
             for key, of in fronts.items()}  # fmt: skip
    weighed = {key: {f"plasticity {w:.0%}": str(best(of, w, X, Y, "setting")[0]) for w in WEIGHTS}
               for key, of in fronts.items()}  # fmt: skip
    points = [row | {"kept": mean(at, X, "seed").value} for of in fronts.values()
              for at in groups(of, "setting").values() for row in at]  # fmt: skip
    by_strength = select(points, setting=lambda setting: setting not in ("frozen", 0))
    return Report(
        question="How much of what was learned should be protected, and how much should be allowed to adapt?",
        setting="Plasticity: accuracy on each task when it was learned, over that without protection. Stability: 1 less"
        " the accuracy on old tasks that was lost. In brackets what is known when an answer is asked for: the task;"
        " not the task, and all have the same answers (domain); not the task, which has answers of its own (class).",
        answers=(
            Finding("How much to protect, with both of equal weight?",
                    "; ".join(short for short, *_ in answers.values()),
                    {name: gain for name, (*_, gain, _) in answers.items()}, of="gain in average accuracy",
                    judge=lambda e: "gains" if e.low > 0 else "loses" if e.high < 0 else "undecided"),
            Finding("How much to protect, as strength times the mean Fisher?",
                    "the best strength tried, which is known no closer than from the one before to the one after it: "
                    + "; ".join(around for _, _, around, *_ in answers.values()),
                    {f"{name}, times the mean Fisher": drawn for name, (*_, drawn) in answers.items()}),
            Finding("H1: Does EWC on queries and keys keep attention maps where they were, at equal plasticity?",
                    "drift less the random subset's", compared(_least_drift), RULES["H1"]),
            Finding("H2: Does what drifts more forget more?", "rank correlation",
                    {name: paired(each(part, "seed", _correlation)) for name, part in ewc.items()}, RULES["H2"]),
            Finding("H3: Is it better to protect queries and keys than as many parameters at random?",
                    "hypervolume less the random subset's", compared(_area), RULES["H3"]),
            Finding("H4: Is it working memory that limits EWC, as for recurrences, and not the length?",
                    "gain lost", memory, RULES["H4"]),
            Finding("What is the front's hypervolume?", "plasticity times stability, over strengths", areas),
        ),
        figures=(
            lines(points, "kept", Y, "variant", "place", pair="seed", log="", name="front", x_label=X,
                  title="Stability by plasticity, from no protection to freezing"),
            *(lines(by_strength, "strength", y, "variant", "place", pair="seed", log="x", name=f"{y}_by_strength")
              for y in ("average_accuracy", "drift")),
        ),
        tables=(
            *(table(ok, ("place", "variant"), "setting", y, "seed")
              for y in ("average_accuracy", X, Y, "drift", "worst_accuracy", "drawn")),
            grid("Best strength, by the weight of plasticity", ("place", "variant"), weighed),
        ),
        notes=[text for _, text, *_ in answers.values()],
        limits=(*conditions(rows), "Small models, few steps. The best strength is that with the highest sum of"
                " plasticity and stability, chosen on the rows that are reported."),
    )  # fmt: skip
