"""A training run as a folder: a config's model and task brought together, trained, evaluated, made to write."""

import contextlib
import os
import sys
from pathlib import Path

import jax
import numpy as np
from rich.console import Console

from transformer_jax import models, tasks
from transformer_jax.config import Config, ConfigError, with_overrides
from transformer_jax.measure import closed_form, flops, timing
from transformer_jax.measure.matching import matched
from transformer_jax.lab.rows import FILE, FolderError, locked
from transformer_jax.host.signals import stop_signals
from transformer_jax.tasks.sets import MissingData
from transformer_jax.train import programs, tracking
from transformer_jax.train.checkpoint import CheckpointError, Checkpoints
from transformer_jax.train.evaluate import evaluate as evaluate_split
from transformer_jax.train.generate import check as check_options
from transformer_jax.train.generate import generate as continue_tokens
from transformer_jax.train.log import read_config, record
from transformer_jax.train.loop import Outcome, fit, next_stop
from transformer_jax.lab.trial_display import Progress, Shown


def use_compilation_cache() -> None:
    """Keeps every compiled program, however quickly it compiled, for the next process."""
    folder = Path("~/.cache/transformer_jax/compiled").expanduser()
    if jax.config.jax_compilation_cache_dir is None:  # else the user set one
        jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def train(
    config: Config, folder: Path, console: Console, *, allow_fallback: bool = False, wandb: bool = False
) -> Outcome:
    """`fit` with the folder locked, signals handled and progress shown; a recurrence's width matched first.

    With `measure.matching` a recurrence gets the width that gives it the parameters or the training FLOPs of the
    attention model of the same config; the folder's config has that width. With `wandb` the metrics also go to
    Weights & Biases.

    Raises:
      ConfigError: the model does not fit the task, the folder holds a run of another config, or wandb is missing.
      rows.FolderError: the folder is in use or cannot be written.
      CheckpointError, OSError: as `fit`.
    """
    use_compilation_cache()
    if (folder / FILE).exists():
        raise FolderError(f"{folder} holds an experiment: choose another --out")
    if wandb:
        tracking.require()
    config = matched(config)
    task = _build(config, "--task.data-dir")
    check(config, task)
    _check_memory(config)
    model = models.build(config.model)
    shown = None
    with locked(folder), stop_signals(lambda: _leave(folder, shown)) as stopping:
        shown = Shown(console, config.task.batch_size * config.train.lanes * _steps(task), *_speed(model, task, config))
        with tracking.started(folder, config) if wandb else contextlib.nullcontext() as send:
            return fit(
                model,
                task,
                config,
                folder,
                stopping=stopping,
                progress=shown,
                allow_fallback=allow_fallback,
                send=send,
            )


def describe(folder: Path) -> dict[str, str | int]:
    """What tells a folder's model from another's: mixer, width of a recurrence's state, parameters."""
    model = read_config(folder).model
    width = model.d_model if model.mixer == "attention" else model.state_width
    return {"mixer": model.mixer, "width": width, "parameters": closed_form.num_params(model)}


def evaluate(
    folder: Path, split: str = "validation", checkpoint: str = "best", data_dir: str | None = None
) -> list[dict[str, float]]:
    """The metrics of a saved step on a whole split, by lane; everything is read from the folder.

    `data_dir` says where the data are now, if they have moved since the training.

    Raises:
      ConfigError: the folder holds no run, or the task no such split.
      MissingData: the data are not where they were, or not in `data_dir`.
      CheckpointError: no such checkpoint, or a damaged one.
    """
    use_compilation_cache()
    config, task = _trained(folder, data_dir)
    run = programs.build(models.build(config.model), config.train)
    params = _params(folder, run, checkpoint)
    try:
        batches = task.evaluate(split)
    except ValueError as error:  # no such split
        raise ConfigError(str(error)) from None
    return evaluate_split(run.evaluate, params, batches)


def generate(
    folder: Path,
    prompt: str,
    num_tokens: int,
    *,
    checkpoint: str = "best",
    temperature: float = 1.0,
    top_k: int | None = None,
    seed: int = 0,
    data_dir: str | None = None,
) -> str:
    """The text with which a run's model continues the prompt (its first lane's).

    Raises:
      ConfigError: the folder holds no run of a text model, the prompt has a character it never saw, or an
        option is impossible.
      MissingData: as `evaluate`; the symbols of a text model are those of its training data.
      CheckpointError: no such checkpoint, or a damaged one.
    """
    use_compilation_cache()
    config, task = _trained(folder, data_dir)
    model = models.build(config.model)
    if task.encode is None or model.extend is None:
        raise ConfigError(f"{folder} holds a run on {config.task.name}, which is not a language model of text")
    try:
        prompt_1xL = task.encode(prompt)[None]
        check_options(prompt_1xL, num_tokens, temperature, top_k)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    params = _params(folder, programs.build(model, config.train), checkpoint)
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


