"""What a run of the attention-cost experiment holds fixed, how noisy it was, and what it did not measure."""

from collections import Counter, defaultdict
from statistics import median

import numpy as np

from transformer_jax.report.curves import LENGTH, LEVEL, PHASE, contender
from transformer_jax.report.growth import Study
from transformer_jax.report.words import LEVELS, PHASES, STATUSES, listed, percent


def conditions(study: Study) -> list[str]:
    """Sentences for below the findings."""
    said = []
    if study.held:
        fixed = (f"{key} = {value}" for key, value in study.held.items() if value is not None)
        said.append(f"Every curve over sequence length has {listed(fixed, ' and ')}.")
    counts = Counter(cell["status"] for cell in study.cells)
    if counts:
        parts = (f"{n} {STATUSES.get(status, status)}" for status, n in counts.most_common())
        walls = [
            f"{contender(c)}, {c.get(PHASE)} of {LEVELS.get(c.get(LEVEL))} at T = {c.get(LENGTH)}"
            for c in study.cells
            if c["status"] == "oom"
        ]
        where = f" Out of memory: {'; '.join(walls)}." if walls else ""
        said.append(f"Of {sum(counts.values())} cells {listed(parts, ' and ')}.{where}")
    said += _switches(study)
    if study.floor is not None:
        said.append(
            f"A program measured twice in this run differed from itself by at most {percent(study.floor)}: times"
            " whose ratio is closer to 1 than that are called not distinguishable."
        )
    if cached := sum(bool(cell.get("compile_cached")) for cell in study.cells):
        said.append(f"Loaded from the compilation cache, not compiled: {cached} of {len(study.cells)} programs.")
    said += _spread(study)
    rounds, noisy = (sum(cell[column] for cell in study.cells) for column in ("rounds", "rounds_noisy"))
    if noisy:
        said.append(
            f"Of {rounds} samples {noisy} were taken while the machine was noisy; they are included, and what rests"
            " mostly on them is called inconclusive."
        )
    if study.missing:
        said.append(f"Not measured in these rows: {listed(study.missing)}.")
    return said


def _switches(study: Study) -> list[str]:
    """Where an attention curve changes its implementation; the exponents hold for the last one."""
    said = defaultdict(list)
    for curve in study.lengths:
        programs = {cell[LENGTH]: cell.get("implementation") for cell in curve.cells}
        if curve.is_attention and len(set(programs.values())) > 1:
            parts = [f"{name} at T = {listed(str(t) for t in programs if programs[t] == name)}"
                     for name in dict.fromkeys(programs.values())]  # fmt: skip
            exponents = "; its exponents are of the last one" if study.growth(curve, "flops") else ""
            text = f"{curve.contender} ran as {listed(parts, ' and as ')}{exponents}."
            said[text].append(f"a {PHASES[curve.phase]} of {LEVELS[curve.level]}")
    return [f"In {listed(places, ' and ')} {text}" for text, places in said.items()]


def _spread(study: Study) -> list[str]:
    """How much a cell's samples differ among themselves."""
    spreads = sorted(
        float(np.subtract(*np.quantile(cell["step_seconds"], (0.75, 0.25))) / median(cell["step_seconds"]))
        for cell in study.cells
        if len(cell.get("step_seconds") or []) > 2
    )
    return spreads and [
        f"The middle half of a cell's samples spans {percent(median(spreads))} of their median (the median over"
        f" cells; in nine cells of ten less than {percent(spreads[int(0.9 * (len(spreads) - 1))])})."
    ]
