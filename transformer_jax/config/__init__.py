"""What a run is: frozen dataclasses with their rules, one canonical JSON text, and the key made from it."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from transformer_jax.config.model import MIXERS, Mixer, ModelConfig, unread
from transformer_jax.config.shape import Shape, misfits
from transformer_jax.config.task import TaskConfig
from transformer_jax.config.train import TrainConfig
from transformer_jax.typed import ConfigError, at_least, check_types, flatten, nearest, require, with_overrides

__all__ = [
    "Config", "ConfigError", "MIXERS", "MeasureConfig", "Mixer", "ModelConfig", "Shape", "TaskConfig", "TrainConfig",
    "canonical_json", "content_key", "flatten", "from_flat", "misfits", "nearest", "unread", "with_overrides",
]  # fmt: skip

SAMPLING = ("measure.rounds", "measure.min_sample_seconds")
"""The keys that decide how a program is sampled, not which one it is."""


@dataclass(frozen=True)
class MeasureConfig:
    """How often each cell of an experiment is sampled. An experiment with axes of its own extends it."""

    rounds: int = 5
    """How often each cell is sampled, interleaved with all others, in a run that no budget ends."""
    min_sample_seconds: float = 0.06
    """A sample repeats the step until it has lasted this long."""

    def __post_init__(self):
        check_types(self, "measure")
        at_least(self, "measure", "rounds", 1)
        require(
            0 < self.min_sample_seconds < math.inf,
            f"measure.min_sample_seconds={self.min_sample_seconds}: must be positive and finite",
        )


@dataclass(frozen=True)
class Config:
    """Everything that decides what one run computes."""

    model: ModelConfig = field(default_factory=ModelConfig)
    task: TaskConfig = field(default_factory=TaskConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    measure: MeasureConfig = field(default_factory=MeasureConfig)

    ELSEWHERE = {elsewhere: here for here, names in {
        "peak_lr": ("lr", "learning_rate", "max_lr"),
        "num_steps": ("steps", "max_steps", "train_steps", "max_iters", "iterations", "epochs", "num_epochs"),
        "warmup_steps": ("warmup", "warmup_iters"),
        "clip_norm": ("grad_clip", "max_grad_norm", "gradient_clip_val"),
        "micro_batches": ("accumulation_steps", "gradient_accumulation_steps"),
        "eval_every": ("eval_steps", "eval_interval"),
        "checkpoint_every": ("save_steps", "save_every"),
        "d_model": ("hidden_size", "hidden_dim", "n_embd", "emb_dim", "embed_dim", "embedding_dim", "model_dim"),
        "num_layers": ("n_layer", "n_layers", "num_hidden_layers", "layers", "depth"),
        "num_heads": ("n_head", "n_heads", "nhead", "num_attention_heads", "heads"),
        "num_kv_heads": ("n_kv_heads", "num_key_value_heads"),
        "mlp_dim": ("d_ff", "ffn_dim", "ff_dim", "dim_feedforward", "intermediate_size"),
        "max_len": ("context_length", "block_size", "max_seq_len", "max_position_embeddings", "n_positions"),
        "dropout_rate": ("dropout", "dropout_prob", "p_dropout"),
        "tie_embeddings": ("weight_tying", "tie_weights"),
    }.items() for elsewhere in names}  # fmt: skip
    """What other libraries call the keys, for `nearest`: learning_rate is peak_lr here."""

    def __post_init__(self):
        require(
            self.task.seq_len <= self.model.max_len,
            f"task.seq_len={self.task.seq_len} is longer than model.max_len={self.model.max_len},"
            " the longest sequence that the model can address",
        )
        require(
            self.task.batch_size % self.train.micro_batches == 0,
            f"train.micro_batches={self.train.micro_batches} does not divide task.batch_size={self.task.batch_size}",
        )


def from_flat(flat: Mapping[str, Any]) -> Config:
    """The config that `flatten` gave; unknown keys raise ConfigError, missing ones take their defaults."""
    return with_overrides(Config(), flat)


def canonical_json(config: Config, without: tuple[str, ...] = ()) -> str:
    """One text for one config: sorted dotted keys, no spaces; `without` leaves keys out."""
    flat = {k: v for k, v in flatten(config).items() if k not in without}
    return json.dumps(flat, sort_keys=True, separators=(",", ":"), allow_nan=False)


def content_key(*texts: str) -> str:
    """Sixteen hex digits that name the given texts (SHA-256, shortened)."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
