"""How much of the machine does a step use, with attention and with recurrences?

"RNNs don't work well with modern GPUs ... idle at sequential operations": FLOPs per second of a training step, and of
one more token in decoding, beside the peak of a large matmul and the bandwidth of memory, measured in the same run. At
a fixed number of tokens T goes up and the batch down, so that a recurrence has longer loops of smaller matmuls.
"""

from dataclasses import dataclass

from configs import bench
from transformer_jax.config import Config, MeasureConfig
from transformer_jax.lab import timed
from transformer_jax.lab.sweep import Job, grid
from transformer_jax.measure.tokens import OfTokens
from transformer_jax.measure.work import NO_COST, NO_STEP_READS, Phase, Work, next_token


@dataclass(frozen=True)
class Axes(MeasureConfig):
    phase: Phase = "train"
    """A training step, a forward pass, or one decoding step behind T tokens."""
    tokens: int = 4096
    """T times the batch, which follows from both."""


BASE = OfTokens(bench.CONFIG.model, bench.CONFIG.task, bench.CONFIG.train, Axes(rounds=5))
BUDGET = 2 * 60.0  # seconds of a default run
SWEEPS = ("task.seq_len", "model.mixer")
UNREAD = (*NO_STEP_READS, *NO_COST, "task.batch_size")
MIXERS = {"model.mixer": ["attention", "rnn", "gru", "lstm", "min_gru"]}
STUDIES = {
    "train": grid({"measure.phase": ["train"], "task.seq_len": [64, 256, 1024]} | MIXERS),
    "decode": grid({"measure.phase": ["decode"], "task.seq_len": [64, 1024]} | MIXERS),
}


def work(config: Config) -> Work:
    return Work(config, next_token(config), phase=config.measure.phase)


def group(config: Config) -> str:
    return config.measure.phase


prepare, _sample = timed.steps(work, group)


def cell(config: Config, job: Job) -> dict:
    """One sample of the step, beside the peaks of this process."""
    from transformer_jax.measure import bandwidth  # here, as jax takes seconds to load

    return _sample(config, job) | {"moved_bytes_per_second": bandwidth.bytes_per_second()}
