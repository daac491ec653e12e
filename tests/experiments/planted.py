"""A planted truth for the reports of `attention_cost`: its rows, without measuring; and what a report says of it."""

import importlib.util
import itertools
from pathlib import Path

import numpy as np

PATH = Path(__file__).parents[2] / "experiments" / "attention_cost" / "report.py"
spec = importlib.util.spec_from_file_location("attention_cost_report", PATH)
attention_cost = importlib.util.module_from_spec(spec)
spec.loader.exec_module(attention_cost)

BASE = {
    "model.mixer": "attention",
    "model.attention": "auto",
    "model.recurrence": "auto",
    "model.num_layers": 2,
    "model.d_model": 64,
    "model.num_heads": 4,
    "model.head_dim": None,
    "model.dtype": "float32",
    "task.seq_len": 256,
    "task.batch_size": 2,
    "train.seed": 0,
    "measure.level": "model",
    "measure.phase": "train",
    "measure.matching": "width",
    "measure.repeat": 0,
    "measure.rounds": 5,
}
LENGTHS = (64, 128, 256, 512, 1024, 2048, 4096)
PEAK = 60e9
LSTM_STEP = 20e-6
"""Seconds of one LSTM time step at op level: with ATTENTION_RATE this puts the crossover at LSTM_STEP / c."""
ATTENTION_RATE = 15e9
GATES = {"rnn": 1, "gru": 3, "lstm": 4, "min_gru": 2}


def law(c):
    """(seconds of one step, matmul FLOPs, temporary bytes, critical path) of a planted, noiseless machine."""
    t, d, heads, layers = c["task.seq_len"], c["model.d_model"], c["model.num_heads"], c["model.num_layers"]
    batch, mixer = c["task.batch_size"], c["model.mixer"]
    inner = d if c["model.head_dim"] is None else heads * c["model.head_dim"]
    decode = c["measure.phase"] == "decode"
    length = 1 if decode else t
    if mixer == "attention":
        flops = 4 * batch * length * t * inner
        seconds = flops / ATTENTION_RATE * (1 if c["model.attention"] == "auto" else 1.6) + 2e-6 * heads
        temp = 4 * batch * length * (heads * t if c["model.attention"] == "reference" else 4 * d)
        depth = 1
    else:
        flops = 2 * batch * length * d * d * GATES[mixer] * {"params": 1.2, "flops": 1.6}.get(c["measure.matching"], 1)
        step = LSTM_STEP * GATES[mixer] / 4 if mixer != "min_gru" else 1e-6
        seconds, temp, depth = step * length, 4 * batch * length * d * 6, length if mixer != "min_gru" else 12
        seconds *= {"params": 1.2, "flops": 1.6}.get(c["measure.matching"], 1)
    if c["measure.level"] != "op":
        flops += 24 * batch * length * d * d
        seconds += 24 * batch * length * d * d / 30e9 + 10e-6
        temp += 4 * batch * length * 14 * d
    if c["measure.level"] == "model":
        flops = layers * flops + 2 * batch * length * d * 256
        seconds = layers * seconds + batch * length * d * 512 / 20e9 + 30e-6
        temp = temp * (layers if c["measure.phase"] == "train" else 1) + 4 * batch * length * 256
        depth *= layers
    if c["measure.phase"] == "train":
        flops, seconds, temp = 3 * flops, 3.2 * seconds, 2 * temp
    return seconds, flops, temp, depth


CONTENDERS = [{"model.mixer": m} for m in ("attention", *GATES)]


def product(**axes):
    """Every combination; a key's first underscore is its dot."""
    axes = {key.replace("_", ".", 1): values for key, values in axes.items()}
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def over(contenders, **axes):
    return [who | one for who in contenders for one in product(**axes)]


