"""Is what we measure as fast as what others offer? Our attention, recurrences and training step against their peers.

Each contender is compiled apart, must compute what ours computes, and is then sampled once a round among all others
in one process, so that ratios are taken within a round. Three kinds of problem:
- attention (measure.level=op, model.mixer=attention) on projected q, k, v; not causal where model.num_classes is set;
- a recurrent layer with its input projection (measure.level=op, model.mixer=rnn, gru, lstm);
- a training step of a language model (measure.level=model).
Training is a forward and a backward pass; of a model, the loss and AdamW as well.
"""

from dataclasses import asdict
from functools import cache

import jax

from transformer_jax.config import Config, MeasureConfig, ModelConfig, TaskConfig, with_overrides
from transformer_jax.measure import closed_form, timing
from transformer_jax.measure import predict as prediction
from transformer_jax.ops.recurrence import RECURRENCE
from transformer_jax.peers import attention, contender
from transformer_jax.report import peers
from transformer_jax.lab.sweep import Override, chain, grid

EXTRA = {"peers": ("torch", "keras")}

BASE = Config(
    # the blocks one after another, as PyTorch has them: scanned they compile sooner and run longer
    model=ModelConfig(d_model=256, num_layers=4, num_heads=8, vocab_size=256, scan_layers=False),
    task=TaskConfig(seq_len=512, batch_size=8),
    measure=MeasureConfig(rounds=5),
)

ATTENTION = {"measure.level": ["op"], "model.mixer": ["attention"], "model.d_model": [512], "task.batch_size": [1]}
OTHERS = [peer for peer in attention.PEERS if peer != "ours"]
MAX_SCORE_BYTES = 3e9


def score_bytes(override: Override) -> int:
    """What an implementation that stores the scores needs for them: two copies forward, four in training."""
    stores = override.get("measure.peer") in attention.STORES_SCORES or override["model.attention"] == "reference"
    copies = 4 if override["measure.phase"] == "train" else 2
    heads = override["task.batch_size"] * BASE.model.num_heads
    return stores * copies * 4 * heads * override["task.seq_len"] ** 2


def attentions(phases, num_classes, lengths):
    """Ours in three ways and every peer; those whose scores would need more than MAX_SCORE_BYTES are left out."""
    measured = {"measure.phase": phases, "model.num_classes": num_classes, "task.seq_len": lengths}
    ours = {"measure.peer": ["ours"], "model.attention": ["auto", "blockwise", "reference"]}
    theirs = {"measure.peer": OTHERS, "model.attention": ["auto"]}
    both = chain(grid(ATTENTION | measured | ours), grid(ATTENTION | measured | theirs))
    return [override for override in both if score_bytes(override) <= MAX_SCORE_BYTES]


def recurrences(phases, lengths):
    kinds = {"measure.level": ["op"], "model.mixer": ["rnn", "gru", "lstm"], "task.batch_size": [32]}
    return grid(kinds | {"measure.phase": phases, "task.seq_len": lengths, "measure.peer": ["ours", "linen", "torch"]})


def steps(lengths):
    kinds = {"measure.level": ["model"], "model.mixer": ["attention", "lstm"], "measure.phase": ["train"]}
    return grid(kinds | {"task.seq_len": lengths, "measure.peer": ["ours", "torch", "torch_compile"]})


SWEEP = chain(
    attentions(["forward", "train"], [None, 2], [128, 512, 2048]),
    attentions(["train"], [None], [16, 64, 96, 1024, 4096, 8192]),  # 96: where `auto` turns from reference to blockwise
    attentions(["forward"], [None], [8192]),
    recurrences(["forward", "train"], [128, 512]),
    steps([512]),
    # the shape of configs/shakespeare_char.py
    grid({"measure.level": ["model"], "model.mixer": ["attention"], "measure.phase": ["train"], "model.d_model": [128],
          "model.num_heads": [4], "model.vocab_size": [65], "task.seq_len": [64], "task.batch_size": [12],
          "measure.peer": ["ours", "torch"]}),
)  # fmt: skip
report = peers.report


def cell(config: Config) -> dict:
    """One sample of one contender, taken once its outputs were found equal to ours."""
    columns, timer = _prepare(config)
    return columns | asdict(timer()) | {"matmul_peak_flops": timing.calibration().peak_flops}


@cache
def _prepare(config: Config) -> tuple[dict, timing.Timer]:
    ours = with_overrides(config, {"measure.peer": "ours", "model.attention": "auto"})
    one = _contender(config)
    known = {
        "implementation": closed_form.implementation(config) if config.measure.peer == "ours" else None,
        "tokens": config.task.batch_size * config.task.seq_len,
        "closed_form_flops": predict(config)["flops"],
        "largest_difference": None,
        "temp_bytes": None,
    }
    if config != ours:
        known["largest_difference"] = contender.largest_difference(one.outputs(), _contender(ours).outputs())
    jax.block_until_ready(one.step())  # a first step sets up what later ones find
    return known | one.columns, timing.Timer(one.step, config.measure.min_sample_seconds)


@cache
def _contender(config: Config) -> contender.Contender:
    return contender.build(config)


def predict(config: Config) -> dict[str, float]:
    """As `measure.predict`, for what is measured here: a peer's scores, what is not causal, the input projection."""
    model, measure = config.model, config.measure
    kind = "reference" if measure.peer in attention.STORES_SCORES else "blockwise" if measure.peer == "torch" else None
    found = prediction.predict(with_overrides(config, {"model.attention": kind} if kind else {}))
    if measure.level != "op":
        return found
    passes = 3 if measure.phase == "train" else 1
    if model.mixer != "attention":
        weights = model.d_model * RECURRENCE[model.mixer].num_gates * model.state_width
        return _more(found, 2 * passes * config.task.batch_size * config.task.seq_len * weights)
    if model.num_classes is not None and (kind or closed_form.implementation(config)) == "blockwise":
        matmuls = 7 if measure.phase == "train" else 2
        scores = config.task.batch_size * model.num_heads * config.task.seq_len**2
        return _more(found, 2 * matmuls * scores * model.width_per_head - found["flops"])
    return found


def _more(found: dict[str, float], flops: float) -> dict[str, float]:
    seconds = found["seconds"] + flops / prediction.FLOPS_PER_SECOND
    return found | {"flops": found["flops"] + flops, "seconds": seconds}
