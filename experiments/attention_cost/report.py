"""The report of `attention_cost`: how costs grow, where attention passes a recurrence, what heads and depth do."""

from math import isfinite

from transformer_jax.config import MIXERS
from transformer_jax.intervals import verdict
from transformer_jax.report import Finding, Report, Rows, conditions, lines, ratio, sentences
from transformer_jax.report.costs import flops, memory_bytes
from transformer_jax.report.findings import chance, undrawn
from transformer_jax.report.points import added, crosses, ends, groups, growth, mean, relative, select, shared, values
from transformer_jax.report.sentences import in_proportion, rising
from transformer_jax.report.tables import grid
from transformer_jax.report.variants import formed, joined, preferred, variants

T, TIME, PLACE, LEVELS = "seq_len", "step_seconds", ("level", "phase", "matching"), ("op", "block", "model")
QUANTITIES = {"time": (TIME, "round"), "FLOPs": ("flops", None), "memory": ("memory_bytes", None)}
HEADS = {"heads": ("num_heads", "head_dim"), "head_dim": ("num_heads",), "model_heads": ("num_heads", "head_dim")}
AXES = HEADS | {"depth": ("num_layers",), "decode": (T,)}
COUNTED = ("implementation", "sequential_depth", "closed_form_flops", "jaxpr_matmul_flops", "jaxpr_flops", "xla_flops")
SHARED = {"width": "equal width", "params": "equal parameters", "flops": "equal FLOPs"}
WHERE = {"op": "the op alone", "block": "one block", "model": "the whole model"}
STEP = {"train": "training step", "forward": "forward pass", "decode": "new token"}
SIZES = {"num_layers": "{} blocks", "d_model": "width {}", "batch_size": "batch {}", "dtype": "{}"}
WHOLE, ALONE = ["model", "block"], ["op", "block"]


def report(rows: Rows) -> Report:
    """Seven answers, the figures that show them, tables. Any subset of rows will do: the rest is named as missing."""
    costs = [_with_costs(row) for level in LEVELS for row in select(rows, level=level)]
    twins, costs = costs, select(costs, repeat=values(costs, "repeat")[:1])
    length, place = _contenders(select(costs, study=("length", "matching", "decode"))), (*PLACE, "contender")
    parts = {study: _contenders(select(costs, study=study), axes) for study, axes in AXES.items()}
    growths = _growths(length)
    crossings, versus = _versus(length)
    changes = {(study, *key): {name: ends(part, y, axis, pair) for name, (y, pair) in QUANTITIES.items()}
               | {"first": points[0], "last": points[-1]}
               for study, (axis, *_) in AXES.items() for key, part in groups(parts[study], *place, "at").items()
               if (points := values(select(part, status="ok"), axis))}  # fmt: skip
    blocks = {key: steps for key, part in groups(parts["depth"], *place, "at").items()
              if (steps := added(part, TIME, "num_layers"))}  # fmt: skip
    forms = {(*key, form): {"time": ratio(part, TIME, "form", form, key[-1])}
             for key, part in groups(length, *PLACE, "variant", "own", T, "mixer").items()
             for form in values(part, "form") if form != key[-1]}  # fmt: skip
    twins = {key: {"second over first": ratio(part, TIME, "repeat", 1, 0)}
             for key, part in groups(_contenders(select(twins, study="twins")), *place, T).items()}  # fmt: skip
    cells = {key: {name: part[-1].get(name) for name in COUNTED} | {TIME: mean(part, TIME)}
             for key, part in groups(select(length, status="ok"), *place, T).items()}  # fmt: skip
    figures = _figures(length, parts, crossings)
    answers = _answers(growths, crossings, versus, changes)
    ratios = [e for found in (versus, forms, twins) for line in found.values() for e in line.values()]
    ratios += [line["time"] for line in changes.values()]
    missing = [study for study in ("length", "matching", *AXES, "twins") if not select(rows, study=study)]
    at = {key: {f"T* in {name}": found.at for name, found in line.items()} for key, line in crossings.items()}
    return Report(
        question="What does attention cost against a recurrence?",
        setting=_setting(length),
        answers=answers,
        notes=[chance(sum(estimate.n > 0 for estimate in ratios))],
        figures=figures,
        tables=(
            grid("Exponents of T, and time as a + bT + cT²", ("quantity", *place), growths),
            grid("Attention's time over the recurrence's, and the length T* at which the two cross",
                 (*PLACE, "attention", "recurrence"), {key: at[key] | line for key, line in versus.items()}),
            grid("Another form's time over that of the one that is picked", (*PLACE, "variant", "own", "T", "mixer",
                 "form"), forms),
            grid("The last point of a study's axis over the first", ("study", *place, "T"), changes),
            grid("Seconds that one more block adds, from a depth to the next", (*place, "T"), blocks),
            grid("FLOPs three ways, and time", (*place, "T"), cells),
            grid("The same program measured twice", (*place, "T"), twins),
            undrawn(rows, figures),
        ),
        limits=(*conditions(rows), f"Studies without a row here: {', '.join(missing) or 'none'}."),
    )  # fmt: skip


