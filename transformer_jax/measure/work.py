"""What is measured: how much of a model, doing what, on sequences of which shape."""

from dataclasses import dataclass
from typing import Literal

from transformer_jax.config import MIXERS, Config, MeasureConfig, ModelConfig, Shape

Level = Literal["op", "block", "model"]
Phase = Literal["forward", "train", "decode"]
Matching = Literal["width", "params", "flops"]
NO_STEP_READS = (
    "task.name", "task.workers", "model.encoder_layers",
    "train.num_steps", "train.label_smoothing", "train.micro_batches", "train.lanes", "train.lane_lrs",
    "train.same_seed",
    "train.chunk_steps", "train.eval_every", "train.checkpoint_every", "train.nan_policy",
    "train.keep_last", "train.best", "train.patience",
)  # fmt: skip
"""Keys of the config that change nothing of one step on random tokens: a whole training reads them."""
NO_COST = (
    "train.seed", "train.peak_lr", "train.warmup_steps", "train.final_lr_fraction", "train.beta2",
    "train.weight_decay", "train.clip_norm", "model.embedding_scale",
)  # fmt: skip
"""Keys that change numbers with which a step computes, and not what it costs."""


@dataclass(frozen=True)
class Matched(MeasureConfig):
    """The axis of an experiment whose recurrences are made comparable with attention."""

    matching: Matching = "params"
    """What a recurrence shares with the attention model of the same config: width, parameters or training FLOPs."""


@dataclass(frozen=True)
class Work:
    """One step of a config's model on `task.batch_size` sequences of `shape.seq_len` steps.

    level: the op that mixes time steps alone, one block, or the whole model.
    phase: a forward pass, a training step (forward, backward and, but for the op, AdamW), or one decoding step of the
      whole model with a context of `shape.seq_len` steps.
    """

    config: Config
    shape: Shape
    level: Level = "model"
    phase: Phase = "train"

    @property
    def batch_size(self) -> int:
        return self.config.task.batch_size

    @property
    def steps(self) -> int:
        """Time steps that are computed."""
        return 1 if self.phase == "decode" else self.shape.seq_len

    @property
    def context(self) -> int:
        """Time steps that they may look at."""
        return self.shape.seq_len


def next_token(config: Config) -> Shape:
    """The shape of a language model on random tokens, the task of a cost measurement."""
    return Shape(config.task.seq_len, outputs=config.task.vocab_size, vocab_size=config.task.vocab_size)


def form(model: ModelConfig) -> str:
    """The implementation that the config asks of its mixer: the one of the two keys that the mixer reads."""
    return next(getattr(model, key) for key in ("attention", "recurrence") if key in MIXERS[model.mixer].reads)
