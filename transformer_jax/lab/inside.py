"""What a trained model makes of one text on the way: its tokens' vectors, and what they look at. Prints nothing."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from transformer_jax.config import ConfigError
from transformer_jax.lab import trained


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
    ids_L, tokens = _read(run.task, folder, text)
    if run.model.inspect is None:
        raise ConfigError(f"{folder} holds a model that cannot be looked into: {run.config.model.mixer} with a source")
    if run.task.shape.pooled and run.config.model.pooling == "cls":
        tokens = ["<cls>", *tokens]
    found = run.model.inspect(run.lanes[0], ids_L[None])
    weights = None if found.weights_NxHxBxLxL is None else np.asarray(found.weights_NxHxBxLxL[:, :, 0], np.float32)
    return Looked(tokens, np.asarray(found.vectors_NxBxLxD[:, 0], np.float32), weights)


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


def _read(task: Any, folder: Path, text: str) -> tuple[np.ndarray, list[str]]:
    """The ids of a text and the text of each."""
    if task.translation is None and task.encode is None:
        raise ConfigError(f"{folder} holds a run on {task.name}, which reads no text")
    try:
        if task.translation is not None:
            ids_L = task.translation.encode_source(text)
            return ids_L, task.translation.source_tokens(ids_L.tolist())
        ids_L = task.encode(text)
    except ValueError as error:
        raise ConfigError(f"--text: {error}") from None
    if not 1 <= len(ids_L) <= task.shape.seq_len:
        raise ConfigError(f"--text has {len(ids_L)} tokens: the model of {folder} reads 1 to {task.shape.seq_len}")
    return ids_L, [task.decode([i]) for i in ids_L.tolist()]