def _growths(length: Rows) -> dict[tuple, dict]:
    """How each quantity grows with T, by quantity, place and contender."""
    found = {(name, *key): growth(part, T, y, pair, first=1024, same="implementation")
             for name, (y, pair) in QUANTITIES.items()
             for key, part in groups(length, *PLACE, "contender").items()}  # fmt: skip
    return {key: line for key, line in found.items() if line}


def _with_costs(row: dict) -> dict:
    """The row with the columns that follow from the measured ones, where those are there."""
    level, phase, matching = (row[f"measure.{name}"] for name in PLACE)
    also = "" if matching == "width" else SHARED[matching]
    return row | {
        "place": joined(level, phase, also),
        "where": joined(WHERE[level], STEP[phase], also),
        "form": formed(row),
        "at": "every T" if row["measure.phase"] == "decode" else row["task.seq_len"],
        "flops": flops(row),
        "memory_bytes": memory_bytes(row),
    }


def _contenders(rows: Rows, axes: tuple = ()) -> list[dict]:
    """The rows with their contender: mixer, form, and by what else, beside the axes, they differ."""
    if axes == HEADS["head_dim"]:
        rows = [row | {"model.head_dim": row["model.head_dim"] or row["model.d_model"] // row["model.num_heads"]}
                for row in rows]  # fmt: skip
    return variants(rows, ("mixer", "attention", "recurrence", T, *axes), "form")


def _versus(length: Rows) -> tuple[dict[tuple, dict], dict[tuple, dict]]:
    """Attention (`auto` where it was measured; at its own width, whatever is matched) against every recurrence: where
    their costs cross, and the ratio of times at every length."""
    crossings, ratios = {}, {}
    for (level, phase, matching, variant, other), theirs in groups(length, *PLACE, "variant", "contender").items():
        if theirs[0]["model.mixer"] == "attention":
            continue
        here = select(length, level=level, phase=phase, matching="width", variant=variant, mixer="attention")
        for mine in values(select(here, form=values(here, "form")[:1]), "contender"):
            both, key = select(here, contender=mine) + theirs, (level, phase, matching, mine, other)
            crossings[key] = {name: crosses(both, T, *cost[:1], "contender", mine, other, *cost[1:])
                              for name, cost in list(QUANTITIES.items())[:2]}  # fmt: skip
            found = {t: ratio(select(both, seq_len=t), TIME, "contender", mine, other) for t in values(theirs, T)}
            ratios[key] = {t: estimate for t, estimate in found.items() if estimate.n}
    return crossings, {key: line for key, line in ratios.items() if line}


def _answers(growths: dict, crossings: dict, versus: dict, changes: dict) -> list[Finding]:
    """Always seven: of training, and of what comes nearest where that was not measured; the tables have the rest."""
    heads, at = _ends(changes, "heads", "total width kept")
    fixed, _ = _ends(changes, "head_dim", "each head's width kept")
    whole, at_whole = _ends(changes, "model_heads", "total width kept")
    depth, deep = _ends(changes, "depth")
    decode, when = _ends(changes, "decode")
    return [
        _growing("How does attention's cost grow?", growths, ["attention"]),
        _growing("How does a recurrence's cost grow?", growths, list(MIXERS)[1:]),
        _crossing("From which T does attention cost more?", crossings, versus),
        _longest("How much more at the longest length?", versus),
        rising("What do more heads cost?", heads | fixed or whole, "{last} heads instead of {first} take {times} as"
               " long ({who})", "{last} heads {times} ({who})", at or at_whole),
        rising("What does more depth cost?", depth, "{last} blocks instead of {first} take {who} {times} as long",
               "{who} {times}", deep, in_proportion),
        rising("What does one more token cost?", decode, "After {last} tokens instead of {first} it takes {who} {times}"
               " as long", "{who} {times}", when),
    ]  # fmt: skip


def _growing(question: str, growths: dict, mixers: list[str]) -> Finding:
    there = [key for name, *key in growths if name == "time" and sentences.mixer_of(key[-1]) in mixers]
    lead = preferred(there, ALONE, ["train"], ["width"], ["attention", "lstm"])
    if lead is None:
        return sentences.unanswered(question, f"two lengths of {' or '.join(mixers)}")
    same = {name: growths[name, *lead] for name in QUANTITIES if (name, *lead) in growths}
    return sentences.growing(question, sentences.named(lead[-1]), same, _of(*lead[:2]), mixers == ["attention"])


def _crossing(question: str, crossings: dict, versus: dict) -> Finding:
    there = [key for key, line in crossings.items() if line["time"].at.n]
    lead = preferred(there, WHOLE, ["train"], ["width"], ["attention"], ["lstm"])
    if lead is None:
        return sentences.unanswered(question, "two lengths that attention and a recurrence share")
    (level, phase, matching, mine, other), line = lead, crossings[lead]
    phrase, word = sentences.passing(line["time"])
    if equal := sentences.near(versus[lead]) if sentences.bounded(line["time"]) else None:
        phrase, word = equal
    text = f"{mine}: more time than {sentences.named(other)} {phrase}"
    if line["FLOPs"].at.n:
        text += f", more FLOPs {sentences.passing(line['FLOPs'])[0]}"
    found = {f"in {name}": crossing.at for name, crossing in line.items() if crossing.at.n}
    alone = crossings.get(("op", *lead[1:]))
    found |= {"the op alone, in time": alone["time"].at} if alone and level != "op" else {}
    return Finding(question, f"{text[:1].upper()}{text[1:]}.", found, word=word, of=_of(level, phase, SHARED[matching]),
                   bounded=sentences.bounded(line["time"]) and not equal)  # fmt: skip


def _longest(question: str, versus: dict) -> Finding:
    lead = preferred(versus, WHOLE, ["train"], ["width"], ["attention"], ["lstm"])
    if lead is None:
        return sentences.unanswered(question, "a length that attention and a recurrence share")
    level, phase, _, mine, other = lead
    lines = {name: versus.get((level, phase, name, mine, other)) for name in SHARED}
    found = {name: (list(line)[-1], list(line.values())[-1]) for name, line in lines.items() if line}
    longest = max(t for t, _ in found.values())
    numbers = {f"at {SHARED[name]}{'' if t == longest else f' (T = {t:,})'}": e for name, (t, e) in found.items()}
    text = ", ".join(f"{sentences.times(e)} {{}}{where}" for where, e in numbers.items())
    text = text.format(f"{sentences.named(other)}'s time ", *[""] * 2)
    return Finding(question, f"{mine[:1].upper()}{mine[1:]}: {text}.", numbers, of=_of(level, phase, longest),
                   word=sentences.verdicts({where: verdict(e) for where, e in numbers.items()}))  # fmt: skip


def _of(level: str, phase: str, more: int | str = "") -> str:
    """What was measured, as it stands under a question."""
    return joined(WHERE[level], STEP[phase], f"T = {more:,}" if isinstance(more, int) else more)


def _ends(changes: dict, study: str, how: str = "") -> tuple[dict, str]:
    """By contender the line of attention and of one recurrence, at the longest T, and where that is."""
    there = [key for key, line in changes.items() if key[0] == study and line["time"].n]
    lengths = sorted({key[-1] for key in there}, key=lambda t: -t if isinstance(t, int) else 0)
    lead = preferred(there, [study], ALONE if study in HEADS else WHOLE, ["train"], ["width"], ["attention"], lengths)
    near = [key[4] for key in there if lead and (*key[:4], key[5]) == (*lead[:4], lead[5])]
    second = preferred([(who,) for who in near if sentences.mixer_of(who) != sentences.mixer_of(lead[4])], ["lstm"])
    chosen = [lead[4], *(second or ())] if lead else []
    names = [how] if how and len(chosen) == 1 else [f"{sentences.named(who)} {how}".strip() for who in chosen]
    lines = [changes[(*lead[:4], who, lead[5])] for who in chosen]
    at = _of(*lead[1:3], lead[5] if isinstance(lead[5], int) else "") if lead else ""
    return dict(zip(names, lines, strict=True)), at


def _setting(length: Rows) -> str:
    """What all the comparisons share, and the words of the answers."""
    known = {c.rpartition(".")[2]: v for c, v in shared(length).items()}
    sizes = ", ".join(text.format(known[c]) for c, text in SIZES.items() if known.get(c) is not None)
    sizes = f" ({sizes})" if sizes else ""
    return (f"One language model, with attention or a recurrence in its blocks{sizes}. T: tokens in a sequence. The op"
            " alone: what mixes tokens, without projections and MLP. Training step: forward, backward, and AdamW of the"
            " whole model. At equal parameters or FLOPs the recurrence's state is as wide as that takes.")  # fmt: skip


def _figures(length: Rows, parts: dict, crossings: dict) -> list:
    """First what shows the answers: a training step of the two that are compared; then all the others."""
    lead = preferred(crossings, WHOLE, ["train"], ["width"], ["attention"], ["lstm"])
    marks: dict[tuple, dict] = {}
    for (level, phase, matching, _, other), line in crossings.items():
        if matching == "width":
            marks.setdefault((f"{WHERE[level]}, {STEP[phase]}",), {}).setdefault(other, line["time"].at)
    steps = select(length, matching="width", phase=["forward", "train"])
    train = select(steps, phase="train")
    two = select(steps, contender=list(lead[3:]), phase=lead[1], level=["op", "model"]) if lead else []
    found = {key: {who: at for who, at in line.items() if isfinite(at.high) and at.low > 0}
             for key, line in marks.items()}  # fmt: skip
    first = {key: {lead[4]: line[lead[4]]} for key, line in marks.items() if lead[4] in line}
    crossed = any(isfinite(at.value) or 0 < at.low and isfinite(at.high) for (where,), line in first.items()
                  for at in line.values() if where in values(two, "where"))  # fmt: skip
    cross, mark = (", and where the two cross", "Vertical line and band: where attention becomes the slower one. ") \
        if crossed else ("", "")  # fmt: skip
    others = select(length, level="model", phase="train", mixer=list(MIXERS)[1:])
    mine = select(train, level="model", mixer="attention")
    mine = select(mine, contender=values(mine, "contender")[:1])
    over = relative(others, TIME, mine, (T, "variant"), inverse=True)
    heads = [row | {"sweep": study} for study in HEADS for row in parts[study]]
    fewest = min(values(heads, "num_heads"), default=1)
    lowest = min(values(parts["depth"], "num_layers"), default=1)
    return [
        lines(two, T, TIME, "contender", "where", marks=first, name="time_by_length",
              title=f"Time of a {STEP[lead[1]] if lead else 'step'} against sequence length{cross}",
              y_label="time of a step", caption=f"{mark}Bars: 95 % intervals."),
        lines(over, T, "ratio", "matching", "contender", reference=1, name="attention_over_recurrence",
              title="Attention's training step over the recurrence's, at equal width, parameters or FLOPs"),
        lines(steps, T, TIME, "contender", "where", marks=found,
              name="time_of_all", title="Time of a step against sequence length: all"),
        lines(train, T, "flops", "contender", "level", pair=None, name="flops_by_length",
              title="FLOPs of a training step"),
        lines(train, T, "memory_bytes", "contender", "level", pair=None, name="memory_by_length",
              title="Memory of a training step"),
        lines(heads, "num_heads", TIME, T, ("sweep", "place", "contender"), relative_to={"num_heads": fewest},
              name="heads_by_length", title="Time over the time with the fewest heads"),
        lines(parts["depth"], "num_layers", TIME, T, ("place", "contender"), relative_to={"num_layers": lowest},
              name="depth_by_length", title="Time over the time with the fewest blocks"),
        lines(parts["decode"], T, TIME, "contender", "where", name="decoding", title="Time of one new token"),
    ]  # fmt: skip
