"""Which norm trains without a warm-up: before each sublayer, or after its residual sum?

A deep stack learns to copy symbols over a blank (copy_memory) with the norm before (pre) or after (post, Vaswani et al.
2017), with a warm-up of the learning rate or none, at two rates. Post-norm is said to need one and pre-norm not (Xiong
et al. 2020, arXiv 2002.04745). One seed a lane; a row for each: its loss on validation sequences at the end.
"""

from transformer_jax.config import Config, MeasureConfig, ModelConfig, TaskConfig, TrainConfig
from transformer_jax.lab.sweep import Job, grid

BASE = Config(
    ModelConfig(d_model=64, num_layers=6, num_heads=4, max_len=256),
    TaskConfig(name="copy_memory", seq_len=64, vocab_size=10, num_items=8, batch_size=16),
    TrainConfig(num_steps=400, peak_lr=1e-3, lanes=5, eval_every=100, checkpoint_every=400, nan_policy="skip"),
    MeasureConfig(rounds=1),
)
_AXES = {"model.mixer": ["attention"], "model.norm": ["pre", "post"], "train.peak_lr": [1e-3, 3e-3]}
STUDIES = {"warm_up": grid(_AXES | {"train.warmup_steps": [0, 100]})}
FULL = {
    "warm_up": grid(_AXES | {
        "model.mixer": ["attention", "lstm"], "model.d_model": [64], "task.seq_len": [256], "task.batch_size": [64],
        "train.num_steps": [1600], "train.warmup_steps": [0, 400], "train.lanes": [10],
    }),
}  # fmt: skip
SWEEPS = ("model.mixer", "model.norm", "train.peak_lr")
TAKES = {"quick": "9 minutes on one shared core of an AMD EPYC"}
SIDE_BY_SIDE = True  # nothing is timed
UNREAD = ("measure.min_sample_seconds", "train.nan_policy")
time_limit = 900.0  # seconds of a cell, beside half a second a step


def cell(config: Config, job: Job) -> list[dict]:
    """Trains in the job's folder, where a killed cell goes on; the last evaluation of every lane."""
    from transformer_jax.lab import trial  # here, as jax takes seconds to load and a plan has no need of it
    from transformer_jax.tasks import copy_memory

    trial.train(job.seeded(config), copy_memory.build(config), job.folder)
    curve = trial.curve(job.folder, "validation")
    return [row for row in curve if row["step"] == max(row["step"] for row in curve)]
