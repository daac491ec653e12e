"""Trains: one flat loop over chunks of steps that run on the device."""

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from transformer_jax.config import Config, TrainConfig, flatten
from transformer_jax.host import provenance
from transformer_jax.tasks import place
from transformer_jax.tasks.task import Batch, Task, chosen_by
from transformer_jax.train import log as run_folder
from transformer_jax.train import programs, vectors
from transformer_jax.train.anchored import Anchored
from transformer_jax.train.checkpoint import Checkpoints
from transformer_jax.train.evaluate import divide, evaluate, score
from transformer_jax.train.optimizer import extension
from transformer_jax.train.patience import Patience
from transformer_jax.train.progress import Progress
from transformer_jax.train.state import TrainState

MAX_ROLLBACKS = 3  # from one checkpoint; data that differ three times and fail three times are not to blame


class Outcome(NamedTuple):
    """How a launch ended: "done", "stopped" (the same command goes on from there) or "nan"."""

    status: str
    step: int
    metrics: list[dict[str, float]]
    """The last evaluation on the validation split, by lane; empty if this launch made none."""


def fit(
    model,
    task: Task,
    config: Config,
    folder: Path,
    *,
    stopping: Callable[[], bool] = lambda: False,
    progress: Progress | None = None,
    allow_fallback: bool = False,
    send: run_folder.Send | None = None,
    anchored: Anchored | None = None,
    start: Callable[[TrainState], TrainState] = lambda state: state,
) -> Outcome:
    """Trains a model on a task until `num_steps`, or until `train.patience` is over, from the newest checkpoint of the
    folder if it has one.

    A run that is stopped or killed, however often, ends with the files of an unbroken run, bit for bit; after a NaN
    there may be one more checkpoint, that of a stop. The same holds for a run that is extended by more `num_steps`, if
    its learning rate does not depend on them (constant, inverse_sqrt) and `checkpoint_every` divides the step from
    which it goes on. Under another schedule the rows that were there stay, and those after them follow the longer
    schedule (`optimizer.extension`).

    Args:
      model: `init(key) -> params` and `apply(params, inputs, *, train, key) -> logits`.
      task: all shapes of its `examples` are compiled for before a step is over, those of training before the first;
        where there are several, each batch is a chunk of its own.
      stopping: asked after every chunk; once True, the state is saved and the launch ends.
      progress: shows how it goes.
      allow_fallback: take an older checkpoint where the newest is damaged.
      send: is given the numbers that are written to metrics.jsonl, but no events ("nan", "rollback").
      anchored: what the run does with its anchor; None: it has none.
      start: makes the first state of the one that the model's own initialisation gives.

    Raises:
      ConfigError: the folder holds a run of another config, of other `Task.files` or other word vectors, or
        `train.best` is no choice of the objective, or `train.micro_batches` does not divide a batch.
      CheckpointError: the newest checkpoint is damaged or of another model.
      OSError: something could not be written; what was committed before is intact.
    """
    train, progress = config.train, progress or Progress()
    chosen_by(task.objective, train.best)
    run_folder.claim(folder, config)
    run_folder.check_data(folder, place.data_dir(config.task))
    run_folder.check_files(folder, task.files)
    run = programs.build(model, task.objective, train, anchored)
    streams = [task.train(seed) for seed in programs.lane_seeds(train, anchored)]
    examples = task.examples() if task.examples else None  # None: all batches are alike
    draw = partial(_draw, streams, examples is None or len(examples[0]) == 1)
    with Checkpoints(folder / "checkpoints", keep_last=train.keep_last, every=train.checkpoint_every) as checkpoints:
        progress.starting(max(checkpoints.steps(), default=0), train.num_steps)
        begin = partial(_begin, checkpoints, run, task, start, allow_fallback, progress.note)
        state, step, meta = begin()
        if not step and any("split" in row for row in run_folder.read_metrics(folder / "metrics.jsonl")):
            progress.note("no checkpoint is there any more: the run begins anew at step 0")
        run_folder.keep_files(folder, task.files, meta.get("files", {}) if meta else None)
        vectors.check_same(meta, task.vectors)
        rollbacks, waited = meta.get("rollbacks", 0), Patience.of(meta.get("patience"))
        _move(streams, meta.get("data"))
        ended = waited.over(train.patience)  # a launch before this one ended it early
        if not ended:
            _note_extension(folder, step, meta, train, progress)
        if task.vectors is not None and step < train.num_steps and not ended:
            progress.note(task.vectors.text())
        run_folder.record(
            folder, "start", step=step, **provenance.machine(), **provenance.commit(), data=task.describe()
        )
        status, metrics = "stopped", []
        with run_folder.Log(folder, step, send) as log, progress.showing(step, train.num_steps):
            positions = [stream.get_state() for stream in streams]
            chunk = draw(next_stop(step, train) - step)
            needed = [] if ended else _needed(run, state, chunk, task, examples, step, train)
            needed = _compile(needed, progress, lambda program: program is run.run_chunk)
            while step < train.num_steps and not ended and not stopping():
                checkpoints.check()
                state, sums = _run(run, state, chunk)
                if not progress.advanced:  # while the device is at work
                    needed = _compile(needed, progress)
                    checkpoints.prepare(state)
                step = next_stop(step, train)
                positions = [stream.get_state() for stream in streams]
                chunk = draw(next_stop(step, train) - step)  # while the device is at work
                sums = _wait(sums)
                progress.advanced = True
                if not _all_finite(sums):
                    checkpoints.wait()
                    if train.nan_policy != "rollback" or rollbacks == MAX_ROLLBACKS:
                        log.event(step, "nan")
                        status = "nan"
                        break
                    failed, (state, step, meta) = step, begin(regular=True)
                    waited = Patience.of(meta.get("patience"))
                    checkpoints.remove_between()
                    chunk = draw(next_stop(step, train) - step)  # the data go on
                    rollbacks += 1
                    log.rewind(step)
                    log.event(failed, "rollback", to=step)
                    continue
                means = divide(sums, task.objective)
                log.write("train", step, means)
                progress.advance(step, means)
                if step % train.eval_every == 0 or step == train.num_steps:
                    metrics = evaluate(run, state.params, task.evaluate("validation"), task.objective)
                    log.write("validation", step, metrics)
                    progress.evaluated(step, metrics)
                    waited = waited.after(score(metrics, task.objective, train.best))
                    if ended := waited.over(train.patience) and step < train.num_steps:
                        progress.note(_early(task, train, step))
                if step % train.checkpoint_every == 0 or step == train.num_steps or ended:
                    rollbacks = 0
                    meta = _meta(config, task, positions, rollbacks, waited)
                    checkpoints.save(step, state, meta=meta, score=score(metrics, task.objective, train.best))
        status = "done" if (step == train.num_steps or ended) and status != "nan" else status
        if status == "stopped" and step % train.checkpoint_every:  # else it is saved
            checkpoints.save(step, state, meta=_meta(config, task, positions, rollbacks, waited), score=None)
        checkpoints.wait()
    run_folder.record(folder, "end", status=status, step=step, step_seconds=progress.step_seconds)
    return Outcome(status, step, metrics)


