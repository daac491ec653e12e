"""Does it pay to compute attention's heads together? In a loop, under vmap, or in one batched contraction.

All three compute the same numbers by the plain formula (`reference`), forward, and each is one compiled program.
Within a cell the three are sampled one after another, so that a ratio is taken within a round.
"""

from collections.abc import Callable
from functools import cache, partial

from configs import bench
from transformer_jax.config import Config, with_overrides
from transformer_jax.lab.sweep import Job, grid
from transformer_jax.measure.work import NO_STEP_READS, Work, next_token

BASE = with_overrides(bench.CONFIG, {"model.attention": "reference", "model.head_dim": 16})
STUDIES = {"heads": grid({"task.seq_len": [64, 256, 1024], "model.num_heads": [1, 2, 4, 8, 16]})}
SWEEPS = ("task.seq_len", "model.num_heads")
UNREAD = (
    *NO_STEP_READS, "train.peak_lr", "train.warmup_steps", "train.schedule", "train.final_lr_fraction", "train.beta2",
    "train.weight_decay", "train.clip_norm",
)  # fmt: skip
TOLERANCE = 1e-5


# What measures is imported where it is used: jax takes seconds to load, and a plan or a report has no need of it.
def work(config: Config) -> Work:
    return Work(config, next_token(config), "op", "forward")


def prepare(config: Config) -> Callable[[], tuple]:
    """Each form is compiled, and compared with the others, with nothing beside it."""
    return partial(_prepare, config)


def cell(config: Config, job: Job) -> dict:
    """Seconds of each form; step_seconds is the batched one's."""
    columns, timers = _prepare(config)
    seconds = {f"{form}_seconds": timer().step_seconds for form, timer in timers.items()}
    return columns | seconds | {"step_seconds": seconds["batched_seconds"]}


def _forms() -> dict:
    """Three functions of q_BxTxHxDh, k_BxTxHxDh, v_BxTxHxDh."""
    import jax
    import jax.numpy as jnp

    from transformer_jax.ops.attention import reference

    def batched(*arrays):
        return reference(*arrays, causal=True)

    def one_head(*arrays_BxTxDh):
        return batched(*(x[:, :, None] for x in arrays_BxTxDh))[:, :, 0]

    def looped(*arrays):
        return jnp.stack([one_head(*(x[:, :, h] for x in arrays)) for h in range(arrays[0].shape[2])], axis=2)

    return {"loop": looped, "vmap": jax.vmap(one_head, in_axes=2, out_axes=2), "batched": batched}


@cache
def _prepare(config: Config) -> tuple:
    import numpy as np

    from transformer_jax.measure import programs, timing

    (q, k, v), _ = programs.build(work(config)).make_args()
    compiled = {form: timing.compile_program(fn, (q, k, v)) for form, fn in _forms().items()}
    outputs = {form: np.asarray(fn(q, k, v)) for form, fn in compiled.items()}
    difference = max(float(np.abs(out - outputs["batched"]).max()) for out in outputs.values())
    if not difference < TOLERANCE:
        raise ValueError(f"the forms differ by {difference}: they do not compute the same")
    columns = {f"{form}_compile_seconds": fn.compile_seconds for form, fn in compiled.items()}
    seconds = config.measure.min_sample_seconds
    timers = {form: timing.Timer(lambda fn=fn: fn(q, k, v), seconds) for form, fn in compiled.items()}
    return columns | {"largest_difference": difference}, timers
