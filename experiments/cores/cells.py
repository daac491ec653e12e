"""What does a longer sequence cost a training step of as many tokens, and what does a second core make of it?

At a fixed number of tokens T goes up and the batch down; seconds of a training step of the whole model, in interleaved
passes, on all cores that the process has and, of the same compiled program, with all its threads on one of them.
"""

from dataclasses import dataclass
from typing import Literal

from configs import bench
from transformer_jax.config import Config, MeasureConfig
from transformer_jax.lab import timed
from transformer_jax.lab.sweep import grid
from transformer_jax.measure.tokens import OfTokens
from transformer_jax.measure.work import NO_COST, NO_STEP_READS, Work, next_token


@dataclass(frozen=True)
class Axes(MeasureConfig):
    tokens: int = 4096
    """Of a step: T times the batch, which follows from both."""
    cores: Literal["all", "one"] = "all"
    """Where the step is timed; one: on a CPU under Linux alone, elsewhere its rows have no time."""


BASE = OfTokens(bench.CONFIG.model, bench.CONFIG.task, bench.CONFIG.train, Axes(rounds=20))
SWEEPS = ("task.seq_len", "model.mixer", "model.recurrence", "measure.cores")
UNREAD = (*NO_STEP_READS, *NO_COST, "task.batch_size")
T, CORES = {"task.seq_len": [16, 256, 4096]}, {"measure.cores": ["all", "one"]}
STUDIES = {  # one core beside all of them, so that the machine is the same
    "steps": grid(T | {"model.mixer": ["attention", "rnn", "gru", "lstm"]} | CORES)
    + grid(T | {"model.mixer": ["min_gru"], "model.recurrence": ["sequential", "associative"]} | CORES)
}
TAKES = {"quick": "2 minutes on 2 cores of an AMD EPYC"}


def work(config: Config) -> Work:
    return Work(config, next_token(config))


prepare, cell = timed.steps(work, on_one_core=lambda config: config.measure.cores == "one")
