"""Translations by what was trained in a folder: of a text, of a whole split; how its words look at each other's.

Prints nothing.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from transformer_jax.config import ConfigError
from transformer_jax.lab import trained
from transformer_jax.tasks import translation_quality as quality
from transformer_jax.tasks.sets import MissingData
from transformer_jax.tasks.task import Batch
from transformer_jax.train.decode import beam
from transformer_jax.train.evaluate import evaluate as evaluate_split

UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
"""Thai, Lao, Burmese, Khmer, Japanese and Chinese."""
LENGTH_PENALTY = 0.6
"""Of beam search: what Wu et al. and the transformer's authors chose."""


class Translation(NamedTuple):
    """A translation, and how much each of its tokens looked at each token of the source."""

    text: str
    source_tokens: list[str]
    target_tokens: list[str]
    weights_NxHxLxS: np.ndarray | None
    """By layer and head; None: it was not asked for."""
    unseen: list[str]
    """The words of the source that no source of the training pairs has."""


class Evaluation(NamedTuple):
    """What a saved step of a run reached on a split, and what its lanes wrote."""

    step: int
    lanes: list[dict[str, float]]
    written: list[quality.Written]


def check(size: int | None) -> None:
    """Raises ConfigError where no beam has that size."""
    if size is not None and size < 1:
        raise ConfigError(f"--beam {size}: a beam holds at least 1 hypothesis")


def translate(
    folder: Path,
    build_task: trained.BuildTask,
    text: str,
    *,
    size: int | None = None,
    checkpoint: str = "best",
    data_dir: str | None = None,
    alignment: bool = False,
) -> Translation:
    """The translation of a text by a run's first lane.

    Args:
      size: that of the beam; None: greedy.
      alignment: say what looked at what.

    Raises:
      ConfigError: the folder holds no run of a translation; the text is empty, too long or cannot be read; the size is
        below 1.
      CheckpointError, FileNotFoundError: as `trained.evaluate`.
    """
    run, translation = _restored(folder, build_task, size, checkpoint, data_dir)
    try:
        source_S = np.asarray(translation.encode_source(text), np.int32)
    except ValueError as error:
        raise ConfigError(f"--text: {error}") from None
    room = run.task.shape.source_len  # one shape for all texts
    batch = {"source": np.pad(source_S, (0, room - len(source_S)))[None], "source_lengths": np.array([len(source_S)])}
    end = run.task.objective.decoding.end
    ids_N = np.asarray(_writer(run, run.lanes[0], size)(batch)[0])
    ids_L = ids_N[: np.flatnonzero(ids_N == end)[0] + 1]
    weights = _alignment(run, source_S, ids_L) if alignment else None
    names = translation.source_tokens(source_S.tolist()), translation.target_tokens(ids_L.tolist())
    return Translation(translation.decode_target(ids_L.tolist()), *map(list, names), weights, _unseen(run.task, text))


def _unseen(task, text: str) -> list[str]:
    """The words of a text, each once, that no source of the training pairs has.

    Subwords have ids for any text. A vocabulary of words, for which a run keeps no file, has refused others; and a set
    that is gone says nothing.
    """
    if not task.files:
        return []
    try:
        seen = {word for source, _ in task.translation.pairs("train") for word in _words(source)}
    except MissingData:
        return []
    return [word for word in dict.fromkeys(_words(text)) if word not in seen]


def _words(text: str) -> list[str]:
    """In small letters; of scripts that put no space between words each character."""
    return re.findall(rf"[{UNSPACED}]|[^\W{UNSPACED}]+", text.casefold())


def evaluate(
    folder: Path,
    build_task: trained.BuildTask,
    split: str = "validation",
    checkpoint: str = "best",
    data_dir: str | None = None,
    *,
    size: int | None = None,
) -> Evaluation:
    """As `trained.evaluate`, for a translation, with the sentences that were written.

    Args:
      size: that of the beam; None: greedy, as in training.
    """
    run, translation = _restored(folder, build_task, size, checkpoint, data_dir)
    written = []

    def judge(params, batches):
        written.append(quality.written(_writer(run, params, size), batches, translation.decode_target))
        return quality.judged(written[-1])

    try:
        batches = run.task.evaluate(split)
    except ValueError as error:  # no such split
        raise ConfigError(str(error)) from None
    lanes = evaluate_split(run.run._replace(judge=judge), run.params, batches, run.task.objective)
    return Evaluation(run.step, lanes, written)


def as_tsv(task, split: str, written: list[tuple[str, quality.Written]]) -> str:
    """source, reference and what each system wrote, a line for each sentence of a split; names are those of systems."""
    pairs, first = task.translation.pairs(split), written[0][1]
    columns = {"source": [pairs[i][0] for i in first.index], "reference": first.references}
    columns |= {name: one.hypotheses for name, one in written}
    lines = [columns, *zip(*columns.values(), strict=True)]
    return "".join("\t".join(" ".join(cell.split()) for cell in line) + "\n" for line in lines)


def _restored(folder, build_task, size, checkpoint, data_dir):
    """What was restored, and how its texts become ids; all that can be a mistake is looked at before."""
    check(size)
    run = trained.restored(folder, build_task, checkpoint, data_dir)
    if run.task.translation is None:
        writes = run.task.encode is not None and run.model.initial_state is not None
        other = "; what a language model continues is given by --prompt" if writes else ""
        raise ConfigError(f"{folder} holds a run on {run.config.task.name}, which is not a translation{other}")
    return run, run.task.translation


def _writer(run: trained.Restored, params: Any, size: int | None) -> Callable[[Batch], np.ndarray]:
    def write(batch):
        source = batch["source"], batch["source_lengths"]
        if size is None:
            return jax.device_get(run.run.write(params, *source))
        decoding = run.task.objective.decoding
        return jax.device_get(beam(run.model, params, *source, decoding, size, LENGTH_PENALTY)[0][:, 0])

    return write


def _alignment(run: trained.Restored, source_S: np.ndarray, ids_L: np.ndarray) -> np.ndarray:
    """weights_NxHxLxS of the first lane while it wrote the ids."""
    begin = run.task.objective.decoding.begin
    inputs_L = np.array([begin, *ids_L[:-1]], np.int32)
    return np.asarray(run.model.alignment(run.lanes[0], inputs_L[None], source_S[None])[:, :, 0])
