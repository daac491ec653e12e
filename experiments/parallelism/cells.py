"""Must the steps of a sequence be worked through one after another, and what does that cost?

At a fixed number of tokens T goes up and the batch down. `depth`: the longest chain of operations that must follow each
other in the op that mixes time steps, forward and with its gradient, counted from the jaxpr. `generation`: the same of
writing T tokens. `time`: seconds of a training step of the whole model, in interleaved passes; `cores`: the same steps,
of the same programs, on one core of a CPU beside all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal

from configs import bench
from transformer_jax.config import Config, MeasureConfig
from transformer_jax.lab.sweep import Job, grid
from transformer_jax.measure.tokens import OfTokens
from transformer_jax.measure.work import NO_COST, NO_STEP_READS, Work, next_token
from transformer_jax.typed import require


@dataclass(frozen=True)
class Axes(MeasureConfig):
    probe: Literal["depth", "generation", "time"] = "time"
    """What is found: the depth of the op, of generation, or the time of a training step."""
    tokens: int = 4096
    """Of a step: T times the batch, which follows from both."""
    cores: Literal["all", "one"] = "all"
    """Where the step is timed: on all cores that the process has, or with all its threads on one of them."""


BASE = OfTokens(bench.CONFIG.model, bench.CONFIG.task, bench.CONFIG.train, Axes(rounds=20))
SWEEPS = ("task.seq_len", "model.mixer", "model.attention", "model.recurrence")
UNREAD = (*NO_STEP_READS, *NO_COST, "task.batch_size")


LENGTHS = [16, 64, 256, 1024, 4096]


def over(probe: str, lengths: list[int], attention: list[str], linear: list[str], rounds: int, cores=("all",)):
    shared = {"measure.probe": [probe], "measure.rounds": [rounds], "task.seq_len": lengths, "measure.cores": cores}
    kinds = (
        {"model.mixer": ["attention"], "model.attention": attention},
        {"model.mixer": ["rnn", "gru", "lstm"]},
        {"model.mixer": ["min_gru"], "model.recurrence": linear},
    )
    return [override for kind in kinds for override in grid(shared | kind)]


STUDIES = {
    "depth": over("depth", LENGTHS, ["reference", "blockwise"], ["sequential", "chunked", "associative"], rounds=1),
    "generation": over("generation", LENGTHS[::2], ["reference"], ["sequential"], rounds=1),
    "time": over("time", LENGTHS[::2], ["auto"], ["sequential", "associative"], rounds=BASE.measure.rounds),
    "cores": over("time", LENGTHS[::2], ["auto"], ["associative"], rounds=BASE.measure.rounds, cores=("one", "all")),
}


def check(config: Config) -> None:
    """ConfigError: one core for what is counted."""
    timed = config.measure.probe == "time" or config.measure.cores == "all"
    require(timed, f"measure.cores=one: a count (measure.probe={config.measure.probe}) does not depend on it")


# What measures is imported where it is used: jax takes seconds to load, and a plan or a report has no need of it.
def predict(config: Config) -> dict:
    """What a training step costs; counting takes about a second."""
    from transformer_jax.measure.predict import predict

    return predict(Work(config, next_token(config))) if config.measure.probe == "time" else {"seconds": 1.0}


def group(config: Config) -> str:
    return config.measure.probe


@cache
def _ready(config: Config) -> Callable[[tuple], dict]:
    from transformer_jax.measure import cost, depth, generation, programs

    shape, probe = next_token(config), config.measure.probe
    if probe == "time":
        where = cost.OneCore if config.measure.cores == "one" else cost.Sampler
        return where(Work(config, shape), config.measure.min_sample_seconds)
    if probe == "generation":
        found = {"generation_depth": depth.of_program(generation.program(Work(config, shape)))}
    else:
        steps = {phase: programs.build(Work(config, shape, "op", phase)) for phase in ("forward", "train")}
        found = {f"{phase}_depth": depth.of_program(step) for phase, step in steps.items()}
    return lambda place: found


def prepare(config: Config) -> Callable[[], dict]:
    """Counts, or compiles the step; its first runs are for later, when nothing is compiled beside them."""
    return getattr(_ready(config), "settle", dict)


def cell(config: Config, job: Job) -> dict:
    """What was counted, or one sample."""
    return _ready(config)((job.round, group(config)))
