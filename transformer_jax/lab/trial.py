"""One training run in its folder: trained, read as a curve, evaluated, described, made to write. Prints nothing."""

import contextlib
import math
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from transformer_jax import models
from transformer_jax.config import Config, ConfigError, with_overrides
from transformer_jax.host import compilation
from transformer_jax.host.folders import locked
from transformer_jax.tasks.task import Task, looks_ahead
from transformer_jax.train import programs
from transformer_jax.train.checkpoint import CheckpointError, Checkpoints
from transformer_jax.train.evaluate import evaluate as evaluate_split
from transformer_jax.train.generate import check as check_options
from transformer_jax.train.generate import generate as continue_tokens
from transformer_jax.train.log import Send, read_config, read_metrics
from transformer_jax.train.loop import Outcome, fit
from transformer_jax.train.progress import Progress

BuildTask = Callable[[Config], Task]
"""The task of a config: where a run is known by its folder alone, its task is too (`tasks.registry.build`)."""


class Evaluation(NamedTuple):
    """What a saved step of a run reached on a split."""

    step: int
    lanes: list[dict[str, float]]
    """The metrics by lane."""


_built = lru_cache(maxsize=8)(models.build)  # the same object for equal arguments, whose programs are compiled once


def train(
    config: Config,
    task: Task,
    folder: Path,
    *,
    stopping: Callable[[], bool] = lambda: False,
    progress: Progress | None = None,
    allow_fallback: bool = False,
    send: AbstractContextManager[Send] | None = None,
) -> Outcome:
    """Trains a config's model on a task, in a folder that is locked meanwhile; goes on from the newest checkpoint.

    Args:
      task: that of the config.
      stopping: asked after every chunk of steps; once True, the state is saved and the launch ends.
      progress: is called after every chunk and every evaluation.
      allow_fallback: take an older checkpoint where the newest is damaged.
      send: a context, entered when the folder is locked, that gives the function to which the numbers go as well.

    Raises:
      ConfigError: the model does not fit the task or the memory, or the folder holds a run of another config.
      FolderError: the folder is in use or cannot be written.
      CheckpointError, OSError: as `fit`.
    """
    compilation.use_cache()
    model = build_model(config, task)
    _check_memory(num_params(config, task))
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
        )


def build_model(config: Config, task: Task) -> models.Model:
    """The model of a config for a task; the same object for equal arguments.

    Raises:
      ConfigError: the model cannot read the task or answer it.
    """
    model = config.model
    if reason := looks_ahead(task.name, task.shape, model):
        raise ConfigError(reason)
    return _built(model, task.shape)


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


def describe(folder: Path, build_task: BuildTask, data_dir: str | None = None) -> dict[str, str | int]:
    """What distinguishes a folder's model from another's: mixer, width of its state, number of parameters."""
    config, task = _trained(folder, build_task, data_dir)
    width = config.model.sizes.get("width", config.model.d_model)
    count = num_params(config, task) // config.train.lanes
    return {"mixer": config.model.mixer, "width": width, "parameters": count}


def evaluate(
    folder: Path,
    build_task: BuildTask,
    split: str = "validation",
    checkpoint: str = "best",
    data_dir: str | None = None,
) -> Evaluation:
    """The metrics of a saved step on a whole split; everything is read from the folder.

    `data_dir` is where the data are now, if they have moved since the training.

    Raises:
      ConfigError: the folder holds no run, or the task no such split.
      CheckpointError: no such checkpoint, or a damaged one.
      FileNotFoundError: the data are missing.
    """
    compilation.use_cache()
    config, task = _trained(folder, build_task, data_dir)
    run = programs.build(build_model(config, task), task.objective, config.train)
    step, params = _params(folder, run, checkpoint)
    try:
        batches = task.evaluate(split)
    except ValueError as error:  # no such split
        raise ConfigError(str(error)) from None
    return Evaluation(step, evaluate_split(run.evaluate, params, batches, task.objective))


def generate(
    folder: Path,
    build_task: BuildTask,
    prompt: str,
    num_tokens: int,
    *,
    checkpoint: str = "best",
    temperature: float = 1.0,
    top_k: int | None = None,
    seed: int = 0,
    data_dir: str | None = None,
) -> str:
    """The text with which a run's model (its first lane's) continues the prompt.

    Raises:
      ConfigError: the folder holds no run of a text model, the prompt has a character that is not in the training
        text, or an option is impossible.
      CheckpointError: no such checkpoint, or a damaged one.
      FileNotFoundError: the data are missing: the symbols of a text model are those of its training text.
    """
    compilation.use_cache()
    config, task = _trained(folder, build_task, data_dir)
    model = build_model(config, task)
    if task.encode is None or model.extend is None:
        raise ConfigError(f"{folder} holds a run on {config.task.name}, which is not a language model of text")
    try:
        prompt_1xL = task.encode(prompt)[None]
        check_options(prompt_1xL, num_tokens, temperature, top_k)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    _, params = _params(folder, programs.build(model, task.objective, config.train), checkpoint)
    if config.train.lanes > 1:
        params = jax.tree.map(lambda leaf: leaf[0], params)
    tokens_1xN = continue_tokens(
        model,
        params,
        prompt_1xL,
        num_tokens,
        key=jax.random.key(seed),
        max_len=config.model.max_len,
        temperature=temperature,
        top_k=top_k,
    )
    return task.decode(np.asarray(tokens_1xN[0]).tolist())


def num_params(config: Config, task: Task) -> int:
    """The parameters that a run trains, of all lanes together; none of them is made."""
    run = programs.build(build_model(config, task), task.objective, config.train)
    return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(run.init).params))


def _check_memory(count: int) -> None:
    """Raises ConfigError where so many parameters cannot be trained on this machine."""
    device = jax.local_devices()[0].memory_stats() or {}  # a CPU has none
    limit = device.get("bytes_limit") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if (needed := 16 * count) > limit:  # float32: each with its gradient and AdamW's two moments
        raise ConfigError(
            f"{count:,} parameters train in at least {needed / 1e9:.1f} GB, and this machine has {limit / 1e9:.1f}:"
            " make model.d_model, model.num_layers or task.vocab_size smaller"
        )


def _trained(folder: Path, build_task: BuildTask, data_dir: str | None) -> tuple[Config, Task]:
    """What a run was trained with, and its task, whose data may have moved."""
    config = read_config(folder)
    if data_dir is not None:
        config = with_overrides(config, {"task.data_dir": data_dir})
    return config, build_task(config)


def _params(folder: Path, run: programs.Programs, checkpoint: str) -> tuple[int, Any]:
    """The step that a checkpoint's name stands for, and its parameters."""
    checkpoints, target = Checkpoints(folder / "checkpoints"), jax.eval_shape(run.init)
    while True:
        step = checkpoints.find(checkpoint)
        try:
            return step, checkpoints.restore(step, target)[0].params
        except CheckpointError:
            if step in checkpoints.steps():
                raise  # else a training that goes on has removed it meanwhile
