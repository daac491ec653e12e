"""Checkpoints: Orbax writes and commits them; a SHA-256 manifest in the commit says whether they are whole.

checkpoints/STEP/state          Orbax: parameters, optimizer state, step, key, anchor
checkpoints/STEP/meta           config, versions, position in the data, files, leaves, score (JSON)
checkpoints/STEP/manifest.json  the SHA-256 of every file; written before the rename that commits the step,
                                because Orbax restores flipped bytes without an error
"""

import json
import logging
import math
import shutil
import warnings
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, CustomSteps, LatestN

from transformer_jax.config import ConfigError, nearest
from transformer_jax.host.provenance import versions
from transformer_jax.train import leaves, manifest

META = "meta/metadata"
FORMAT = 2
EARLIER = "was written by an earlier version of this code: train again, or check out that version"

BY_NAME = ("latest", "best")
AVERAGE = "average"
_TEMPORARY = ".orbax-checkpoint-tmp"
_REMOVED = "removed"  # a step moves there in one rename before its files go, so that no step is ever there in part

# Orbax warns of every step that is saved without a score; a run that was asked to stop has none.
logging.getLogger("absl").addFilter(lambda record: "tracked_metric" not in record.getMessage())


class CheckpointError(OSError):
    """A checkpoint that is damaged, missing, or of another model: the message names step, file or leaf."""


