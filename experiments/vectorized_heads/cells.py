"""Does it pay to compute attention's heads together? In a loop, under vmap, or in one batched contraction.

All three compute the same numbers by the plain formula (`reference`), forward, and each is one compiled program.
Within a cell the three are sampled one after another, so that a ratio is taken within a round.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

import configs
from transformer_jax.config import Config, with_overrides
from transformer_jax.measure import predict as prediction
from transformer_jax.measure import programs, timing
from transformer_jax.ops.attention import reference
from transformer_jax.report import vectorized_heads
from transformer_jax.lab.sweep import grid

BASE = with_overrides(
    configs.get("bench"),
    {"measure.level": "op", "measure.phase": "forward", "model.attention": "reference", "model.head_dim": 16},
)
SWEEP = grid({"task.seq_len": [64, 256, 1024], "model.num_heads": [1, 2, 4, 8, 16]})
TOLERANCE = 1e-5
predict = prediction.predict
report = vectorized_heads.report


def batched(q_BxTxHxDh, k_BxTxHxDh, v_BxTxHxDh):
    return reference(q_BxTxHxDh, k_BxTxHxDh, v_BxTxHxDh, causal=True)


def one_head(q_BxTxDh, k_BxTxDh, v_BxTxDh):
    return batched(*(x[:, :, None] for x in (q_BxTxDh, k_BxTxDh, v_BxTxDh)))[:, :, 0]


def vmapped(*arrays):
    return jax.vmap(one_head, in_axes=2, out_axes=2)(*arrays)


def looped(*arrays):
    return jnp.stack([one_head(*(x[:, :, h] for x in arrays)) for h in range(arrays[0].shape[2])], axis=2)


FORMS = {"loop": looped, "vmap": vmapped, "batched": batched}


def cell(config: Config) -> dict:
    """Seconds of each form; step_seconds is the batched one's."""
    columns, timers = _prepare(config)
    samples = {form: timer() for form, timer in timers.items()}
    seconds = {f"{form}_seconds": sample.step_seconds for form, sample in samples.items()}
    noisy = any(sample.noisy for sample in samples.values())
    return columns | seconds | {"step_seconds": seconds["batched_seconds"], "noisy": noisy}


@cache
def _prepare(config: Config) -> tuple[dict, dict[str, timing.Timer]]:
    (q, k, v), _ = programs.build(config).make_args()
    compiled = {form: timing.compile_program(fn, (q, k, v)) for form, fn in FORMS.items()}
    outputs = {form: np.asarray(fn(q, k, v)) for form, fn in compiled.items()}
    difference = max(float(np.abs(out - outputs["batched"]).max()) for out in outputs.values())
    if not difference < TOLERANCE:
        raise ValueError(f"the forms differ by {difference}: they do not compute the same")
    columns = {f"{form}_compile_seconds": fn.compile_seconds for form, fn in compiled.items()}
    timers = {
        form: timing.Timer(lambda fn=fn: fn(q, k, v), config.measure.min_sample_seconds)
        for form, fn in compiled.items()
    }
    return columns | {"largest_difference": difference}, timers
