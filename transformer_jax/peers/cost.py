"""What is measured of a contender, and what it will cost."""

from collections.abc import Callable, Hashable
from dataclasses import asdict, astuple, replace
from functools import cache
from typing import Any

import jax

from transformer_jax.config import with_overrides
from transformer_jax.measure import closed_form, timing
from transformer_jax.measure import predict as prediction
from transformer_jax.measure.work import Work
from transformer_jax.ops.recurrence import RECURRENCE
from transformer_jax.peers.build import build
from transformer_jax.peers.contender import largest_difference
from transformer_jax.peers.libraries import STORES_SCORES, Peer

_kept = cache(build)  # ours is what every other contender of the same problem is compared with


def sampler(work: Work, peer: Peer, min_sample_seconds: float) -> Callable[[Hashable], dict[str, Any]]:
    """Builds a contender and compares it with ours; each call of what it returns is one sample, as columns.

    It is called with the place of the sample, as `measure.cost.Sampler` is.

    Raises:
      Mismatch: it computes something else.
      ValueError: as `build`.
    """
    one, ours = _kept(work, peer), _with_attention(work, "auto")
    columns = {
        "implementation": closed_form.implementation(work) if peer == "ours" else None,
        "tokens": work.batch_size * work.steps,
        "closed_form_flops": predict(work, peer)["flops"],
        "largest_difference": None,
        "temp_bytes": None,
    }
    if (work, peer) != (ours, "ours"):
        columns["largest_difference"] = largest_difference(one.outputs(), _kept(ours, "ours").outputs())
    columns |= one.columns
    jax.block_until_ready(one.step())  # a first step sets up what later ones find
    timer = timing.Timer(one.step, min_sample_seconds)
    calibration = timing.calibration()

    def sample(place: Hashable) -> dict[str, Any]:
        wall, cpu, calls = astuple(timer())
        times = timing.Sample(wall / one.steps, cpu / one.steps, calls * one.steps)
        return columns | calibration.columns(place) | asdict(times)

    return sample


def predict(work: Work, peer: Peer) -> dict[str, float]:
    """As `measure.predict`, for what is measured here: a peer's scores, and a recurrence's input projection."""
    model = work.config.model
    kind = "reference" if peer in STORES_SCORES else "blockwise" if peer == "torch" else model.attention
    found = prediction.predict(_with_attention(work, kind))
    if work.level != "op" or model.mixer not in RECURRENCE:
        return found
    passes = 3 if work.phase == "train" else 1
    flops = 2 * passes * work.batch_size * work.steps * closed_form.record(model).weights(model.d_model)
    seconds = found["seconds"] + flops / prediction.FLOPS_PER_SECOND
    return found | {"flops": found["flops"] + flops, "seconds": seconds}


def _with_attention(work: Work, name: str) -> Work:
    return replace(work, config=with_overrides(work.config, {"model.attention": name}))
