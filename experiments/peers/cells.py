"""Is what we measure as fast as what others offer? Our attention, recurrences and training step against their peers.

Each contender is compiled on its own, must compute what ours computes, and is then sampled once a round in one process,
those of a problem in a row, so that ratios are taken within seconds. Three kinds of problem:
- attention (measure.level=op, model.mixer=attention) on projected q, k, v, causal as model.causal says;
- a recurrent layer with its input projection (measure.level=op, model.mixer=rnn, gru, lstm);
- a training step of a language model (measure.level=model).
Training is a forward and a backward pass; of a model, the loss and AdamW as well.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Literal

from transformer_jax.config import Config, MeasureConfig, ModelConfig, TaskConfig
from transformer_jax.lab.sweep import Job, Override, chain, grid
from transformer_jax.measure.work import NO_COST, NO_STEP_READS, Work, next_token
from transformer_jax.peers import libraries

EXTRA = {"peers": ("torch", "keras")}
MAX_SCORE_BYTES = 3e9


@dataclass(frozen=True)
class Axes(MeasureConfig):
    level: Literal["op", "model"] = "model"
    """The op, with a recurrence's input projection, or a training step of the whole model."""
    phase: Literal["forward", "train"] = "train"
    """A forward pass, or forward and backward."""
    peer: libraries.Peer = "ours"
    """Whose implementation."""


BASE = Config(
    # the blocks one after another, as PyTorch has them: scanned they compile sooner and run longer
    model=ModelConfig(d_model=256, num_layers=4, num_heads=8, scan_layers=False),
    task=TaskConfig(seq_len=512, batch_size=8, vocab_size=256),
    measure=Axes(rounds=5),
)

UNREAD = (*NO_STEP_READS, *NO_COST)
SWEEPS = (
    "measure.level", "measure.phase", "measure.peer", "model.mixer", "model.attention", "model.causal", "task.seq_len",
)  # fmt: skip


def attentions(phases, causal, lengths):
    """Ours in three ways and every peer; those whose scores would need more than MAX_SCORE_BYTES are left out."""
    problem = {"measure.level": ["op"], "model.mixer": ["attention"], "model.d_model": [512], "task.batch_size": [1]}
    problem |= {"measure.phase": phases, "model.causal": causal, "task.seq_len": lengths}
    ours = {"measure.peer": ["ours"], "model.attention": ["auto", "blockwise", "reference"]}
    theirs = {"measure.peer": list(libraries.ATTENTION[1:]), "model.attention": ["auto"]}
    keys = ("measure.peer", "model.attention", "measure.phase")

    def too_large(override: Override) -> bool:
        who = [override[key] for key in keys]
        return libraries.score_bytes(*who, BASE.model.num_heads, override["task.seq_len"]) > MAX_SCORE_BYTES

    return chain(grid(problem | ours, too_large), grid(problem | theirs, too_large))


LAYER = {"measure.level": ["op"], "measure.phase": ["forward", "train"], "task.batch_size": [32]}
LAYER |= {"model.mixer": ["rnn", "gru", "lstm"], "task.seq_len": [128, 512], "measure.peer": list(libraries.RECURRENCE)}
STEP = {"measure.level": ["model"], "measure.phase": ["train"], "task.seq_len": [512]}
STEP |= {"model.mixer": ["attention", "lstm"], "measure.peer": list(libraries.STEP)}
SHAKESPEARE = {"model.mixer": ["attention"], "model.d_model": [128], "model.num_heads": [4], "task.vocab_size": [65]}
SHAKESPEARE |= {"task.seq_len": [64], "task.batch_size": [12], "measure.peer": ["ours", "torch"]}
STUDIES = {
    "attention": chain(
        attentions(["forward", "train"], [True, False], [128, 512, 2048]),
        attentions(["train"], [True], [16, 64, 96, 1024, 4096, 8192]),  # 96: the last length of `reference` for `auto`
        attentions(["forward"], [True], [8192]),
    ),
    "recurrence": grid(LAYER),
    "step": chain(grid(STEP), grid(STEP | SHAKESPEARE)),  # the second as configs/shakespeare_char.py
}


# What measures is imported where it is used: jax takes seconds to load, and a plan or a report has no need of it.
def work(config: Config) -> Work:
    return Work(config, next_token(config), config.measure.level, config.measure.phase)


def predict(config: Config) -> dict[str, float]:
    """What the contender will cost."""
    from transformer_jax.peers.cost import predict

    return predict(work(config), config.measure.peer)


@cache
def _sampler(config: Config):
    from transformer_jax.peers.cost import sampler

    return sampler(work(config), config.measure.peer, config.measure.min_sample_seconds)


def group(config: Config) -> tuple:
    """The problem, whoever solves it: contenders are compared within one."""
    model, task, measure = config.model, config.task, config.measure
    return measure.level, measure.phase, model.mixer, model.causal, model.d_model, task.seq_len


def prepare(config: Config) -> Callable[[], None]:
    """Contenders are built and compared one at a time, as PyTorch's threads are its own."""
    return partial(_sampler, config)


def cell(config: Config, job: Job) -> dict:
    """One sample of one contender, taken once its outputs were found equal to ours."""
    return _sampler(config)((job.round, group(config)))