class Checkpoints:
    """The checkpoints of one run: saved in the background, newest and best kept, verified when read.

    Any number of processes may read while one writes; the one that writes enters it with `with`.
    """

    def __init__(self, folder: Path, *, keep_last: int = 1, every: int = 1):
        """Of the steps that `every` divides the newest `keep_last` are kept; the others are of stops, or of an end."""
        self.folder, self._keep_last, self._every = folder.absolute(), keep_last, every
        # Orbax copies and plans for longer than a step takes before it goes on in the background by itself
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._saving: Future | None = None

    def __enter__(self):
        """Removes what a killed save left behind; a reader must not, it may be what another process is saving."""
        for leftover in (*self.folder.glob(f"*{_TEMPORARY}*"), *self.folder.glob(_REMOVED)):
            shutil.rmtree(leftover)
        return self

    def __exit__(self, kind, *_):
        try:
            self.wait()
        except Exception:  # an earlier error is on its way up: that one is to be seen
            if kind is None:
                raise
        finally:
            self._thread.shutdown()

    def steps(self) -> list[int]:
        """The committed steps, oldest first."""
        return sorted(int(path.name) for path in self.folder.glob("[0-9]*") if path.name.isdigit())

    def regular(self) -> list[int]:
        """The newest `keep_last` of the steps that `every` divides, oldest first: an unbroken run has them as well."""
        return [step for step in self.steps() if step % self._every == 0][-self._keep_last :]

    def best(self) -> int | None:
        """The step with the highest score, None if none has one."""
        known = {}
        for step in self.steps():
            try:
                known[step] = self.meta(step)["score"]
            except CheckpointError:
                if step in self.steps():
                    raise  # else a run that goes on has removed it just now
        known = {step: score for step, score in known.items() if score is not None}
        return max(known, key=known.get) if known else None

    def find(self, which: str) -> int:
        """The step that "latest", "best" or a number names; without a best one "best" is the latest.

        Raises:
          ConfigError: not a name or a number, or there is no such step.
        """
        steps = self.steps()
        if not steps:
            raise ConfigError(
                f"{self.folder} holds no checkpoint: its run has not saved one yet, or ended before it did"
            )
        if not which.isdigit() and which not in BY_NAME:
            near = nearest(which, (*BY_NAME, AVERAGE))
            raise ConfigError(f"a checkpoint is latest, best, {AVERAGE} or a step, not {which!r}{near}")
        if which.isdigit() and int(which) in steps:
            return int(which)
        if which not in BY_NAME:
            held = ", ".join(map(str, steps))
            raise ConfigError(f"{self.folder} holds no checkpoint {which!r}: latest, best or one of {held}")
        best = self.best() if which == "best" else None
        return steps[-1] if best is None else best

    def save(self, step: int, state: Any, *, meta: dict, score: float | None) -> None:
        """Starts to save a copy of the state. A step that is there already is left alone.

        The step with the highest `score` is the best; None, NaN and infinity never are. An error of the save before
        this one is raised here, or by `wait`.
        """
        self.wait()
        if step in self.steps():
            return
        finite = score is not None and math.isfinite(score)
        meta = meta | {"format": FORMAT, "versions": versions(), "score": score if finite else None}
        copied = _copy(state)  # the next step takes the buffers of the one that was given
        self._saving = self._thread.submit(self._save, step, copied, meta)

    def _save(self, step: int, state: Any, meta: dict) -> None:
        meta = meta | {"leaves": leaves.describe(state)}
        items = ocp.args.Composite(state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(meta))
        with self._open(step) as manager:
            manager.save(step, args=items, metrics=None if meta["score"] is None else {"score": meta["score"]})
        shutil.rmtree(self.folder / _REMOVED, ignore_errors=True)  # if not now, then at the next start

    def prepare(self, state: Any) -> None:
        """Compiles what `save` runs before it returns, so that the first save takes no longer than the others."""
        _copy.lower(state).compile()

    def check(self) -> None:
        """Raises what went wrong with the last save if it has ended; waits for nothing."""
        if self._saving is not None and self._saving.done():
            self.wait()

    def wait(self) -> None:
        """Returns when the last save is committed; raises what went wrong with it."""
        saving, self._saving = self._saving, None
        if saving is not None:
            saving.result()

    def restore(self, step: int, target: Any) -> tuple[Any, dict]:
        """(state, meta) of a step. `target` has the leaves' shapes, dtypes and, for other devices, shardings.

        Raises:
          CheckpointError: a file is missing or changed, or the leaves are not those of `target`; nothing is
            restored then.
        """
        self._verify(step)
        meta = self.meta(step)
        if differences := leaves.differences(meta["leaves"], leaves.describe(target)):
            raise CheckpointError(f"checkpoint {step} is of another model: {'; '.join(differences)}")
        now = versions()
        changed = [f"{k} {v} (now {now.get(k)})" for k, v in meta["versions"].items() if v != now.get(k)]
        if changed:
            warnings.warn(
                f"checkpoint {step} was written with {', '.join(changed)}: what follows need not be"
                " bit-identical to an unbroken run",
                stacklevel=2,
            )
        with ocp.StandardCheckpointer() as checkpointer:
            try:
                state = checkpointer.restore(self.folder / str(step) / "state", leaves.placed(target))
            except Exception as error:
                reason = str(error).partition("\n")[0][:300]
                raise CheckpointError(f"checkpoint {step} cannot be restored: {reason}") from error
        return state, meta

    def restore_newest(
        self,
        target: Any,
        allow_fallback: bool = False,
        regular: bool = False,
        note: Callable[[str], None] = warnings.warn,
    ) -> tuple[Any, dict] | None:
        """The newest step's (state, meta), or None where there is no step.

        With `allow_fallback` the newest that can be restored; once it is, the damaged ones are put aside, which `note`
        is called with. With `regular` those that `every` divides are looked at alone.

        Raises:
          CheckpointError: as `restore`; without `allow_fallback`, or where no step can be restored. Nothing has moved
            then.
        """
        failures: dict[int, CheckpointError] = {}
        for step in reversed([step for step in self.steps() if not regular or step % self._every == 0]):
            try:
                found = self.restore(step, target)
            except CheckpointError as error:
                failures[step] = error
                if allow_fallback:
                    continue
                break
            for step, failure in failures.items():
                aside = self.folder.with_name(f"damaged-checkpoint-{step}")
                shutil.rmtree(aside, ignore_errors=True)
                (self.folder / str(step)).rename(aside)
                note(f"{failure}; it is now {aside.name}, and an older one is used")
            return found
        if failures:
            newest, failure = next(iter(failures.items()))
            instead = "there is no older one to go on from: train anew in another --out, or remove that folder"
            if not allow_fallback and (older := [step for step in self.whole() if step < newest]):
                instead = f"--allow-fallback goes on from checkpoint {older[-1]}"
            raise CheckpointError(f"{self.folder}: {failure}; {instead}")
        return None

    def whole(self) -> list[int]:
        """The steps whose files are what was written, oldest first."""
        return [step for step in self.steps() if not manifest.damage(self.folder / str(step))]

    def restore_average(self, target: Any) -> tuple[list[int], Any]:
        """(the `regular` steps, the mean of their parameters): bit for bit what an unbroken run gives.

        Raises:
          ConfigError: there is no such step.
          CheckpointError: as `restore`.
        """
        steps, divides = self.regular(), f"train.checkpoint_every={self._every} divides"
        if not steps:
            raise ConfigError(f"{self.folder} holds no checkpoint of a step that {divides}: nothing to average")
        return steps, leaves.mean(self.restore(step, target)[0].params for step in steps)

    def remove_between(self) -> None:
        """Removes the steps that `every` does not divide: of stops; an unbroken run saves nothing there."""
        for step in self.steps():
            if step % self._every:
                (self.folder / _REMOVED).mkdir(exist_ok=True)
                (self.folder / str(step)).rename(self.folder / _REMOVED / str(step))
        shutil.rmtree(self.folder / _REMOVED, ignore_errors=True)

    def meta(self, step: int) -> dict:
        """What was recorded beside the state.

        Raises:
          CheckpointError: it is not what was written, or has another format than this code's.
        """
        self._verify(step, only=META)
        try:
            found = json.loads((self.folder / str(step) / META).read_text())
        except OSError as error:  # a run that goes on has removed the step
            raise CheckpointError(f"checkpoint {step}: {META} cannot be read ({error})") from None
        if found["format"] != FORMAT:
            reason = EARLIER if found["format"] < FORMAT else "was written by a later version of this code"
            raise CheckpointError(
                f"checkpoint {step} has format {found['format']}, this code reads {FORMAT}: it {reason}"
            )
        return found

    def _open(self, step: int) -> ocp.CheckpointManager:
        """What saves a step and removes those that are kept no longer."""

        def score(metrics):
            return metrics["score"]

        regular = [*self.regular(), *([] if step % self._every else [step])][-self._keep_last :]
        best = BestN(get_metric_fn=score, n=1, keep_checkpoints_without_metrics=False)
        kept = [LatestN(1), CustomSteps(regular), best]
        options = ocp.CheckpointManagerOptions(
            preservation_policy=AnyPreservationPolicy(kept),
            todelete_subdir=_REMOVED,
            best_fn=score,  # without it the metrics are not written, and the next save does not know them
            async_options=ocp.AsyncOptions(post_finalization_callback=self._write_manifest),
        )
        return ocp.CheckpointManager(self.folder, options=options)

    def _write_manifest(self) -> None:
        """Called by Orbax when all files of a step are written, and before it renames their folder."""
        (folder,) = self.folder.glob(f"*{_TEMPORARY}*")
        manifest.write(folder)

    def _verify(self, step: int, only: str | None = None) -> None:
        if damage := manifest.damage(self.folder / str(step), only):
            raise CheckpointError(f"checkpoint {step} is damaged: {', '.join(damage)}")


@jax.jit
def _copy(state: Any) -> Any:
    return jax.tree.map(jnp.copy, state)
