"""run.html, the curves of one run and what it ran on; and the curves of several runs in one page. No network needed."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from transformer_jax import intervals
from transformer_jax.config import ConfigError, flatten
from transformer_jax.intervals import Estimate
from transformer_jax.lab import trained, trials
from transformer_jax.report import Finding, Report, Table
from transformer_jax.report.page import write_page
from transformer_jax.report.plots import LOOKS, Figure, whole
from transformer_jax.tasks import registry
from transformer_jax.train.evaluate import bounds
from transformer_jax.train.log import read_launches, read_metrics, step_seconds

SETTING = ("model.num_layers", "model.d_model", "task.seq_len", "task.batch_size", "task.batch_tokens",
           "train.num_steps", "train.peak_lr", "train.lanes", "train.seed")  # fmt: skip
ENDS = {"done": "Finished", "stopped": "Stopped", "nan": "Ended by a number that is not finite"}
STEP = "step"
NO_METRIC = (STEP, "split", "lane")
SPLITS = ("train", "validation")
LANES = (
    "A faint line is a lane (one seed), the strong one the mean of all, the band its 95 % interval; two lanes have none"
    " that says anything."
)
BAND = "The band is the metric's 95 % interval over the examples of the split."
HEADS = ("evaluation", "of", "metrics [95 % interval]", "checkpoint")
FREE = "free_accuracy"
EXPOSURE = "Exposure: after the right tokens, and after its own, where a word too many shifts all that follow"

Rows = Sequence[dict]


def write(folder: Path, pictures: Sequence[Figure] = ()) -> Path:
    """Draws the folder's metrics.jsonl; returns the page, replaced whole or not at all.

    pictures: what else is shown of the run, above its curves.
    """
    rows, config = _measured(folder), json.loads((folder / "config.json").read_text())
    launches, last, kept = read_launches(folder), _last(rows), trained.steps(folder)
    answers, tables = [], []
    for step in sorted({*kept, *(row["step"] for row in last)}):
        if lanes := [row for row in rows if row["split"] == "validation" and row["step"] == step]:
            names = (["latest"] if last[0]["step"] == step else []) + (["best"] if kept.get(step) == "best" else [])
            answers.append(_mean_of(f"Validation, step {step}", lanes, ", ".join(names)))
            tables += [_lanes(step, lanes)] if len(lanes) > 1 else []
    exposure = _exposure(rows)
    figures = [*pictures, *exposure] + [
        _figure(f"metric_{i}", name, {"": {split: _of(rows, split, name) for split in SPLITS}}, _between(rows, name))
        for i, name in enumerate(_drawn(rows))
        if not (exposure and name == FREE)
    ]
    warnings = [f"This run was {text}." for text in _extensions(launches)]
    if smoothing := config.get("train.label_smoothing"):
        warnings.append(
            f"Training minimises a loss with label smoothing {smoothing}, above that of the validation split."
        )
    facts = [("Config", config)]
    facts += [(f"{launch.get('kind', 'launch')} {launch.get('time', '')}", launch) for launch in launches]
    others = (config.get(f"model.{name}", "stack") for name in ("forecaster", "classifier"))
    model = trained.family(config.get("model.mixer"), *others)
    title = f"{folder.resolve().name}: {model} on {config.get('task.name')}"
    report = Report(title, answers, figures, tables, setting=_setting(config, launches), heads=HEADS)
    return write_page(folder / "run.html", report, warnings, facts=facts)


def overlay(folders: Sequence[Path], path: Path) -> Path:
    """Draws the curves of several runs over each other; returns the page, replaced whole or not at all, whose folder is
    made if need be.

    Folders without a run are left out, and named on the page.

    Raises:
      ConfigError: fewer than two folders hold a run, one has no curve yet, or the runs are of different tasks.
      OSError: a metrics.jsonl is damaged, or the page cannot be written.
    """
    configs, left_out = trials.read(dict.fromkeys(folders))
    if len(configs) < 2:
        raise ConfigError("\n".join([f"one run alone is no comparison: {next(iter(configs))}", *left_out]))
    short = [folder.resolve().name for folder in configs]
    labels = dict(zip(configs, short if len(set(short)) == len(short) else map(str, configs), strict=True))
    runs = {labels[folder]: _measured(folder) for folder in configs}
    if empty := [str(folder) for folder in configs if not runs[labels[folder]]]:
        raise ConfigError(f"no step was written down yet in {' and '.join(empty)}: there is no curve to draw")
    answers = [
        _mean_of(f"{label}: last validation, step {last[0]['step']}", last)
        for label, rows in runs.items()
        if (last := _last(rows))
    ]
    figures = []
    for i, name in enumerate(_drawn([row for rows in runs.values() for row in rows])):
        splits = {s: {label: _of(rows, s, name) for label, rows in runs.items()} for s in SPLITS}
        figures.append(_figure(f"metric_{i}", name, {s: part for s, part in splits.items() if any(part.values())}))
        figures += _over_time(f"time_{i}", name, splits["validation"], dict(zip(labels.values(), configs, strict=True)))
    flat = {labels[folder]: flatten(config) for folder, config in configs.items()}
    first = next(iter(flat.values()))
    keys = [key for key in first if any(config[key] != first[key] for config in flat.values())]
    differ = [(key, *(str(config[key]) for config in flat.values())) for key in keys]
    tables = [Table("In what the configs differ", ("key", *flat), tuple(differ))]
    task = next(iter(configs.values())).task
    title = f"{' against '.join(flat)} on {registry.identity(task)}"
    warnings = [f"{labels[folder]} was {text}." for folder in configs for text in _extensions(read_launches(folder))]
    limits = [f"Left out: {reason}" for reason in left_out]
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_page(path, Report(title, answers, figures, tables, limits, heads=HEADS), warnings)


def _setting(config: Mapping, launches: Rows) -> str:
    """What was trained and how the last launch ended, in a line."""
    unread = "task.batch_size" if config.get("task.batch_tokens") else "task.batch_tokens"
    sizes = ", ".join(f"{key.partition('.')[2]} {config[key]}" for key in SETTING if key in config and key != unread)
    ends = [launch for launch in launches if launch.get("kind") == "end"]
    return f"{sizes}." + (f" {ENDS.get(ends[-1]['status'], '')} at step {ends[-1]['step']}." if ends else "")


def _lanes(step: int, lanes: Rows) -> Table:
    names = _names(lanes)
    rows = tuple((row["lane"], *(row.get(name) for name in names)) for row in lanes)
    return Table(f"Validation, step {step}, by lane", ("lane", *names), rows)


def _measured(folder: Path) -> list[dict]:
    return [row for row in read_metrics(folder / "metrics.jsonl") if "split" in row]


def _extensions(launches: Rows) -> list[str]:
    """What was written down of each extension, once: after a launch that was killed early the next finds it again. What
    came before the last launch from step 0 is no part of the run."""
    begun = max((i for i, one in enumerate(launches) if one.get("kind") == "start" and not one.get("step")), default=0)
    return list(dict.fromkeys(one["text"] for one in launches[begun:] if one.get("kind") == "extended"))


def _names(rows: Rows) -> list[str]:
    """The metrics that were somewhere a finite number, the loss first, numbers in a name by their size."""
    names = dict.fromkeys(n for row in rows for n, v in row.items() if n not in NO_METRIC and v is not None)
    return sorted(names, key=lambda name: (name != "loss", re.sub(r"\d+", lambda digits: digits[0].zfill(20), name)))


def _last(rows: Rows) -> list[dict]:
    """The lanes of the last validation."""
    last = [row for row in rows if row["split"] == "validation"]
    return [row for row in last if row["step"] == last[-1]["step"]]


def _mean_of(question: str, lanes: Rows, word: str = "") -> Finding:
    """The mean of each metric over lanes; of one lane there is no interval."""
    found = {name: [lane.get(name) for lane in lanes] for name in _drawn(lanes)}
    one = len(lanes) == 1  # and its value all that there is
    means: dict[str, Estimate] = {n: intervals.mean(values, one) for n, values in found.items() if None not in values}
    if one:  # but for a metric that comes with an interval
        ends = {name: [lanes[0][end] for end in pair] for name, pair in bounds(_names(lanes)).items()}
        means |= {name: means[name]._replace(low=low, high=high) for name, (low, high) in ends.items()}
    return Finding(question, "one lane (one seed)" if one else f"mean of {len(lanes)} lanes", means, word=word)


def _of(rows: Rows, split: str, name: str) -> dict[int, list[float]]:
    """By step: the metric of each lane, NaN where it was not finite."""
    found: dict[int, list[float]] = {}
    for row in rows:
        if row["split"] == split and name in row:
            found.setdefault(row["step"], []).append(np.nan if row[name] is None else row[name])
    return found


def _drawn(rows: Rows) -> list[str]:
    """The metrics with a figure of their own: all but the ends of another one's interval."""
    names = _names(rows)
    ends = {end for found in bounds(names).values() for end in found}
    return [name for name in names if name not in ends]


