"""Must the steps of a sequence be worked through one after another?

At a fixed number of tokens T goes up and the batch down. `depth`: the longest chain of operations that must follow each
other in the op that mixes time steps, forward and with its gradient, counted from the jaxpr. `generation`: the same of
writing T tokens. What more processors make of it is asked by `experiments/cores`.
"""

from dataclasses import dataclass
from typing import Literal

from configs import bench
from transformer_jax.config import Config, MeasureConfig
from transformer_jax.lab.sweep import Job, Override, grid
from transformer_jax.measure.tokens import OfTokens
from transformer_jax.measure.work import NO_COST, NO_STEP_READS, Work, next_token


@dataclass(frozen=True)
class Axes(MeasureConfig):
    probe: Literal["depth", "generation"] = "depth"
    """What is counted: the depth of the op, or of generation."""
    tokens: int = 4096
    """Of a step: T times the batch, which follows from both."""


BASE = OfTokens(bench.CONFIG.model, bench.CONFIG.task, bench.CONFIG.train, Axes(rounds=1))
SWEEPS = ("task.seq_len", "model.mixer", "model.attention", "model.recurrence")
UNREAD = (*NO_STEP_READS, *NO_COST, "task.batch_size", "measure.min_sample_seconds")
SIDE_BY_SIDE = True  # nothing is timed


def over(probe: str, lengths: list[int], attention: list[str], linear: list[str]) -> list[Override]:
    shared = {"measure.probe": [probe], "task.seq_len": lengths}
    kinds = (
        {"model.mixer": ["attention"], "model.attention": attention},
        {"model.mixer": ["rnn", "gru", "lstm"]},
        {"model.mixer": ["min_gru"], "model.recurrence": linear},
    )
    return [override for kind in kinds for override in grid(shared | kind)]


STUDIES = {
    "depth": over("depth", [16, 64, 256, 1024, 4096], ["reference", "blockwise"],
                  ["sequential", "chunked", "associative"]),
    "generation": over("generation", [16, 256, 4096], ["reference"], ["sequential"]),
}  # fmt: skip


def cell(config: Config, job: Job) -> dict:
    """What was counted."""
    from transformer_jax.measure import depth, generation, programs  # here, as jax takes seconds to load

    shape = next_token(config)
    if config.measure.probe == "generation":
        return {"generation_depth": depth.of_program(generation.program(Work(config, shape)))}
    steps = {phase: programs.build(Work(config, shape, "op", phase)) for phase in ("forward", "train")}
    return {f"{phase}_depth": depth.of_program(step) for phase, step in steps.items()}
