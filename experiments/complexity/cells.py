"""Is attention's cost quadratic in the length of the sequence, and a recurrence's linear?

Time, FLOPs and memory of the op that mixes time steps, alone, forward and backward, over lengths: attention as it is
picked (auto: in blocks, from 128 on), attention that stores every score (reference), and an LSTM.
"""

from configs import bench
from transformer_jax.config import Config, MeasureConfig
from transformer_jax.lab import timed
from transformer_jax.lab.sweep import grid
from transformer_jax.measure.work import NO_COST, NO_STEP_READS, Work, next_token

BASE = Config(bench.CONFIG.model, bench.CONFIG.task, bench.CONFIG.train, MeasureConfig(rounds=5))
BUDGET = 3 * 60.0  # seconds of a default run
UNREAD = (*NO_STEP_READS, *NO_COST)
SWEEPS = ("task.seq_len", "model.mixer", "model.attention", "model.recurrence")
LENGTHS = [64, 128, 256, 512, 1024, 2048, 4096]
STUDIES = {
    "length": grid({"model.mixer": ["attention"], "model.attention": ["auto"], "task.seq_len": [*LENGTHS, 8192]})
    + grid({"model.mixer": ["attention"], "model.attention": ["reference"], "task.seq_len": LENGTHS[:-1]})
    + grid({"model.mixer": ["lstm"], "task.seq_len": LENGTHS}),
}


def work(config: Config) -> Work:
    return Work(config, next_token(config), "op")


prepare, cell = timed.steps(work)
