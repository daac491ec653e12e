"""A stream of tasks learned one after another, each in a folder of its own, and what was kept of them. Prints nothing.

FOLDER/config.json   the stream's config, its order of tasks too
FOLDER/task_0, ...   a training run each; its checkpoints hold parameters, Fisher, centres, and how many tasks were
                     learned before
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from transformer_jax.config import ConfigError, with_overrides
from transformer_jax.config.continual import StreamConfig
from transformer_jax.continual import anchor, distillation, metrics, parts
from transformer_jax.continual.fisher import importance
from transformer_jax.continual.streams import Stream
from transformer_jax.continual.widening import WIDENINGS, beyond
from transformer_jax.host.folders import locked
from transformer_jax.lab import trial
from transformer_jax.train import log, programs
from transformer_jax.train.anchored import Anchored
from transformer_jax.train.checkpoint import CheckpointError, Checkpoints
from transformer_jax.train.evaluate import evaluate
from transformer_jax.train.progress import Progress
from transformer_jax.train.state import TrainState

# N lanes, K tasks


def train(
    config: StreamConfig,
    stream: Stream,
    folder: Path,
    *,
    stopping: Callable[[], bool] = lambda: False,
    progress: Callable[[int], Progress | None] = lambda k: None,
    allow_fallback: bool = False,
) -> tuple[str, int]:
    """Learns the tasks one after another; goes on from the newest checkpoint, in the middle of a task too.

    Args:
      progress: of the k-th task.
      allow_fallback: as that of `trial.train`, in each task.

    Returns:
      how the launch ended, "done", "stopped" or "nan" (`train.loop.Outcome`), and in which task.

    Raises:
      ConfigError: the part matches no parameter, or the folder holds another stream, or one in another order; or as
        `trial.train`.
    """
    learner = _Learner.of(config, stream, folder)
    parts.mask(learner.shapes.params, config.continual.part)  # a mistake is found before anything is written
    with locked(folder):
        if (folder / "config.json").exists() and (found := log.read_config(folder)).train.num_steps != (
            steps := config.train.num_steps
        ):
            raise ConfigError(
                f"{folder} holds a stream whose tasks have {found.train.num_steps} steps, not train.num_steps={steps}:"
                " the later ones began where the earlier ones ended, so that none can be extended; choose another --out"
            )
        log.claim(folder, config)
        for k, task in enumerate(stream.tasks):
            outcome = trial.train(
                config,
                task,
                _of(folder, k),
                stopping=stopping,
                progress=progress(k),
                allow_fallback=allow_fallback,
                anchored=learner.anchored,
                start=partial(learner.begin, k),
            )
            if outcome.status != "done":
                return outcome.status, k
    return "done", len(stream.tasks) - 1


def _of(folder: Path, k: int) -> Path:
    return folder / f"task_{k}"


def _anchored(config: StreamConfig, model: Any, outputs: int) -> Anchored:
    continual, penalty = config.continual, anchor.penalty
    if continual.method == "lwf":
        penalty = distillation.penalty(model, continual.tasks, outputs, continual.scenario)
    return Anchored(anchor.begin, penalty, anchor.follow if continual.method == "si" else None, config.seeds)


class _Learner(NamedTuple):
    """What learns a stream, and from where: its states have an axis of lanes where there is more than one."""

    config: StreamConfig
    stream: Stream
    folder: Path
    model: Any
    run: programs.Programs
    anchored: Anchored

    @classmethod
    def of(cls, config: StreamConfig, stream: Stream, folder: Path) -> "_Learner":
        first = stream.tasks[0]
        model = trial.build_model(config, first)
        anchored = _anchored(config, model, first.shape.outputs)
        run = programs.build(model, first.objective, config.train, anchored)
        return cls(config, stream, folder, model, run, anchored)

    @property
    def shapes(self) -> TrainState:
        return jax.eval_shape(self.run.init)

    @property
    def lanes(self) -> bool:
        return self.config.train.lanes > 1

    def after(self, k: int) -> TrainState:
        """The state in which a task ended.

        Raises:
          ConfigError: it has not ended.
          CheckpointError: it is damaged, or of another model.
        """
        newest = _end(self.config, self.folder, k)
        try:
            return Checkpoints(_of(self.folder, k) / "checkpoints").restore(newest, self.shapes)[0]
        except CheckpointError as error:
            again = "if it is damaged, the training, repeated with --allow-fallback, goes on from an older one"
            raise CheckpointError(f"{_of(self.folder, k)}: {error}; {again}") from None

    def begin(self, k: int, state: TrainState) -> TrainState:
        """The first state of a task: what the one before ended with, drawn to it, with an optimizer that knows nothing
        of it."""
        masks, strengths = self.masks(), self.config.strengths
        if k == 0:
            drawn = jnp.asarray([strength or 0.0 for strength in strengths], jnp.float32)
            held = state.anchor | {"strength": drawn if self.lanes else drawn[0], "mask": masks}
            return _apart(state.replace(anchor=held))
        before = self.after(k - 1)
        held = self.consolidated(k - 1, before)
        moves = jax.tree.map(jnp.ones_like, before.params)
        if None in strengths:
            frozen = jnp.asarray([strength is None for strength in strengths], jnp.float32)
            frozen = frozen if self.lanes else frozen[0]
            moves = jax.tree.map(lambda m: 1 - m * frozen.reshape(*frozen.shape, *[1] * (m.ndim - frozen.ndim)), masks)
        fold = partial(jax.random.fold_in, data=k)
        key = jax.vmap(fold)(state.key) if self.lanes else fold(state.key)
        opt_state = (moves, *(before if self.config.continual.keep_optimizer else state).opt_state[1:])
        return _apart(state.replace(params=before.params, opt_state=opt_state, key=key, anchor=held))

    def consolidated(self, k: int, state: TrainState) -> anchor.Anchor:
        """The anchor of a state in which a task ended, for the next one."""
        continual = self.config.continual
        match continual.method:
            case "ewc" | "mas":
                kind = continual.fisher if continual.method == "ewc" else "mas"
                batches = self.stream.examples(k)
                at_most = continual.fisher_examples
                found = importance(self.model, state.params, batches, kind, state.key, at_most, self.lanes)
            case "si":
                start = self.after(k - 1).params if k else self.run.init().params
                found = anchor.path_importance(state.anchor, state.params, start)
            case _:
                found = jax.tree.map(jnp.ones_like, state.params)
        variant, decay = ("online", 0.0) if continual.method in ("l2", "lwf") else (continual.variant, continual.decay)
        if continual.method in ("si", "mas"):
            variant = "corrected"
        join = partial(anchor.consolidated, variant=variant, decay=decay)
        return (jax.vmap(join) if self.lanes else join)(state.anchor, state.params, found)

    def masks(self) -> Any:
        """What each lane protects."""
        continual, shapes = self.config.continual, self.shapes.params
        if self.lanes:
            shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), shapes)
        part = parts.mask(shapes, continual.part)
        drawn = {seed: parts.subset(shapes, parts.size(part), seed) if continual.control else part
                 for seed in set(self.config.seeds)}  # fmt: skip
        each = [drawn[seed] for seed in self.config.seeds]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *each) if self.lanes else each[0]


def _apart(state: TrainState) -> TrainState:
    """A copy of each leaf: the first step takes their buffers, of which none may be there twice.

    All are committed to their devices, as those of a checkpoint are and what a step makes of them: of a state that is
    so in part the step is compiled once more, and then once more of what it makes.
    """
    return jax.tree.map(lambda leaf: jax.device_put(jnp.copy(leaf), leaf.sharding), state)


def require_learned(config: StreamConfig, folder: Path) -> None:
    """Raises ConfigError where a task has not ended, before anything is built."""
    for k in range(config.continual.num_tasks):
        _end(config, folder, k)


def _end(config: StreamConfig, folder: Path, k: int) -> int:
    """The saved step in which a task ended; ConfigError: it has not."""
    newest = max(Checkpoints(_of(folder, k) / "checkpoints").steps(), default=0)
    if newest < config.train.num_steps:
        raise ConfigError(
            f"{folder} holds a stream of which task {k} was not learned to its end: it is at step {newest} of"
            f" {config.train.num_steps}; repeat the command that began it"
        )
    return newest


class Matrix(NamedTuple):
    """Accuracies on a split, in the order in which the tasks came."""

    R_NxKxK: np.ndarray
    """By lane: row i after learning task i, column j on task j."""
    untrained_NxK: np.ndarray
    """Before any training."""


def matrix(config: StreamConfig, stream: Stream, folder: Path, split: str) -> Matrix:
    """The accuracies of a stream's saved states on a split; raises as `train.checkpoint.Checkpoints.restore`."""
    learner = _Learner.of(config, stream, folder)
    states = [learner.run.init().params, *(learner.after(k).params for k in range(len(stream.tasks)))]
    seen = config.continual.chooses_among_seen  # each state among the answers until then, the untrained one among all
    batches = [] if seen else list(stream.tasks[0].evaluate(split))
    tasks = stream.tasks[-1], *stream.tasks
    names = [f"accuracy_{j}" for j in range(len(stream.tasks))]
    lanes = [evaluate(learner.run, params, batches or task.evaluate(split), task.objective)
             for params, task in zip(states, tasks, strict=True)]  # fmt: skip
    found = np.array([[[lane[name] for name in names] for lane in each] for each in lanes])
    return Matrix(found[1:].swapaxes(0, 1), found[0])


