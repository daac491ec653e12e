"""What a run is: frozen dataclasses, strict overrides, one canonical JSON text and the key made from it."""

import dataclasses
import difflib
import hashlib
import json
import math
import types
from dataclasses import dataclass, field
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

Attention = Literal["auto", "reference", "xla", "blockwise", "cudnn", "splash"]
Recurrence = Literal["auto", "sequential", "chunked", "associative", "cudnn"]
RECURRENCES = {
    "rnn": ("sequential",),
    "gru": ("sequential",),
    "lstm": ("sequential", "cudnn"),
    "min_gru": ("sequential", "chunked", "associative"),
}
"""How each recurrence can be computed: only a linear one can be cut into parts that run side by side."""
Mixer = Literal["attention", *RECURRENCES]
Level = Literal["op", "block", "model"]
Phase = Literal["forward", "train", "decode"]
Matching = Literal["width", "params", "flops"]
Peer = Literal["ours", "jax_nn", "linen", "nnx", "keras", "torch", "torch_compile"]


class ConfigError(ValueError):
    """A configuration that cannot be: the message says what, where, and the rule that it breaks."""


@dataclass(frozen=True)
class ModelConfig:
    """Embedding (of tokens or vectors), `num_layers` x block(mixer, MLP), head (per position or pooled)."""

    mixer: Mixer = "attention"
    """What mixes time steps: attention or one of the recurrences."""
    attention: Attention = "auto"
    """Which implementation computes attention; recurrences ignore it."""
    recurrence: Recurrence = "auto"
    """How a recurrence runs over time, by `RECURRENCES`; attention ignores it."""
    num_layers: int = 2
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
    vocab_size: int = 256
    input_dim: int | None = None
    """Width of one input vector (a flattened patch, say); None: inputs are tokens."""
    num_classes: int | None = None
    """One answer per sequence among so many, attention not causal; None: the next token at every position."""
    max_len: int = 65536
    """The longest sequence that the model can address."""
    position: Literal["sinusoidal", "learned", "rotary", "none"] = "sinusoidal"
    """How order gets in. Rotary acts inside attention; recurrences know the order anyway."""
    norm: Literal["pre", "post"] = "pre"
    """Layer norm before each sublayer, or after the residual sum (the 2017 paper)."""
    activation: Literal["gelu", "relu"] = "gelu"
    dropout_rate: float = 0.0
    tie_embeddings: bool = False
    """Use the transposed token embedding as the head."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """What matrices are multiplied in; parameters stay float32."""
    scan_layers: bool = True
    """Compile one block and scan it over depth, so that compile time does not grow with num_layers."""
    remat: bool = False
    """Recompute each block's activations in the backward pass."""

    def __post_init__(self):
        _check_types(self, "model")
        for name in ("num_layers", "d_model", "num_heads", "vocab_size", "max_len"):
            _at_least(self, "model", name, 1)
        for name in ("num_kv_heads", "head_dim", "recurrent_dim", "mlp_dim", "input_dim", "num_classes"):
            if getattr(self, name) is not None:
                _at_least(self, "model", name, 1)
        _require(
            0.0 <= self.dropout_rate < 1.0,
            f"model.dropout_rate={self.dropout_rate}: must lie in [0, 1)",
        )
        _require(
            self.input_dim is None or self.num_classes is not None,
            "model.input_dim is set, so inputs are vectors: set model.num_classes as well (only tokens are"
            " predicted position by position)",
        )
        if self.mixer != "attention":
            possible = ("auto", *RECURRENCES[self.mixer])
            _require(
                self.recurrence in possible,
                f"model.recurrence={self.recurrence}: {self.mixer} runs as {' or '.join(possible)}",
            )
            return
        _require(
            self.head_dim is not None or self.d_model % self.num_heads == 0,
            f"model.d_model={self.d_model} is not divisible by model.num_heads={self.num_heads}:"
            " the heads share d_model equally (or set model.head_dim)",
        )
        _require(
            self.num_heads % self.kv_heads == 0,
            f"model.num_heads={self.num_heads} is not a multiple of model.num_kv_heads={self.kv_heads}",
        )
        _require(
            self.position != "rotary" or self.width_per_head % 2 == 0,
            f"model.position=rotary turns pairs: the head's width {self.width_per_head} must be even",
        )

    @property
    def kv_heads(self) -> int:
        return self.num_heads if self.num_kv_heads is None else self.num_kv_heads

    @property
    def width_per_head(self) -> int:
        return self.d_model // self.num_heads if self.head_dim is None else self.head_dim

    @property
    def state_width(self) -> int:
        return self.d_model if self.recurrent_dim is None else self.recurrent_dim

    @property
    def mlp_width(self) -> int:
        return 4 * self.d_model if self.mlp_dim is None else self.mlp_dim


