"""One training run in its folder: trained, and read as a curve. Prints nothing."""

import contextlib
import math
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax

from transformer_jax import models
from transformer_jax.config import Config, ConfigError, ModelConfig, Shape
from transformer_jax.host import compilation
from transformer_jax.host.folders import locked
from transformer_jax.tasks.task import Task, looks_ahead
from transformer_jax.train import programs, vectors
from transformer_jax.train.log import Send, read_config, read_metrics
from transformer_jax.train.loop import Outcome, fit
from transformer_jax.train.progress import Progress


@lru_cache(maxsize=8)  # the same object for equal arguments, whose programs are compiled once
def _built(model: ModelConfig, shape: Shape, frozen: tuple[str, ...]) -> models.Model:
    return models.build(model, shape)._replace(frozen=frozen)


def train(
    config: Config,
    task: Task,
    folder: Path,
    *,
    stopping: Callable[[], bool] = lambda: False,
    progress: Progress | None = None,
    allow_fallback: bool = False,
    send: AbstractContextManager[Send] | None = None,
    **carried: Any,
) -> Outcome:
    """Trains a config's model on a task, in a folder that is locked meanwhile; goes on from the newest checkpoint.

    Args:
      task: that of the config.
      stopping: asked after every chunk of steps; once True, the state is saved and the launch ends.
      progress: is called after every chunk and every evaluation.
      allow_fallback: take an older checkpoint where the newest is damaged.
      send: a context, entered when the folder is locked, that gives the function to which the numbers go as well.
      carried: `anchored` and `start` of `fit`.

    Raises:
      ConfigError: the model does not fit the task, its word vectors or the memory, or the folder holds a run of
        another config or of other vectors.
      FolderError: the folder is in use or cannot be written.
      CheckpointError, OSError: as `fit`.
    """
    compilation.use_cache()
    model = build_model(config, task)
    vectors.check(task.vectors, config.model.d_model)
    _check_memory(config, task)
    with locked(folder), send or contextlib.nullcontext() as receive:
        return fit(
            model,
            task,
            config,
            folder,
            stopping=stopping,
            progress=progress,
            allow_fallback=allow_fallback,
            send=receive,
            **carried,
        )


def build_model(config: Config, task: Task) -> models.Model:
    """The model of a config for a task; the same object for equal arguments.

    Raises:
      ConfigError: the model cannot read the task or answer it.
    """
    model = config.model
    if found := looks_ahead(task.name, task.next_token, model):
        raise ConfigError(*found)
    frozen = (vectors.LEAF,) if task.vectors is not None and task.vectors.frozen else ()
    return _built(model, task.shape, frozen)


def curve(folder: Path, split: str) -> list[dict]:
    """The measurements of a run on one split, "train" or "validation": a row with step, lane and metrics for each.

    A number that was not finite is NaN; where that ended the run, so is the loss of every lane at the step of its end.
    """
    found = read_metrics(folder / "metrics.jsonl")
    rows = [
        {name: math.nan if value is None else value for name, value in row.items() if name != "split"}
        for row in found
        if row.get("split") == split
    ]
    ends = [row["step"] for row in found if row.get("event") == "nan"]
    lanes = range(read_config(folder).train.lanes) if ends else ()
    return rows + [{"step": step, "lane": lane, "loss": math.nan} for step in ends for lane in lanes]


def num_params(config: Config, task: Task) -> int:
    """The parameters that a run trains, of all lanes together; none of them is made."""
    run = programs.build(build_model(config, task), task.objective, config.train)
    return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(run.init).params))


def _check_memory(config: Config, task: Task) -> None:
    """Raises ConfigError where the parameters do not fit into this machine, with the keys that they follow from."""
    lanes, count = config.train.lanes, num_params(config, task)
    device = jax.local_devices()[0].memory_stats() or {}  # a CPU has none
    limit = device.get("bytes_limit") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if (needed := 16 * count) > limit:  # float32: each with its gradient and AdamW's two moments
        keys = ["train.lanes"] * (lanes > 1) + ["model.d_model", "model.num_layers"]
        keys += ["task.vocab_size"] * (
            task.shape.vocab_size == config.task.vocab_size
        )  # else the data decide it, if any
        of_lanes = f" of {lanes} lanes" if lanes > 1 else ""
        raise ConfigError(
            f"{count:,} parameters{of_lanes} train in at least {needed / 1e9:.1f} GB, and this machine has"
            f" {limit / 1e9:.1f}: make {', '.join(keys[:-1])} or {keys[-1]} smaller"
        )