def _between(rows: Rows, name: str) -> dict[int, tuple[float, float]]:
    """By step of the validation: the ends of the metric's own interval, of one lane; empty if it has none."""
    ends = bounds(_names(rows)).get(name, ())
    low, high = (_of(rows, "validation", end) for end in ends) if ends else ({}, {})
    return {s: (low[s][0], high[s][0]) for s in low if s in high and len(low[s]) == 1}


def _exposure(rows: Rows) -> list[Figure]:
    """Tokens right after the right ones against tokens right after the model's own, where both were measured."""
    kinds = {"accuracy": "teacher-forced: after the right tokens", FREE: "free-running: after its own"}
    found = {label: _of(rows, "validation", name) for name, label in kinds.items()}
    if not all(found.values()):
        return []
    return [replace(_figure("exposure", "accuracy of tokens", {"": found}), title=EXPOSURE)]


def _figure(
    name: str,
    metric: str,
    panels: Mapping[str, Mapping[str, dict[int, list[float]]]],
    between: Mapping[int, tuple[float, float]] | None = None,
    over: str = STEP,
) -> Figure:
    """The metric over steps: a panel for each title, in it a line for each label, over its lanes.

    between: the ends of an interval by step, drawn as a band.
    over: what the values are by, where that is not the step.
    """

    def draw(canvas):
        several = canvas.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
        for one, (title, series) in zip(several, panels.items(), strict=True):
            for (label, steps), look in zip(series.items(), _looks(len(series)), strict=True):
                _curve(one, label, steps, *look)
            if between:
                low, high = zip(*between.values(), strict=True)
                one.fill_between(list(between), low, high, color=LOOKS[1][0], alpha=0.2, linewidth=0)
            one.set(title=title, xlabel=over)
            if over == STEP:
                whole(one.xaxis)
        several[0].set_ylabel(metric)
        if lanes > 1 and measured.size:  # few lanes have an interval far wider than all that was measured
            margin = 0.05 * (np.ptp(measured) or abs(measured[0]) or 1)
            several[0].set_ylim(measured.min() - margin, measured.max() + margin)
        handles = {
            label: handle for one in several for handle, label in zip(*one.get_legend_handles_labels(), strict=True)
        }
        canvas.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=4)

    points = [values for series in panels.values() for steps in series.values() for values in steps.values()]
    lanes, measured = max(map(len, points), default=1), np.array([v for values in points for v in values])
    measured = measured[np.isfinite(measured)]
    return Figure(name, metric, LANES if lanes > 1 else BAND if between else "", draw)