REFERENCE = [{"model.mixer": "attention", "model.attention": "reference"}]
STUDIES = {
    "length": over(CONTENDERS + REFERENCE, task_seq_len=LENGTHS, measure_level=("op", "block", "model"),
                   measure_phase=("forward", "train")),
    "matching": product(model_mixer=("gru", "lstm"), task_seq_len=LENGTHS, measure_matching=("params", "flops")),
    "heads": product(task_seq_len=(256, 1024), measure_level=("op",), model_num_heads=(1, 2, 4, 8, 16)),
    "head_dim": product(task_seq_len=(256, 1024), measure_level=("op",), model_num_heads=(1, 2, 4, 8, 16),
                        model_head_dim=(16,)),
    "model_heads": product(measure_phase=("forward",), model_num_heads=(1, 4, 16)),
    "depth": over(CONTENDERS, task_seq_len=(128, 1024), model_num_layers=(1, 2, 4, 8)),
    "decode": over(CONTENDERS, task_seq_len=LENGTHS, measure_phase=("decode",)),
    "twins": over(CONTENDERS[:1], task_seq_len=(64, 1024), measure_repeat=(0, 1)),
}  # fmt: skip


def make_rows(studies=None, rounds=5, noise=0.03, fail=lambda config: None, law=law):
    """Rows as the runner reads them: base filled in, one per cell and round, a failed cell in its round 0."""
    rng = np.random.default_rng(7)
    studies = STUDIES if studies is None else studies
    configs = {str(BASE | o): BASE | o for overrides in studies.values() for o in overrides}
    named = {name: {str(BASE | o) for o in overrides} for name, overrides in studies.items()}
    studies_of = {text: tuple(name for name in named if text in named[name]) for text in configs}
    rows = []
    for r in range(rounds):
        drift = np.exp(rng.normal(0, noise / 2))
        for number, (text, config) in enumerate(configs.items()):
            row = config | {
                "kind": "row",
                "key": f"{number:016x}",
                "round": r,
                "header": "h1",
                "studies": studies_of[text],
                "status": "ok",
            }
            status = fail(config)
            if status is not None:
                if r == 0:
                    failure = {"status": status, "message": f"{status} happened", "traceback": "Traceback: x"}
                    rows.append(row | failure | {"requested_bytes": 2**34 if status == "oom" else None})
                continue
            seconds, flops, temp, depth = law(config)
            tokens = config["task.batch_size"] * (1 if config["measure.phase"] == "decode" else config["task.seq_len"])
            rows.append(
                row
                | {
                    "compile_seconds": 0.3 + 0.02 * (number % 9),
                    "step_seconds": float(seconds * drift * np.exp(rng.normal(0, noise))),
                    "inner_steps": max(1, int(0.05 / seconds)),
                    "cpu_seconds": float(1.7 * seconds),
                    "calibration_seconds": float(0.004 * drift),
                    "matmul_peak_flops": float(PEAK / drift),
                    "closed_form_flops": flops,
                    "jaxpr_matmul_flops": flops,
                    "jaxpr_flops": int(1.05 * flops),
                    "xla_flops": float(flops / (depth or 1)),
                    "jaxpr_bytes": 3 * temp,
                    "xla_bytes": float(2 * temp),
                    "argument_bytes": 200_000,
                    "output_bytes": 100_000,
                    "temp_bytes": temp,
                    "alias_bytes": 0,
                    "peak_rss_bytes": 400_000_000 + temp,
                    "sequential_depth": depth,
                    "num_params": 140_000,
                    "tokens": tokens,
                    "mixer_width": config["model.d_model"],
                }
            )
    return rows


def walls(config):
    """The reference implementation runs out of memory at the largest length of the model; one cell hangs."""
    reference = config["model.attention"] == "reference" and config["model.mixer"] == "attention"
    if reference and config["measure.level"] == "model" and config["task.seq_len"] == 4096:
        return "oom"
    hangs = config["model.mixer"] == "rnn" and config["measure.level"] == "block"
    return "timeout" if hangs and config["task.seq_len"] == 4096 else None


def lines_of(report, title):
    """A table's lines by their index, each a dict."""
    (table,) = (t for t in report.tables if title in t.title)
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def line(report, title, **where):
    (found,) = (x for x in lines_of(report, title) if all(x[k] == v for k, v in where.items()))
    return found


def answer(report, question):
    (found,) = (finding for finding in report.answers if question in finding.question)
    return found