def summary(config: StreamConfig, found: Matrix, lane: int) -> dict[str, float]:
    """`metrics.of_matrix` of a lane; without forward transfer where the answers of a task to come cannot be given."""
    measured = metrics.of_matrix(found.R_NxKxK[lane], found.untrained_NxK[lane])
    left_out = ("forward_transfer",) if config.continual.chooses_among_seen else ()
    return {name: value for name, value in measured.items() if name not in left_out}


def rows(config: StreamConfig, stream: Stream, folder: Path, split: str = "test") -> list[dict]:
    """A row for each lane of a stream that was learned: its seed, its strength, and `summary`; with

    frozen: the part stayed as the first task left it.
    worst_accuracy: mean over old tasks of the lowest validation accuracy while later ones were learned (De Lange et al.
      2023, arXiv 2205.13452).
    drift: mean Jensen–Shannon distance of attention maps on a batch of each old task, between the end of their own task
      and that of the stream; None: there are none.
    importance: mean importance of what is protected, before the last task; protected: how many parameters that is.
    """
    learner, found = _Learner.of(config, stream, folder), matrix(config, stream, folder, split)
    last = learner.after(len(stream.tasks) - 1)
    sizes = np.atleast_1d((jax.vmap(anchor.size) if learner.lanes else anchor.size)(last.anchor))
    worst, moved, masks = _worst(config, stream, folder), _drift(learner, split), learner.masks()
    protected = [parts.size(masks)] if not learner.lanes else [
        parts.size(jax.tree.map(lambda leaf, i=i: leaf[i], masks)) for i in range(config.train.lanes)
    ]  # fmt: skip
    return [
        {"lane": i, "seed": config.seeds[i], "strength": strength, "frozen": strength is None,
         "worst_accuracy": worst[i], "drift": None if moved is None else moved[i], "importance": float(sizes[i]),
         "protected": protected[i]}
        | summary(config, found, i)
        for i, strength in enumerate(config.strengths)
    ]  # fmt: skip


