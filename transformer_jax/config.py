"""What a run is: frozen dataclasses with their rules, one canonical JSON text, and the key made from it."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from transformer_jax.typed import ConfigError, at_least, check_types, flatten, nearest, require, with_overrides

__all__ = [
    "Config", "ConfigError", "MIXERS", "MeasureConfig", "Mixer", "ModelConfig", "Shape", "TaskConfig", "TrainConfig",
    "canonical_json", "content_key", "flatten", "from_flat", "misfits", "nearest", "unread", "with_overrides",
]  # fmt: skip

Attention = Literal["auto", "reference", "xla", "blockwise", "cudnn", "splash"]
Recurrence = Literal["auto", "sequential", "chunked", "associative", "cudnn"]
Position = Literal["auto", "sinusoidal", "learned", "rotary", "none"]
Score = Literal["auto", "scaled_dot", "dot", "cosine", "general", "additive"]
Forecaster = Literal["stack", "dlinear", "repeat_last"]


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


class Mixer(NamedTuple):
    """What the configuration knows of a mixer; `ops.mixers` knows the rest, under the same name."""

    reads: tuple[str, ...]
    """The keys of ModelConfig that other mixers do not read."""
    check: Callable[["ModelConfig"], None]
    """Raises ConfigError where the keys that it reads cannot be together."""
    sizes: Callable[["ModelConfig"], dict[str, int]]
    """The widths and counts from which its layer, its parameters and its FLOPs follow."""
    position: Position = "none"
    """The positions of a model that does not say which."""
    forms: tuple[str, ...] = ()
    """How a recurrence can be computed: only a linear one can be cut into parts that run side by side."""
    text: str = ""
    """One line for people."""


def _check_attention(model: "ModelConfig") -> None:
    require(
        model.head_dim is not None or model.d_model % model.num_heads == 0,
        f"model.d_model={model.d_model} is not divisible by model.num_heads={model.num_heads}:"
        " the heads share d_model equally (or set model.head_dim)",
    )
    sizes = _attention_sizes(model)
    require(
        model.num_heads % sizes["num_kv_heads"] == 0,
        f"model.num_heads={model.num_heads} is not a multiple of model.num_kv_heads={model.num_kv_heads}",
    )
    require(
        model.position != "rotary" or sizes["head_dim"] % 2 == 0,
        f"model.position=rotary turns pairs: the head's width {sizes['head_dim']} must be even",
    )
    require(
        "score" not in sizes or model.attention in ("auto", "reference"),
        f"model.attention={model.attention} computes model.score=scaled_dot alone, not {model.score}:"
        " take model.attention=reference, or auto",
    )


def _attention_sizes(model: "ModelConfig") -> dict[str, int | str]:
    score = {} if model.score in ("auto", "scaled_dot") else {"score": model.score}
    return score | {
        "num_heads": model.num_heads,
        "num_kv_heads": model.num_heads if model.num_kv_heads is None else model.num_kv_heads,
        "head_dim": model.d_model // model.num_heads if model.head_dim is None else model.head_dim,
    }


RECURRENT_SCORES = "auto", "additive", "general", "dot"
"""Bahdanau's and Luong's. `score` is in no mixer's `reads`: all read it, each its own values."""


def _check_recurrence(model: "ModelConfig") -> None:
    possible = ("auto", *MIXERS[model.mixer].forms)
    require(
        model.recurrence in possible,
        f"model.recurrence={model.recurrence}: {model.mixer} runs as {' or '.join(possible)}",
    )
    require(
        model.score in RECURRENT_SCORES,
        f"model.score={model.score}: a recurrent decoder attends by {' or '.join(RECURRENT_SCORES)};"
        " scaled_dot and cosine are attention's",
    )


def _recurrence_sizes(model: "ModelConfig") -> dict[str, int]:
    own_width, both = model.recurrent_dim is not None, model.bidirectional
    sizes = {"width": model.recurrent_dim if own_width else model.d_model, "project_out": own_width or both}
    return sizes | {"directions": 2} if both else sizes


def recurrent_mixer(*forms: str, text: str = "") -> Mixer:
    """The record of a recurrence that can run in the given forms."""
    return Mixer(
        ("recurrence", "recurrent_dim", "bidirectional"), _check_recurrence, _recurrence_sizes, forms=forms, text=text
    )


MIXERS: dict[str, Mixer] = {
    "attention": Mixer(
        ("attention", "num_heads", "num_kv_heads", "head_dim", "causal"),
        _check_attention,
        _attention_sizes,
        position="sinusoidal",
        text="Every step looks at every step before it: softmax(QKᵀ)V.",
    ),
    "rnn": recurrent_mixer("sequential", text="The plain recurrence: tanh of the input and the state before."),
    "gru": recurrent_mixer("sequential", text="Gated recurrent unit: two gates, one array of state."),
    "lstm": recurrent_mixer("sequential", "cudnn", text="Long short-term memory: three gates, two arrays of state."),
    "min_gru": recurrent_mixer(
        "sequential", "chunked", "associative", text="Linear in its state, so that it can run over time in parallel."
    ),
}


