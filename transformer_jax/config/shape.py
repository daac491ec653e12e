"""What a task gives a model to read and asks of it, and where a model does not fit that."""

from typing import NamedTuple

from transformer_jax.config.model import MIXERS, ModelConfig


class Shape(NamedTuple):
    """What a task gives a model to read and what it asks of it: tasks say it, models are built from it."""

    seq_len: int
    """Steps of the longest input."""
    outputs: int
    """How many numbers answer: ids or classes to choose among, values to predict."""
    vocab_size: int | None = None
    """Token ids that an input may hold; None: inputs are vectors."""
    input_dim: int | None = None
    """Width of an input vector; None: inputs are tokens."""
    pooled: bool = False
    """One answer for a whole sequence; else one at every step."""
    source_len: int | None = None
    """Tokens of the longest source, another sequence that is read first; None: there is none."""
    source_vocab_size: int | None = None
    """Token ids that a source may hold. Where it is `vocab_size`, both sequences share one vocabulary."""
    horizon: int | None = None
    """Steps after the input that are answered, a forecast: inputs (B, seq_len, input_dim), outputs (B, horizon,
    input_dim). None: the answer is to what was read."""
    asked: int | None = None
    """How many steps of a sequence are answered, where its batch says which (`asked`); None: all."""


def misfits(model: ModelConfig, shape: Shape) -> list[str]:
    """What keeps a model from reading a shape or answering it: a sentence for each key; none: it can."""
    found = []
    if shape.seq_len > model.max_len:
        found.append(
            f"the task's sequences have up to {shape.seq_len} steps: longer than model.max_len={model.max_len},"
            " the longest sequence that the model can address"
        )
    if shape.source_len is not None and shape.source_len > model.max_len:
        found.append(
            f"the task's sources have up to {shape.source_len} tokens: longer than model.max_len={model.max_len},"
            " the longest sequence that the model can address"
        )
    found += _pooling_misfits(model, shape)
    if shape.source_len is not None and not model.num_layers:
        found.append("model.num_layers=0: without a layer nothing reads the task's source")
    if model.tie_embeddings and (shape.pooled or shape.vocab_size != shape.outputs):
        found.append(
            "model.tie_embeddings=True answers every step with a token of the input's vocabulary: this task has"
            f" vocab_size={shape.vocab_size}, outputs={shape.outputs}{' for a whole sequence' if shape.pooled else ''}"
        )
    if shape.horizon is None and model.forecaster != "stack":
        found.append(f"model.forecaster={model.forecaster} answers a forecast, and this task asks for none: take stack")
    if model.classifier != "stack" and (not shape.pooled or shape.input_dim is None):
        found.append(
            f"model.classifier={model.classifier} answers once to a sequence of vectors, an image say: this task asks"
            " something else, so take stack"
        )
    if shape.horizon is not None and model.forecaster == "stack" and shape.seq_len < model.patch_len:
        found.append(
            f"model.patch_len={model.patch_len} is more than the {shape.seq_len} steps of a series that are read"
            " (task.seq_len)"
        )
    return found


def _pooling_misfits(model: ModelConfig, shape: Shape) -> list[str]:
    if not shape.pooled:
        return [
            f"model.{name}={getattr(model, name)} is for tasks that ask for one answer a sequence: this one asks for"
            f" one at every step, so leave it at {default}"
            for name, default in (("pooling", "mean"), ("pooled_dropout_rate", 0.0))
            if getattr(model, name) != default
        ]
    if model.pooling == "cls" and not (model.looks_ahead and model.num_layers):
        ahead = "model.causal=False" if "causal" in MIXERS[model.mixer].reads else "model.bidirectional=True"
        return [f"model.pooling=cls reads a first step that must see all others: it needs {ahead}, and num_layers >= 1"]
    return []
