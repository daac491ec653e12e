"""As many seconds of training for a recurrence as for attention: counted in steps before it trains. Prints nothing.

What is timed is a compiled chunk of steps of all lanes at once, as training runs it; compiling, the data and
evaluations are not. Both models run a chunk in turns, now one and now the other first, in one process, so that what the
machine does meanwhile meets both. A neighbour at work would still slow one more than the other (attention takes all
cores, a loop over time does not), so that a cell that times runs alone (`untimed`).
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

from transformer_jax import intervals
from transformer_jax.config import MIXERS, Config, TrainConfig, with_overrides
from transformer_jax.host.folders import write_whole
from transformer_jax.measure.work import Matched

FILE, TURNS = "equal_seconds.json", 11


@dataclass(frozen=True)
class Axes(Matched):
    """`Matched` for an experiment that trains and can count in seconds as well."""

    matching: Literal["width", "params", "flops", "seconds"] = "params"
    """What a recurrence shares with the attention model of the same config: width, parameters, training FLOPs, or
    parameters and seconds of training."""


def untimed(config: Config) -> bool:
    """Whether a cell times nothing, so that it may run beside others (an experiment's SIDE_BY_SIDE)."""
    return config.measure.matching != "seconds"


def matched(config: Config, task, folder: Path) -> tuple[Config, dict[str, float]]:
    """The config with a recurrence matched to attention as `measure.matching` says, and what a row says of it.

    "seconds": as many parameters, and as many steps (`trained_steps`) as fit in the seconds of attention's
    `train.num_steps`. A step takes `step_seconds_ratio` times as long as attention's `attention_step_seconds`, with
    its 95 % interval from `step_seconds_ratio_low` to `step_seconds_ratio_high`. This is measured once and kept in the
    folder, so that a cell that was killed goes on to as many steps. The other values, and attention, add no column.

    Args:
      task: that of the config.
      folder: the cell's own; made if need be.

    Raises:
      ConfigError: as `measure.matching.matched`.
    """
    from transformer_jax.measure import matching  # here, as jax takes seconds to load and a plan has no need of it

    seconds = not untimed(config)
    config = matching.matched(config, task.shape, "params" if seconds else config.measure.matching)
    if not seconds or "recurrent_dim" not in MIXERS[config.model.mixer].reads:
        return config, {}
    path = folder / FILE
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(_measured(config, task)) + "\n")
    found = json.loads(path.read_text())
    own = in_the_same_seconds(config.train, found["step_seconds_ratio"])
    return with_overrides(config, own), {"trained_steps": own["train.num_steps"]} | found


def in_the_same_seconds(train: TrainConfig, ratio: float) -> dict[str, int]:
    """What of a training takes as long as attention's where a step takes `ratio` times as long, as overrides.

    Evaluations divide the seconds as attention's do, or more finely, as long as there is a step for each; the number of
    steps is the multiple of `eval_every` that comes nearest to the seconds. The warm-up has the same share of them, one
    step at least, and less than half.
    """
    every = max(1, int(train.eval_every / ratio))
    steps = max(1, round(train.num_steps / ratio / every)) * every
    warmup = max(1, round(train.warmup_steps / ratio)) if train.warmup_steps else 0
    return {
        "train.num_steps": steps,
        "train.warmup_steps": min(warmup, max(0, steps // 2 - 1)),
        "train.eval_every": every,
        "train.checkpoint_every": train.checkpoint_every // train.eval_every * every,
    }


def _measured(config: Config, task) -> dict[str, float]:
    chunks = [_chunk(one, task) for one in (with_overrides(config, {"model.mixer": "attention"}), config)]
    seconds: list[list[float]] = [[], []]
    for turn in range(TURNS):
        for which in (0, 1) if turn % 2 == 0 else (1, 0):
            seconds[which].append(chunks[which]())
    attentions, own = seconds
    ratio = intervals.ratio(own, attentions)
    return {
        "step_seconds_ratio": ratio.value,
        "step_seconds_ratio_low": ratio.low,
        "step_seconds_ratio_high": ratio.high,
        "attention_step_seconds": median(attentions),
    }


def _chunk(config: Config, task) -> Callable[[], float]:
    """Trains a chunk of steps, and gives the seconds of one; it is compiled, and has run once."""
    import jax
    import numpy as np

    from transformer_jax.host import compilation
    from transformer_jax.lab import trial, tuned
    from transformer_jax.train import loop, programs

    compilation.use_cache()
    train = with_overrides(config, tuned.GOES_ON).train  # as training runs it
    run = programs.build(trial.build_model(config, task), task.objective, train)
    streams, steps = [task.train(seed) for seed in programs.lane_seeds(train)], loop.next_stop(0, train)

    def stack(batches):
        return jax.tree.map(lambda *arrays: np.stack(arrays), *batches)

    lanes = [[next(stream) for stream in streams] for _ in range(steps)]
    batches, state = stack([stack(of_step) if train.lanes > 1 else of_step[0] for of_step in lanes]), run.init()

    def seconds() -> float:
        nonlocal state
        start = time.perf_counter()
        state, sums = run.run_chunk(state, batches)
        jax.block_until_ready((state, sums))
        return (time.perf_counter() - start) / steps

    seconds()
    return seconds
