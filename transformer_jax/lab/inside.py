"""What a trained model makes of one text on the way: its tokens' vectors, and what they look at. Prints nothing."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from transformer_jax.config import ConfigError
from transformer_jax.lab import pictures, trained
from transformer_jax.report.plots import Figure

TOKENS = 24
"""Of a text, in the picture on a run's page."""


class Looked(NamedTuple):
    """One text inside a model of N layers and H heads."""

    tokens: list[str]
    """Of a model that pools with a learned first step, that step as well: <cls>."""
    vectors_NxLxD: np.ndarray
    """N + 1 of them: what the first block reads, and what each block gives."""
    weights_NxHxLxL: np.ndarray | None
    """None: its mixer has no attention."""


def look(
    folder: Path, build_task: trained.BuildTask, text: str, checkpoint: str = "best", data_dir: str | None = None
) -> Looked:
    """The text in a run's first lane; of a translation, in its encoder.

    Raises:
      ConfigError: the folder holds no run of a text, or the text is empty, too long or cannot be read.
      CheckpointError, FileNotFoundError: as `trained.evaluate`.
    """
    run = trained.restored(folder, build_task, checkpoint, data_dir)
    ids_L = _read(run.task, folder, text)
    if run.model.inspect is None:
        raise ConfigError(f"{folder} holds a model that cannot be looked into: {run.config.model.mixer} with a source")
    found = run.model.inspect(run.lanes[0], ids_L[None])
    weights = None if found.weights_NxHxBxLxL is None else np.asarray(found.weights_NxHxBxLxL[:, :, 0], np.float32)
    return Looked(_tokens(run, ids_L), np.asarray(found.vectors_NxBxLxD[:, 0], np.float32), weights)


def figures(folder: Path, build_task: trained.BuildTask) -> list[Figure]:
    """For a run's page, of its first lane's best checkpoint: learned positions beside sinusoidal ones; of the first
    tokens of the first validation text, what they look at and how alike they are; those that its model has."""
    run, found = trained.restored(folder, build_task), []
    if run.config.model.positions == "learned":
        found.append(pictures.learned(learned_positions(folder, build_task)))
    task = run.task
    if (task.translation is not None or task.encode is not None) and run.model.inspect is not None:
        batch = next(iter(task.evaluate("validation")))
        name = "inputs" if task.translation is None else "source"
        count = batch["lengths" if name == "inputs" else "source_lengths"][0] if "lengths" in batch else TOKENS
        ids_L = batch[name][0, : min(count, TOKENS)]
        looked = run.model.inspect(run.lanes[0], ids_L[None])
        if looked.weights_NxHxBxLxL is not None:
            weights = np.asarray(looked.weights_NxHxBxLxL[:, :, 0], np.float32)
            found.append(pictures.attention(weights, _tokens(run, ids_L)))
        vectors_NxLxD = np.asarray(looked.vectors_NxBxLxD[:, 0], np.float32)
        if len(vectors_NxLxD) > 1:  # else there is no block
            found.append(pictures.vectors(vectors_NxLxD, _tokens(run, ids_L)))
    return found


def learned_positions(folder: Path, build_task: trained.BuildTask, checkpoint: str = "best",
                      data_dir: str | None = None) -> np.ndarray:  # fmt: skip
    """(L, D): the table of a run's first lane, of the positions that its task has.

    Raises:
      ConfigError: the run has no learned positions.
      CheckpointError, FileNotFoundError: as `trained.evaluate`.
    """
    run = trained.restored(folder, build_task, checkpoint, data_dir)
    if run.config.model.positions != "learned":
        raise ConfigError(f"{folder}: model.position={run.config.model.positions}, and learned positions are drawn")
    table = run.lanes[0]["embedding"]["learned"]["embedding"]
    return np.asarray(table[: run.task.shape.seq_len], np.float32)


def _tokens(run: trained.Restored, ids_L: np.ndarray) -> list[str]:
    """The text of each id, and of the step that a model adds in front of them."""
    task, ids = run.task, ids_L.tolist()
    found = [task.decode([i]) for i in ids] if task.translation is None else task.translation.source_tokens(ids)
    return ["<cls>", *found] if task.shape.pooled and run.config.model.pooling == "cls" else list(found)


def _read(task: Any, folder: Path, text: str) -> np.ndarray:
    """The ids of a text."""
    if task.translation is None and task.encode is None:
        raise ConfigError(f"{folder} holds a run on {task.name}, which reads no text")
    try:
        if task.translation is not None:
            return task.translation.encode_source(text)
        ids_L = task.encode(text)
    except ValueError as error:
        raise ConfigError(f"--text: {error}") from None
    if not 1 <= len(ids_L) <= task.shape.seq_len:
        raise ConfigError(f"--text has {len(ids_L)} tokens: the model of {folder} reads 1 to {task.shape.seq_len}")
    return ids_L
