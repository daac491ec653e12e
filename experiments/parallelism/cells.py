"""Must the steps of a sequence be worked through one after another, and what does that cost?

At a fixed number of tokens T goes up and the batch down. `depth`: the longest chain of operations that must follow each
other in the op that mixes time steps, forward and with its gradient, counted from the jaxpr. `generation`: the same of
writing T tokens. `time`: seconds of a training step of the whole model, in interleaved passes.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

from configs import bench
from transformer_jax.config import MeasureConfig
from transformer_jax.lab.sweep import Job, Override, grid
from transformer_jax.measure.tokens import OfTokens
from transformer_jax.measure.work import NO_COST, NO_STEP_READS, Work, next_token


@dataclass(frozen=True)
class Axes(MeasureConfig):
    probe: Literal["depth", "generation", "time"] = "time"
    """What is found: the depth of the op, of generation, or the time of a training step."""
    tokens: int = 4096
    """Of a step: T times the batch, which follows from both."""


@dataclass(frozen=True)
class ParallelConfig(OfTokens):
    measure: Axes = field(default_factory=Axes)


BASE = ParallelConfig(bench.CONFIG.model, bench.CONFIG.task, bench.CONFIG.train, Axes(rounds=5))
SWEEPS = ("task.seq_len", "model.mixer", "model.attention", "model.recurrence")
UNREAD = (*NO_STEP_READS, *NO_COST, "task.batch_size")


LENGTHS = [16, 64, 256, 1024, 4096]


def over(probe: str, lengths: list[int], attention: list[str], linear: list[str], rounds: int) -> list[Override]:
    shared = {"measure.probe": [probe], "measure.rounds": [rounds], "task.seq_len": lengths}
    kinds = (
        {"model.mixer": ["attention"], "model.attention": attention},
        {"model.mixer": ["rnn", "gru", "lstm"]},
        {"model.mixer": ["min_gru"], "model.recurrence": linear},
    )
    return [override for kind in kinds for override in grid(shared | kind)]


STUDIES = {
    "depth": over("depth", LENGTHS, ["reference", "blockwise"], ["sequential", "chunked", "associative"], rounds=1),
    "generation": over("generation", LENGTHS[::2], ["reference"], ["sequential"], rounds=1),
    "time": over("time", LENGTHS[::2], ["auto"], ["sequential", "associative"], rounds=5),
}


# What measures is imported where it is used: jax takes seconds to load, and a plan or a report has no need of it.
def predict(config: ParallelConfig) -> dict:
    """What a training step costs; counting takes about a second."""
    from transformer_jax.measure.predict import predict

    return predict(Work(config, next_token(config))) if config.measure.probe == "time" else {"seconds": 1.0}


def group(config: ParallelConfig) -> str:
    return config.measure.probe


@cache
def _ready(config: ParallelConfig) -> Callable[[tuple], dict]:
    from transformer_jax.measure import cost, depth, generation, programs

    shape, probe = next_token(config), config.measure.probe
    if probe == "time":
        return cost.Sampler(Work(config, shape), config.measure.min_sample_seconds)
    if probe == "generation":
        found = {"generation_depth": depth.of_program(generation.program(Work(config, shape)))}
    else:
        steps = {phase: programs.build(Work(config, shape, "op", phase)) for phase in ("forward", "train")}
        found = {f"{phase}_depth": depth.of_program(step) for phase, step in steps.items()}
    return lambda place: found


def prepare(config: ParallelConfig) -> Callable[[], dict]:
    """Counts, or compiles the step; its first runs are for later, when nothing is compiled beside them."""
    return getattr(_ready(config), "settle", dict)


def cell(config: ParallelConfig, job: Job) -> dict:
    """What was counted, or one sample."""
    return _ready(config)((job.round, group(config)))