def check(config: Config, task) -> None:
    """Raises ConfigError, naming the key to set, where the model cannot read the task or answer it."""
    model = config.model
    vectors = task.input_shape[-1] if task.vocab_size is None else None
    if vectors is not None and len(task.input_shape) != 2:
        raise ConfigError(
            f"task {task.name} gives arrays of shape {task.input_shape}, and a model reads sequences: set"
            " task.patch_size"
        )
    wanted = {"model.input_dim": (model.input_dim, vectors)}
    wanted["model.num_classes"] = (model.num_classes, task.num_classes)
    if task.vocab_size is not None:
        wanted["model.vocab_size"] = (model.vocab_size, task.vocab_size)
    wrong = [f"{key}={has}, set it to {needs}" for key, (has, needs) in wanted.items() if has != needs]
    if wrong:
        raise ConfigError(f"the model does not fit the task {task.name}: {'; '.join(wrong)}")
    if task.input_shape[0] > model.max_len:
        raise ConfigError(
            f"task {task.name} has sequences of {task.input_shape[0]} steps; model.max_len={model.max_len}"
        )


def _check_memory(config: Config) -> None:
    """Raises ConfigError where the parameters cannot fit, before the folder is this run's."""
    device = jax.local_devices()[0].memory_stats() or {}  # a CPU has none
    limit = device.get("bytes_limit") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    count = closed_form.num_params(config.model) * config.train.lanes
    if (needed := 16 * count) > limit:  # float32: each with its gradient and AdamW's two moments
        raise ConfigError(
            f"{count:,} parameters train in at least {needed / 1e9:.1f} GB, and this machine has {limit / 1e9:.1f}:"
            " make model.d_model, num_layers or vocab_size smaller"
        )


def _leave(folder: Path, shown: Progress | None) -> bool:
    """Whether a launch that is asked to stop can end at once: while it starts and compiles its first chunk of steps.

    Until that is done the folder has all there is to save. The main thread may be inside the compiler and does not
    hear of the signal before that is done.
    """
    if shown is not None and shown.advanced:
        return False
    step = shown.began if shown else None
    if step is not None:
        with contextlib.suppress(OSError):  # a full disk
            record(folder, "end", status="stopped", step=step, step_seconds=None)
    at = "" if step is None else f" at step {step}"
    with contextlib.suppress(OSError):  # nobody reads it
        print(f"stopped{at}: repeat the command to go on", file=sys.stderr, flush=True)
    return True


def _trained(folder: Path, data_dir: str | None) -> tuple[Config, tasks.Task]:
    """What a run was trained with, and its task, whose data may have moved."""
    config = read_config(folder)
    if data_dir is not None:
        config = with_overrides(config, {"task.data_dir": data_dir})
    return config, _build(config, "--data-dir")


def _build(config: Config, option: str) -> tasks.Task:
    try:
        return tasks.build(config)
    except MissingData as error:
        raise MissingData(f"{error}\n  if it is prepared elsewhere: {option} FOLDER") from None


def _params(folder: Path, run: programs.Programs, checkpoint: str):
    checkpoints, target = Checkpoints(folder / "checkpoints"), jax.eval_shape(run.init)
    while True:
        step = checkpoints.find(checkpoint)
        try:
            return checkpoints.restore(step, target)[0].params
        except CheckpointError:
            if step in checkpoints.steps():
                raise  # else a training that goes on has removed it meanwhile


def _steps(task) -> int:
    """Tokens (or patches) of one example."""
    return task.input_shape[0]


def _speed(model, task, config: Config) -> tuple[float | None, float]:
    """Matmul FLOPs of a step (None: a primitive has no rule, or steps differ), and the FLOP/s of a large matmul."""
    if config.task.bucket_lengths:
        return None, timing.calibration().peak_flops
    run = programs.build(model, config.train)
    lanes = (config.train.lanes,) if config.train.lanes > 1 else ()
    batch = next(iter(task.evaluate("validation")))  # for one of training workers would start
    steps = next_stop(0, config.train)  # of a whole chunk: then its trace is that of the training
    shapes = {k: jax.ShapeDtypeStruct((steps, *lanes, *v.shape), v.dtype) for k, v in batch.items()}
    try:
        count = flops.count(run.run_chunk, jax.eval_shape(run.init), shapes).matmul_flops / steps
    except ValueError:
        count = None
    return count, timing.calibration().peak_flops