def widened_rows(config: StreamConfig, stream: Stream, folder: Path) -> list[dict]:
    """Learns the stream in the folder; where the best of its strengths is an edge of their grid, once more with as many
    beyond it (`widening.beyond`), so that nothing is compiled anew: the `rows` of all, and how often `widened`."""
    found: list[dict] = []
    for widened in range(WIDENINGS + 1):
        place = folder / f"wider_{widened}" if widened else folder
        train(config, stream, place)
        found += [row | {"widened": widened} for row in rows(config, stream, place) if not widened or row["strength"]]
        more = beyond(found, len(config.continual.strengths) - 1)
        if not more:
            break
        config = with_overrides(config, {"continual.strengths": (0.0, *more)})
    return found


def _worst(config: StreamConfig, stream: Stream, folder: Path) -> list[float]:
    lowest: dict[tuple[int, int], float] = {}
    for k in range(1, len(stream.tasks)):
        for row in trial.curve(_of(folder, k), "validation"):
            for j in range(k):
                at = (row["lane"], j)
                lowest[at] = min(lowest.get(at, 1.0), row[f"accuracy_{j}"])
    old = range(len(stream.tasks) - 1)
    return [float(np.mean([lowest[lane, j] for j in old])) for lane in range(config.train.lanes)]


def _drift(learner: _Learner, split: str) -> list[float] | None:
    """By lane."""
    count, last = len(learner.stream.tasks), learner.after(len(learner.stream.tasks) - 1).params
    each = []
    for j in range(count - 1):
        probes = next(batch for batch in learner.stream.tasks[j].evaluate(split) if batch["task"][0] == j)
        maps = [_maps(learner, params, probes["inputs"]) for params in (learner.after(j).params, last)]
        if maps[0] is None:
            return None
        each.append([metrics.js_distance(a, b) for a, b in zip(*maps, strict=True)])
    return [float(x) for x in np.mean(each, axis=0)]


def _maps(learner: _Learner, params: Any, inputs: np.ndarray) -> np.ndarray | None:
    """Attention weights with a leading axis of lanes; None: the model has none."""
    if learner.model.inspect is None:
        return None
    params_N = params if learner.lanes else jax.tree.map(lambda leaf: leaf[None], params)
    found = jax.lax.map(lambda one: learner.model.inspect(one, inputs).weights_NxHxBxLxL, params_N)
    return None if found is None else np.asarray(found)