def _early(task: Task, train: TrainConfig, step: int) -> str:
    name = chosen_by(task.objective, train.best)[0]
    return (
        f"ended at step {step} of {train.num_steps}: the last {train.patience} evaluations gave no better validation"
        f" {name} (train.patience={train.patience})"
    )


def _meta(config: Config, task: Task, positions: list, rollbacks: int, waited: Patience) -> dict:
    """What a checkpoint holds beside the state: enough to go on as if nothing had happened."""
    files = run_folder.digests(task.files)
    meta = {"config": flatten(config), "data": positions, "rollbacks": rollbacks, "files": files}
    if config.train.patience is not None:
        meta["patience"] = waited._asdict()
    return meta if task.vectors is None else meta | {"vectors": task.vectors.sha256}


def _move(streams: Sequence[Any], positions: list | None) -> None:
    """Each stream to its position; where there is none, they stay at their start."""
    for stream, position in zip(streams, positions or [], strict=bool(positions)):
        stream.set_state(position)


def next_stop(step: int, train: TrainConfig) -> int:
    """Where the chunk that begins at `step` ends; it depends on nothing else, so that a resumed run's chunks
    are those of an unbroken one. Chunks are counted from the evaluation before. Each length is a program to compile:
    where one from half of `chunk_steps` on divides `eval_every`, all have the longest such length."""
    lengths = range(train.chunk_steps, (train.chunk_steps - 1) // 2, -1)
    chunk = next((n for n in lengths if train.eval_every % n == 0), train.chunk_steps)
    evaluated = step // train.eval_every * train.eval_every
    full = evaluated + ((step - evaluated) // chunk + 1) * chunk
    return min(full, evaluated + train.eval_every, train.num_steps)


def _begin(
    checkpoints: Checkpoints,
    run: programs.Programs,
    task: Task,
    start: Callable,
    allow_fallback: bool,
    note: Callable[[str], None],
    regular: bool = False,
):
    """(state, step, what was saved beside it) of the newest checkpoint, or of the start, beside which there is nothing.

    A rollback asks for a `regular` step, which an unbroken run has saved as well.
    """
    saved = checkpoints.restore_newest(jax.eval_shape(run.init), allow_fallback, regular, note)
    if saved is None:
        state = run.init()
        return start(state.replace(params=vectors.placed(state.params, task.vectors))), 0, {}
    state, meta = saved
    return state, int(np.max(jax.device_get(state.step))), meta


def _note_extension(folder: Path, step: int, meta: dict, train: TrainConfig, progress: Progress) -> None:
    """Writes down and shows that what is there was trained as a run of fewer steps, if it was."""
    before = meta.get("config", {}).get(run_folder.LENGTH, train.num_steps)
    if before < train.num_steps:
        text = extension(train, step, before)
        run_folder.record(folder, "extended", step=step, before=before, num_steps=train.num_steps, text=text)
        progress.note(text)


def _draw(streams: Sequence[Any], alike: bool, steps: int) -> list[Batch]:
    """The next batches, stacked: [(steps, B, ...)], or [(steps, lanes, B, ...)] for several streams.

    Batches that differ in the shape of any array (texts bucketed by length) cannot be stacked: each is then a chunk
    of its own; without `alike` it is in any case, so that each shape is one program.
    """
    drawn = [[next(stream) for stream in streams] for _ in range(steps)]
    lanes = [_stack(batches) if len(streams) > 1 else batches[0] for batches in drawn]
    if alike and len({tuple((name, array.shape) for name, array in batch.items()) for batch in lanes}) == 1:
        return [_stack(lanes)]
    return [_stack([batch]) for batch in lanes]


def _stack(batches: Sequence[Batch]) -> Batch:
    return {name: np.stack([batch[name] for batch in batches]) for name in batches[0]}


def _compile(needed: list[tuple], progress: Progress, wanted: Callable = lambda program: True) -> list[tuple]:
    """Compiles those of `_needed` that are wanted; gives the others back, which go on with the count."""
    for number, count, program, *shapes in needed:
        if wanted(program):
            progress.compiling(number, count)
            program.lower(*shapes).compile()
    return [one for one in needed if not wanted(one[2])]


def _needed(run: programs.Programs, state, chunk, task, examples, step: int, train: TrainConfig) -> list[tuple]:
    """(which, of how many, program, its arguments or their shapes) for all that the loop will call from a step on.

    The chunks come first: with them alone the device can begin. All is compiled while there are no steps to lose, see
    `Progress.advanced`: a request to stop is heard only when the compiler is done. Batches of several shapes without
    examples compile later all the same.
    """
    if step >= train.num_steps:
        return []
    lanes = (train.lanes,) if train.lanes > 1 else ()
    drawn, evaluated = examples or ([], itertools.islice(task.evaluate("validation"), 1))
    if len(drawn) > 1:
        shapes = [{k: jax.ShapeDtypeStruct((1, *lanes, *v.shape), v.dtype) for k, v in one.items()} for one in drawn]
    else:
        chunks = set()
        while step < train.num_steps:
            chunks.add(next_stop(step, train) - step)
            step = next_stop(step, train)
        shapes = [
            {k: jax.ShapeDtypeStruct((steps, *v.shape[1:]), v.dtype) for k, v in chunk[0].items()}
            for steps in (sorted(chunks) if len(chunk) == 1 else ())
        ]
    needed = [(run.run_chunk, state, each) for each in shapes]
    of_lane = params = state.params
    if lanes and run.write is not None:  # as `evaluate` gives them to the judge
        of_lane = jax.tree.map(lambda leaf: leaf[0], params)
    for batch in evaluated:
        needed.append((run.evaluate, params, batch))
        if run.write is not None:
            needed.append((run.write, of_lane, batch["source"], batch["source_lengths"]))
    return [(number, len(needed), *one) for number, one in enumerate(needed, 1)]


def _run(run: programs.Programs, state, chunk: list[dict[str, np.ndarray]]):
    """(state, metrics) after the steps of a chunk, whose results are not waited for."""
    parts = []
    for batches in chunk:
        state, sums = run.run_chunk(state, batches)
        parts.append(sums)
    return state, parts


def _wait(parts: list[programs.Metrics]) -> dict:
    """The metrics of a chunk on the host, with one leading axis of steps."""
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *jax.device_get(parts))


def _all_finite(sums: programs.Metrics) -> bool:
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(sums))