@dataclass(frozen=True)
class TaskConfig:
    """What the model is given."""

    seq_len: int = 256
    """Time steps of a sequence."""
    batch_size: int = 4
    """Examples of a step, over all processes together."""
    name: str = "random_tokens"
    """Which data: a key of transformer_jax.tasks.TASKS."""
    vocab_size: int = 256
    """Symbols of a generated task, or the most words that a text's vocabulary may hold."""
    num_items: int = 8
    """What a generated task asks to remember: symbols to copy, pairs to recall."""
    patch_size: int | None = None
    """Side of the square patches that an image is cut into, read as a sequence; None: whole images."""
    bucket_lengths: tuple[int, ...] = ()
    """Texts are padded to the smallest of these that holds them, or to seq_len; one compiled program each."""
    data_dir: str | None = None
    """Folder of prepared sets; None: $TFDS_DATA_DIR, or ~/.cache/transformer_jax/data."""
    workers: int = 0
    """Processes that prepare batches ahead; the order of the data does not depend on them."""

    def __post_init__(self):
        _check_types(self, "task")
        for name in ("seq_len", "batch_size", "vocab_size", "num_items"):
            _at_least(self, "task", name, 1)
        _at_least(self, "task", "workers", 0)
        if self.patch_size is not None:
            _at_least(self, "task", "patch_size", 1)
        object.__setattr__(self, "bucket_lengths", tuple(self.bucket_lengths))
        rising = all(a < b for a, b in zip((0, *self.bucket_lengths), self.bucket_lengths, strict=False))
        _require(
            rising and all(length < self.seq_len for length in self.bucket_lengths),
            f"task.bucket_lengths={self.bucket_lengths}: must rise from above 0 to below task.seq_len={self.seq_len}",
        )


@dataclass(frozen=True)
class TrainConfig:
    """How the parameters are updated (AdamW), for how long, and what is kept on the way."""

    num_steps: int = 1000
    peak_lr: float = 3e-4
    warmup_steps: int = 0
    """Steps over which the learning rate rises from zero to its peak."""
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    """The learning rate after the warm-up."""
    final_lr_fraction: float = 0.0
    """Where cosine and linear end, as a fraction of the peak."""
    beta2: float = 0.999
    """How slowly Adam forgets squared gradients."""
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
    chunk_steps: int = 20
    """Steps that run on the device between two looks at them; the training log has a row for each chunk."""
    eval_every: int = 200
    """Steps between evaluations on the validation split."""
    checkpoint_every: int = 200
    nan_policy: Literal["stop", "skip", "rollback"] = "stop"
    """A loss or gradient that is not finite: end the run; leave that update out; or go back to the newest
    checkpoint and on with later data."""

    def __post_init__(self):
        _check_types(self, "train")
        for name in ("num_steps", "micro_batches", "lanes", "chunk_steps", "eval_every", "checkpoint_every"):
            _at_least(self, "train", name, 1)
        for name in ("seed", "warmup_steps"):
            _at_least(self, "train", name, 0)
        for name in ("peak_lr", "clip_norm"):
            value = getattr(self, name)
            _require(value > 0 and math.isfinite(value), f"train.{name}={value}: must be positive and finite")
        for name in ("final_lr_fraction", "label_smoothing", "beta2"):
            value = getattr(self, name)
            _require(0 <= value < 1, f"train.{name}={value}: must lie in [0, 1)")
        _require(self.weight_decay >= 0, f"train.weight_decay={self.weight_decay}: must not be negative")
        _require(
            self.warmup_steps < self.num_steps,
            f"train.warmup_steps={self.warmup_steps}: must be fewer than train.num_steps={self.num_steps}"
            f" (for so short a run add --train.warmup-steps {self.num_steps // 10})",
        )
        _require(
            self.checkpoint_every % self.eval_every == 0,
            f"train.checkpoint_every={self.checkpoint_every} is not a multiple of"
            f" train.eval_every={self.eval_every}: a checkpoint is evaluated, so that the best one is known",
        )
        _require(
            len(self.lane_lrs) in (0, self.lanes) and all(0 < lr < math.inf for lr in self.lane_lrs),
            f"train.lane_lrs={list(self.lane_lrs)}: one positive number for each of train.lanes={self.lanes}",
        )


@dataclass(frozen=True)
class MeasureConfig:
    """What of the model is measured, and how long."""

    level: Level = "model"
    """The op that mixes time steps alone, one block, or the whole model."""
    phase: Phase = "train"
    """A forward pass, a full training step (forward, backward, AdamW), or one decoding step."""
    matching: Matching = "width"
    """What a recurrence shares with the attention model of the same config: width, parameters or FLOPs."""
    peer: Peer = "ours"
    """Whose implementation: ours, or another library's where the experiment compares them."""
    rounds: int = 5
    """How often each cell is sampled, interleaved with all others."""
    min_sample_seconds: float = 0.05
    """A sample repeats the step until it has lasted this long."""
    repeat: int = 0
    """Not 0: the same program measured again, so that a report knows how far it differs from itself."""

    def __post_init__(self):
        _check_types(self, "measure")
        _at_least(self, "measure", "rounds", 1)
        _at_least(self, "measure", "repeat", 0)
        _require(
            0 < self.min_sample_seconds < math.inf,
            f"measure.min_sample_seconds={self.min_sample_seconds}: must be positive and finite",
        )
        _require(
            self.phase != "decode" or self.level == "model",
            f"measure.phase=decode is measured on the whole model; measure.level={self.level} was given",
        )