def _over_time(name: str, metric: str, series: Mapping[str, dict], folders: Mapping[str, Path]) -> list[Figure]:
    """The validation metric over the time that the steps took: none where the time of a run's steps is not known."""
    seconds = {label: step_seconds(folder) for label, folder in folders.items()}
    if None in seconds.values() or not any(series.values()):
        return []
    timed = {label: {step * seconds[label] / 60: of for step, of in found.items()} for label, found in series.items()}
    each = ", ".join(f"{label} {second:.3g} s" for label, second in seconds.items())
    figure = _figure(name, metric, {"validation": timed}, over="minutes of training")
    caption = f"Steps times the mean time of one ({each}), without compiling and evaluating. {figure.caption}".rstrip()
    return [replace(figure, title=f"{metric} over training time", caption=caption)]


def _looks(count: int) -> list[tuple]:
    return [LOOKS[place % len(LOOKS)] for place in range(count)]


def _curve(one, label: str, steps: dict[int, list[float]], color, marker, dashes) -> None:
    """Lanes as faint lines, their mean as a strong one, the interval of the mean as a band."""
    if not steps:
        return
    lanes = max(map(len, steps.values()))
    x = [step for step, values in steps.items() if len(values) == lanes]
    y_SxR = np.array([steps[step] for step in x])
    marks = {"marker": marker, "markevery": max(1, len(x) // 12), "linestyle": dashes, "color": color}
    if lanes == 1:
        one.plot(x, y_SxR[:, 0], label=label, **marks)
        return
    mean, low, high = intervals.interval(y_SxR.T)
    one.plot(x, y_SxR, color=color, linewidth=0.6, alpha=0.45)
    one.plot(x, mean, label=f"{label}, mean of {lanes} lanes", **marks)
    if lanes > 2:
        one.fill_between(x, low, high, color=color, alpha=0.12, linewidth=0)
