"""What a model is: its keys with their rules, and what each mixer reads of them."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from transformer_jax.typed import at_least, check_types, require

Attention = Literal["auto", "reference", "xla", "blockwise", "cudnn", "splash"]
Recurrence = Literal["auto", "sequential", "chunked", "associative", "cudnn"]
Position = Literal["auto", "sinusoidal", "learned", "rotary", "none"]
Score = Literal["auto", "scaled_dot", "dot", "cosine", "general", "additive"]
Classifier = Literal["stack", "perceptron"]
Forecaster = Literal["stack", "dlinear", "repeat_last"]


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
    """Standard deviation, before training, of the entries of a token's vector, a learned position's and that of
    pooling=cls. Small ones are learned sooner, as a step of AdamW or RMSprop does not depend on their size. Vectors
    from a file, and inputs that are vectors, keep theirs."""
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
    classifier: Classifier = "stack"
    """What chooses a class for images, or other sequences of vectors, whole: the blocks, or a multilayer perceptron
    that reads all steps at once, with num_layers hidden layers of d_model units; of the other keys of the model it
    reads activation and dtype alone. Other tasks take the stack."""
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