@dataclass(frozen=True)
class Config:
    """Everything that decides what one run computes."""

    model: ModelConfig = field(default_factory=ModelConfig)
    task: TaskConfig = field(default_factory=TaskConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    measure: MeasureConfig = field(default_factory=MeasureConfig)

    def __post_init__(self):
        _require(
            self.task.seq_len <= self.model.max_len,
            f"task.seq_len={self.task.seq_len} is longer than model.max_len={self.model.max_len},"
            " the longest sequence that the model can address",
        )
        _require(
            self.model.recurrence != "cudnn" or self.model.mixer == "attention" or self.measure.level != "op",
            "model.recurrence=cudnn projects its input itself: measure.level=op, which starts after the projection,"
            " cannot be measured",
        )
        _require(
            self.task.batch_size % self.train.micro_batches == 0,
            f"train.micro_batches={self.train.micro_batches} does not divide task.batch_size={self.task.batch_size}",
        )


def flatten(config) -> dict[str, Any]:
    """The config as one flat dict of dotted keys, in declaration order."""
    return {
        f"{section.name}.{key}": value
        for section in dataclasses.fields(config)
        for key, value in vars(getattr(config, section.name)).items()
    }


def from_flat(flat: dict[str, Any]) -> Config:
    """The config that `flatten` gave; unknown keys raise ConfigError, missing ones take their defaults."""
    return with_overrides(Config(), flat)


def with_overrides(config: Config, overrides: dict[str, Any]) -> Config:
    """A copy with dotted keys replaced, all at once.

    Raises:
      ConfigError: an unknown key (the nearest known one is named), a wrong type or an impossible value.
    """
    known = flatten(config)
    sections: dict[str, dict[str, Any]] = {}
    for key, value in overrides.items():
        if key not in known:
            raise ConfigError(f"unknown config key {key!r}{nearest(key, known)}")
        section, name = key.split(".")
        sections.setdefault(section, {})[name] = value
    return dataclasses.replace(
        config, **{s: dataclasses.replace(getattr(config, s), **changes) for s, changes in sections.items()}
    )


def canonical_json(config: Config, without: tuple[str, ...] = ()) -> str:
    """One text for one config: sorted dotted keys, no spaces; `without` leaves keys out."""
    flat = {k: v for k, v in flatten(config).items() if k not in without}
    return json.dumps(flat, sort_keys=True, separators=(",", ":"), allow_nan=False)


def content_key(*texts: str) -> str:
    """Sixteen hex digits that name the given texts (SHA-256, shortened)."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def nearest(word: str, known) -> str:
    """The end of an error message: the known words that look like `word`, or all of them (all of its section)."""

    def parts(text: str) -> tuple[str, str]:
        section, _, name = text.lstrip("-").replace("-", "_").rpartition(".")
        return section, name

    known, (section, name) = list(known), parts(word)
    among = [k for k in known if parts(k)[0] == section] or known
    alike = difflib.get_close_matches(name, [parts(k)[1] for k in among])
    close = [k for k in known if parts(k)[1] == name] or [k for k in among if parts(k)[1] in alike]
    if close:
        return f"; did you mean {' or '.join(close[:3])}?"
    return f"; known: {', '.join(among)}"


def _require(rule: bool, message: str) -> None:
    if not rule:
        raise ConfigError(message)


LARGEST = 2**31 - 1  # what JAX's integers hold


def _at_least(section, section_name: str, name: str, low: int) -> None:
    value = getattr(section, name)
    _require(value >= low, f"{section_name}.{name}={value}: must be at least {low}")
    _require(value <= LARGEST, f"{section_name}.{name}={value}: must be at most {LARGEST}")


def _check_types(section, section_name: str) -> None:
    """Dataclasses do not check types: a wrong one would surface as a crash inside a compile."""
    for name, hint in get_type_hints(type(section)).items():
        value = getattr(section, name)
        if not _fits(value, hint):
            raise ConfigError(f"{section_name}.{name}={value!r}: must be {_describe(hint)}{_hint(value, hint)}")
        if hint is float:
            object.__setattr__(section, name, float(value))
        if get_origin(hint) is tuple:  # JSON gives lists
            object.__setattr__(section, name, tuple(value))


def _fits(value, hint) -> bool:
    if get_origin(hint) in (Union, types.UnionType):
        return any(_fits(value, option) for option in get_args(hint))
    if get_origin(hint) is Literal:
        return isinstance(value, str) and value in get_args(hint)
    if get_origin(hint) is tuple:
        return isinstance(value, (tuple, list)) and all(_fits(v, get_args(hint)[0]) for v in value)
    if hint is types.NoneType:
        return value is None
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def _describe(hint) -> str:
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(_describe(option) for option in get_args(hint))
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(get_args(hint))
    return {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}.get(
        hint, "none" if hint is types.NoneType else str(hint)
    )


def _hint(value, hint) -> str:
    if get_origin(hint) is Literal and isinstance(value, str):
        close = difflib.get_close_matches(value, get_args(hint), n=1)
        return f"; did you mean {close[0]}?" if close else ""
    return ""
