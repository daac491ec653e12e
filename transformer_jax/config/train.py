"""How a model is trained: the keys with their rules."""

import math
from dataclasses import dataclass
from typing import Literal

from transformer_jax.typed import at_least, check_types, require


@dataclass(frozen=True)
class TrainConfig:
    """How the parameters are updated, for how long, and what is kept on the way."""

    num_steps: int = 1000
    peak_lr: float = 3e-4
    warmup_steps: int = 0
    """Steps over which the learning rate rises from zero to its peak."""
    schedule: Literal["constant", "cosine", "linear", "inverse_sqrt"] = "constant"
    """The learning rate after the warm-up; inverse_sqrt: peak * sqrt(warmup_steps / step) (the 2017 paper)."""
    final_lr_fraction: float = 0.0
    """Where cosine and linear end, as a fraction of the peak."""
    optimizer: Literal["adamw", "rmsprop"] = "adamw"
    """AdamW, or RMSprop: the gradient divided by the root of its running mean square, without momentum, and as in
    Keras without a correction of its first steps. Weight decay, clipping and schedule are the same for both."""
    beta2: float = 0.999
    """How slowly Adam, or RMSprop, forgets squared gradients; usual for RMSprop is 0.9."""
    weight_decay: float = 0.1
    clip_norm: float = 1.0
    """Gradients are scaled down to this global norm."""
    label_smoothing: float = 0.0
    micro_batches: int = 1
    """A batch is worked through in so many parts, whose gradients are added: memory for time."""
    seed: int = 0
    lanes: int = 1
    """So many runs, with seeds seed, seed + 1, ..., trained side by side in one compiled step."""
    lane_lrs: tuple[float, ...] = ()
    """The peak learning rate of each lane; empty: peak_lr for all."""
    same_seed: bool = False
    """Every lane has the seed `seed`, so that lanes differ in their learning rate (lane_lrs) alone."""
    chunk_steps: int = 20
    """At most so many steps run on the device between two looks at them; the training log has a row for each chunk."""
    eval_every: int = 200
    """Steps between evaluations on the validation split."""
    checkpoint_every: int = 200
    keep_last: int = 1
    """So many of the newest checkpoints are kept, beside the best; evaluation can average their parameters."""
    patience: int | None = None
    """The run ends early after so many evaluations in a row of which none was better, by that metric which chooses the
    best checkpoint, than the best before them; None: it goes on to num_steps."""
    best: str | None = None
    """The validation metric that chooses the best checkpoint; None: the task's own."""
    nan_policy: Literal["stop", "skip", "rollback"] = "stop"
    """A loss or gradient that is not finite: end the run; leave that update out; or go back to the newest
    checkpoint and on with later data."""

    def __post_init__(self):
        check_types(self, "train")
        counts = "num_steps", "micro_batches", "lanes", "chunk_steps", "eval_every", "checkpoint_every", "keep_last"
        for name in counts:
            at_least(self, "train", name, 1)
        if self.patience is not None:
            at_least(self, "train", "patience", 1)
        for name in ("seed", "warmup_steps"):
            at_least(self, "train", name, 0)
        for name in ("peak_lr", "clip_norm"):
            value = getattr(self, name)
            require(value > 0 and math.isfinite(value), f"train.{name}={value}: must be positive and finite")
        for name in ("final_lr_fraction", "label_smoothing", "beta2"):
            value = getattr(self, name)
            require(0 <= value < 1, f"train.{name}={value}: must lie in [0, 1)")
        require(
            self.optimizer != "rmsprop" or self.beta2 <= 0.99,
            f"train.beta2={self.beta2}: the first steps of RMSprop, which nothing corrects, would be"
            f" {(1 - self.beta2) ** -0.5:.0f} times as long as later ones; usual is --train.beta2 0.9",
        )
        require(
            self.patience is None or self.checkpoint_every == self.eval_every,
            f"train.patience={self.patience} needs a checkpoint of every evaluation, or the best may not be saved:"
            f" train.checkpoint_every={self.checkpoint_every} must equal train.eval_every={self.eval_every}",
        )
        require(self.weight_decay >= 0, f"train.weight_decay={self.weight_decay}: must not be negative")
        require(
            self.warmup_steps < self.num_steps,
            f"train.warmup_steps={self.warmup_steps}: must be fewer than train.num_steps={self.num_steps}"
            f" (for so short a run add --train.warmup-steps {max(1, self.num_steps // 10)})",
        )
        require(
            self.schedule != "inverse_sqrt" or self.warmup_steps >= 1,
            "train.schedule=inverse_sqrt needs train.warmup_steps of at least 1: the learning rate is"
            " peak * sqrt(warmup_steps / step) after the warm-up (the 2017 paper takes 4000)",
        )
        require(
            self.checkpoint_every % self.eval_every == 0,
            f"train.checkpoint_every={self.checkpoint_every} is not a multiple of"
            f" train.eval_every={self.eval_every}: a checkpoint is evaluated, so that the best one is known",
        )
        require(
            len(self.lane_lrs) in (0, self.lanes) and all(0 < lr < math.inf for lr in self.lane_lrs),
            f"train.lane_lrs={list(self.lane_lrs)}: one positive number for each of train.lanes={self.lanes}",
        )
        require(
            not self.same_seed or len(set(self.lane_lrs)) == self.lanes,
            f"train.same_seed=True: train.lanes={self.lanes} of one seed are one run, unless each has a rate of its own"
            f" (train.lane_lrs={list(self.lane_lrs)})",
        )