def unread(mixer: str) -> tuple[str, ...]:
    """The keys of ModelConfig that other mixers read and this one ignores."""
    own = MIXERS[mixer].reads
    return tuple(dict.fromkeys(key for other in MIXERS.values() for key in other.reads if key not in own))


@dataclass(frozen=True)
class ModelConfig:
    """Embedding (of tokens or vectors), `num_layers` x block(mixer, MLP), head; the task's Shape says the rest."""

    mixer: Literal[*MIXERS] = "attention"
    """What mixes time steps: attention or one of the recurrences."""
    attention: Attention = "auto"
    """Which implementation computes attention; recurrences ignore it."""
    recurrence: Recurrence = "auto"
    """How a recurrence runs over time; attention ignores it."""
    causal: bool = True
    """No position attends to a later one. Recurrences read from left to right in any case."""
    bidirectional: bool = False
    """A recurrence reads the sequence from both ends, with weights and a state of recurrent_dim each way, and projects
    both to d_model; attention ignores it: what it sees is causal's matter."""
    score: Score = "auto"
    """How a query and a key are compared; auto: scaled_dot in attention, additive (Bahdanau) in a recurrent decoder."""
    num_layers: int = 2
    """Blocks; 0: the embedding alone, where one sequence is read."""
    encoder_layers: int | None = None
    """Layers that read the source, where a task has one; None: num_layers."""
    d_model: int = 128
    """Width of the residual stream."""
    num_heads: int = 4
    num_kv_heads: int | None = None
    """Heads of keys and values (grouped-query attention); None: as many as num_heads."""
    head_dim: int | None = None
    """Width of one head; None: d_model / num_heads. Set it to sweep heads at a fixed width per head."""
    recurrent_dim: int | None = None
    """Width of a recurrence's state; None: d_model and no output projection."""
    mlp_dim: int | None = None
    """Width of the MLP; None: 4 * d_model."""
    max_len: int = 65536
    """The longest sequence that the model can address."""
    position: Position = "auto"
    """How order gets in; auto: sinusoidal for attention, none for recurrences, which know the order. Rotary acts
    inside attention and adds nothing elsewhere."""
    embedding_scale: float = 1.0
    """Standard deviation of the entries of a token's vector, and of a learned position's, before training. Small ones
    are learned sooner, as a step of AdamW or RMSprop does not depend on their size."""
    norm: Literal["pre", "post", "none"] = "pre"
    """Layer norm before each sublayer, after the residual sum (the 2017 paper), or nowhere."""
    residual: bool = True
    """A sublayer adds to what it read; False: what it gives stands in its place."""
    activation: Literal["gelu", "relu"] = "gelu"
    dropout_rate: float = 0.0
    """Dropout of the embedding and of what each sublayer adds."""
    pooling: Literal["mean", "max", "cls"] = "mean"
    """How a sequence becomes one vector where the task asks for one answer: the mean over steps, the largest of each
    entry, or what becomes of a learned vector before the first step. Padding never counts."""
    pooled_dropout_rate: float = 0.0
    """Dropout of that vector."""
    tie_embeddings: bool = False
    """Use the transposed token embedding as the head."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """What matrices are multiplied in; parameters stay float32."""
    forecaster: Forecaster = "stack"
    """What answers a forecast: the blocks over patches of the series, or DLinear (Zeng et al. 2023) or the last step
    repeated, which read no other key of the model but dtype. Other tasks take the stack alone."""
    patch_len: int = 16
    """Steps of a patch of a series that is forecast; other tasks ignore it."""
    patch_stride: int = 8
    """Steps from the beginning of one such patch to that of the next; other tasks ignore it."""
    scan_layers: bool = True
    """Compile one block and scan it over depth, so that compile time does not grow with num_layers."""
    remat: bool = False
    """Recompute each block's activations in the backward pass."""

    def __post_init__(self):
        check_types(self, "model")
        at_least(self, "model", "num_layers", 0)
        for name in ("d_model", "num_heads", "max_len", "patch_len", "patch_stride"):
            at_least(self, "model", name, 1)
        for name in ("num_kv_heads", "head_dim", "recurrent_dim", "mlp_dim", "encoder_layers"):
            if getattr(self, name) is not None:
                at_least(self, "model", name, 1)
        for name in ("dropout_rate", "pooled_dropout_rate"):
            rate = getattr(self, name)
            require(0.0 <= rate < 1.0, f"model.{name}={rate}: must lie in [0, 1)")
        scale = self.embedding_scale
        require(0 < scale < math.inf, f"model.embedding_scale={scale}: must be positive and finite")
        require(
            self.patch_stride <= self.patch_len,
            f"model.patch_stride={self.patch_stride} is more than model.patch_len={self.patch_len}: the steps between"
            " two patches would not be read",
        )
        MIXERS[self.mixer].check(self)

    @property
    def sizes(self) -> dict[str, int | str]:
        """The mixer's widths and counts: num_heads, num_kv_heads, head_dim, and a score other than scaled_dot; or
        width, project_out."""
        return MIXERS[self.mixer].sizes(self)

    @property
    def positions(self) -> str:
        """`position`, with the mixer's own in the place of "auto"."""
        return MIXERS[self.mixer].position if self.position == "auto" else self.position

    @property
    def mlp_width(self) -> int:
        return 4 * self.d_model if self.mlp_dim is None else self.mlp_dim

    @property
    def looks_ahead(self) -> bool:
        """A step's answer may depend on later steps: attention that is not causal, a recurrence from both ends."""
        reads = MIXERS[self.mixer].reads
        return (not self.causal and "causal" in reads) or (self.bidirectional and "bidirectional" in reads)

    @property
    def unread(self) -> tuple[str, ...]:
        """The keys that other mixers read and this one ignores."""
        return unread(self.mixer)


