"""What was trained in a folder: evaluated, described, made to write. Prints nothing."""

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from transformer_jax.config import Config, ConfigError, with_overrides
from transformer_jax.config.continual import StreamConfig
from transformer_jax.host import compilation
from transformer_jax.lab.trial import build_model, num_params
from transformer_jax.models import Model
from transformer_jax.tasks import place
from transformer_jax.tasks.task import Batch, Objective, Task
from transformer_jax.train import programs
from transformer_jax.train.checkpoint import AVERAGE, CheckpointError, Checkpoints
from transformer_jax.train.evaluate import evaluate as evaluate_split
from transformer_jax.train.generate import check as check_options
from transformer_jax.train.generate import generate as continue_tokens
from transformer_jax.train.log import check_data, check_files, digests, read_config, read_launches, step_seconds

BuildTask = Callable[..., Task]
"""The task of a config: where a run is known by its folder alone, its task is too (`tasks.registry.build`)."""


class Evaluation(NamedTuple):
    """What a saved step of a run reached on a split."""

    step: int | str
    """For the average of several a text that names them."""
    lanes: list[dict[str, float]]
    """The metrics by lane."""


def describe(folder: Path, build_task: BuildTask, data_dir: str | None = None) -> dict[str, str | float]:
    """What distinguishes a folder's model from another's: mixer, width of its state, number of parameters, and how long
    one of its training steps took, where that is known."""
    config, task = task_of(folder, build_task, data_dir)
    model = config.model
    name = family(model.mixer, model.forecaster, model.classifier)
    width = "-" if name == model.forecaster else model.sizes.get("width", model.d_model)
    count = num_params(config, task) // config.train.lanes
    seconds = step_seconds(folder)
    known = {} if seconds is None else {"step_seconds": float(f"{seconds:.3g}")}
    return {"mixer": name, "width": width, "parameters": count} | known


def family(mixer: str, forecaster: str, classifier: str) -> str:
    """What a model is called beside others: its mixer, or a forecaster or classifier that has none."""
    return next((other for other in (forecaster, classifier) if other != "stack"), mixer)


class Restored(NamedTuple):
    """A run's model with what it had learned at a saved step."""

    config: Config
    task: Task
    model: Model
    run: programs.Programs
    step: int | str
    """As that of an `Evaluation`."""
    params: Any

    @property
    def lanes(self) -> list[Any]:
        """The parameters of each lane."""
        if self.config.train.lanes == 1:
            return [self.params]
        lanes = range(self.config.train.lanes)
        return [jax.tree.map(lambda leaf, lane=lane: leaf[lane], self.params) for lane in lanes]

    def metrics(
        self, batches: Iterable[Batch], params: Any = None, objective: Objective | None = None
    ) -> list[dict[str, float]]:
        """The metrics of the task's objective by lane, over batches of any length that the model can address.

        params: of all lanes, in the place of the run's own (with a part of them removed, say); objective: in the place
        of the task's.
        """
        asked = objective or self.task.objective
        run = self.run if objective is None else programs.build(self.model, asked, self.config.train)
        return evaluate_split(run, self.params if params is None else params, batches, asked)


def restored(folder: Path, build_task: BuildTask, checkpoint: str = "best", data_dir: str | None = None) -> Restored:
    """A saved step of a run; raises as `evaluate`."""
    compilation.use_cache()
    config, task = task_of(folder, build_task, data_dir)
    model = build_model(config, task)
    run = programs.build(model, task.objective, config.train)
    return Restored(config, task, model, run, *_params(folder, run, checkpoint))


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
    config, task = task_of(folder, build_task, data_dir)
    run = programs.build(build_model(config, task), task.objective, config.train)
    step, params = _params(folder, run, checkpoint)
    try:
        batches = task.evaluate(split)
    except ValueError as error:  # no such split
        raise ConfigError(str(error)) from None
    return Evaluation(step, evaluate_split(run, params, batches, task.objective))


def steps(folder: Path) -> dict[int, str]:
    """The saved steps that `evaluate` knows by a name, oldest first, each with it; one that is both is the best.

    None where nothing is saved; where an older one is damaged, the latest alone.
    """
    checkpoints, found = Checkpoints(folder / "checkpoints"), {}
    for name in ("latest", "best"):
        with contextlib.suppress(ConfigError, CheckpointError):
            found[checkpoints.find(name)] = name
    return dict(sorted(found.items()))


def not_finished(folder: Path) -> str:
    """How far a run is that was not trained to its end, for a line of text: "of 1,200 steps, not finished"; else
    nothing."""
    num_steps, launches = read_config(folder).train.num_steps, read_launches(folder)
    saved = max(Checkpoints(folder / "checkpoints").steps(), default=0)
    if saved >= num_steps or (launches and launches[-1].get("status") == "done"):  # patience ends one early
        return ""
    return f"of {num_steps:,} steps, not finished"


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
    config, task = task_of(folder, build_task, data_dir)
    model = build_model(config, task)
    if task.encode is None or model.initial_state is None:
        other = "; a translation is asked for by --text" if task.translation else ""
        raise ConfigError(f"{folder} holds a run on {config.task.name}, which is not a language model of text{other}")
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
        unwritten=task.unwritten,
    )
    return task.decode(np.asarray(tokens_1xN[0]).tolist())


def task_of(folder: Path, build_task: BuildTask, data_dir: str | None) -> tuple[Config, Task]:
    """What a run was trained with, and its task, whose data may have moved; where the run keeps files, it is theirs."""
    config = read_config(folder)
    if isinstance(config, StreamConfig):
        raise ConfigError(f"{folder} holds tasks learned one after another, not one run: only `evaluate` reads them")
    if data_dir is not None:
        config = with_overrides(config, {"task.data_dir": data_dir})
    check_data(folder, place.data_dir(config.task))
    checkpoints, meta = Checkpoints(folder / "checkpoints"), {}
    with contextlib.suppress(ConfigError, CheckpointError):  # what is wrong there is found when it is restored
        meta = checkpoints.meta(checkpoints.find("latest"))
    kept = {name: (folder / name).read_bytes() for name in meta.get("files", ()) if (folder / name).is_file()}
    files = tuple((name, content) for name, content in kept.items() if digests(kept)[name] == meta["files"][name])
    task = build_task(config, files) if files else build_task(config)
    check_files(folder, task.files, meta.get("files"))
    return config, task


def _params(folder: Path, run: programs.Programs, checkpoint: str) -> tuple[int | str, Any]:
    """The step that a checkpoint's name stands for, or for an average a text that names them; and its parameters."""
    train, target = read_config(folder).train, jax.eval_shape(run.init)
    checkpoints = Checkpoints(folder / "checkpoints", keep_last=train.keep_last, every=train.checkpoint_every)
    while True:
        saved = checkpoints.steps()
        try:
            if checkpoint == AVERAGE:
                steps, params = checkpoints.restore_average(target)
                return f"average of step{'s'[: len(steps) - 1]} {', '.join(map(str, steps))}", params
            step = checkpoints.find(checkpoint)
            return step, checkpoints.restore(step, target)[0].params
        except CheckpointError as error:
            if saved == checkpoints.steps():  # else a training that goes on has removed one meanwhile
                instead, whole = "", checkpoints.whole()
                if whole != saved:
                    instead = "; none that is saved there is whole: train anew"
                if saved != whole != []:
                    instead = f"; --checkpoint {' or '.join(map(str, whole))} is whole"
                raise CheckpointError(f"{folder}: {error}{instead}") from None