@dataclass(frozen=True)
class TaskConfig:
    """What the model is given."""

    seq_len: int = 256
    """Time steps of a sequence."""
    min_len: int | None = None
    """Shortest sequence drawn, of a generated task whose lengths may differ: they are uniform in min_len .. seq_len.
    None: all have seq_len."""
    batch_size: int = 4
    """Examples of a step, over all processes together."""
    name: str = "random_tokens"
    """Which data: a key of tasks.registry.TASKS, or the name of a prepared set of the user's own."""
    vocab_size: int = 256
    """Symbols of a generated task, or the most words or subwords that a text's vocabulary may hold."""
    tokens: Literal["characters", "subwords"] = "characters"
    """What a text that is to be continued is cut into; subwords are fitted on its training part, vocab_size of them.
    Other tasks ignore it."""
    num_items: int = 8
    """What a generated task asks to remember: symbols to copy, pairs to recall."""
    horizon: int = 96
    """Steps that a forecast answers, those after the seq_len that it reads; other tasks ignore it."""
    patch_size: int | None = None
    """Side of the square patches that an image is cut into, read as a sequence; other data ignore it."""
    patch_rows: int | None = None
    """In place of patch_size: a patch is so many whole rows of the image, 1 row by row; other data ignore it."""
    permute_patches: int | None = None
    """Seed of a fixed order in which the patches of every image are read, the same in all splits and runs; None: from
    left to right and from top to bottom. Other data ignore it."""
    batch_tokens: int | None = None
    """Tokens of a batch of bucketed texts, padding included, of the longer side where there are two; a batch of short
    texts then holds more of them. None: batch_size texts."""
    bucket_lengths: tuple[int, ...] = ()
    """Texts are padded to the smallest of these that holds them, or to seq_len; one compiled program each."""
    vectors: str | None = None
    """Text file of word vectors of width d_model (word2vec's or GloVe's format), from which the embedding of a task of
    words starts."""
    freeze_vectors: bool = True
    """They stay as they are; else they are trained further. Ignored without vectors."""
    data_dir: str | None = None
    """Folder of prepared sets; None: $TFDS_DATA_DIR, or ~/.cache/transformer_jax/data."""
    workers: int = 0
    """Processes that prepare batches ahead; the order of the data does not depend on them."""

    def __post_init__(self):
        check_types(self, "task")
        for name in ("seq_len", "batch_size", "vocab_size", "num_items", "horizon"):
            at_least(self, "task", name, 1)
        at_least(self, "task", "workers", 0)
        optional = ("min_len", 1), ("patch_size", 1), ("patch_rows", 1), ("batch_tokens", 1), ("permute_patches", 0)
        for name, least in optional:
            if getattr(self, name) is not None:
                at_least(self, "task", name, least)
        require(
            self.min_len is None or self.min_len <= self.seq_len,
            f"task.min_len={self.min_len} is more than task.seq_len={self.seq_len}, the longest sequence",
        )
        require(
            self.patch_size is None or self.patch_rows is None,
            f"task.patch_size={self.patch_size} and task.patch_rows={self.patch_rows}: patches are squares or whole"
            " rows, so set one of them (the other to none)",
        )
        object.__setattr__(self, "bucket_lengths", tuple(self.bucket_lengths))
        rising = all(a < b for a, b in zip((0, *self.bucket_lengths), self.bucket_lengths, strict=False))
        require(
            rising and all(length < self.seq_len for length in self.bucket_lengths),
            f"task.bucket_lengths={self.bucket_lengths}: must rise from above 0 to below task.seq_len={self.seq_len}",
        )


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
    """Steps that run on the device between two looks at them; the training log has a row for each chunk."""
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
            f" (for so short a run add --train.warmup-steps {self.num_steps // 10})",
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
