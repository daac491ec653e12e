"""Matrix-multiplication FLOPs and parameter counts written from the formulas, without running or tracing anything.

A multiply-add is two FLOPs; element-wise work (softmax, gates, norms) is not counted here. One block over T steps of
width D with an MLP of 4 D costs 24 T D^2 + 4 T^2 D forward (Kaplan et al. 2020, arXiv 2001.08361, with attention's
own term kept), an LSTM layer 16 T D^2 where attention has 8 T D^2 + 4 T^2 D.
"""

import jax.numpy as jnp

from transformer_jax.config import MIXERS, Config, ConfigError, ModelConfig, Shape
from transformer_jax.measure.work import Level, Work, form
from transformer_jax.ops.mixers import Mixer, mixer


def record(model: ModelConfig) -> Mixer:
    """What `ops.mixers` knows of the model's mixer, in its sizes."""
    return mixer(model.mixer, **model.sizes)


def matmul_flops(work: Work) -> int:
    """FLOPs of one step over the whole batch.

    Training counts the backward pass: twice the forward of every matmul, plus what the attention implementation
    recomputes. A decoding step reads one token with `shape.seq_len` steps of context.
    """
    _demand_one_sequence(work.shape, "FLOPs")
    model, train = work.config.model, work.phase == "train"
    forward, backward = _flops(work, work.level)
    total = forward + (backward if train else 0)
    if train and model.remat and work.level == "model":
        # a block's last matmul is not needed to differentiate it, so it is not recomputed
        last = 2 * work.steps * model.d_model * model.mlp_width
        total += model.num_layers * (_flops(work, "block")[0] - last)
    return total * work.batch_size


def _demand_one_sequence(shape: Shape, what: str) -> None:
    if shape.source_len is not None:
        raise ConfigError(
            f"the closed form of {what} is that of one sequence: this task has a source as well"
            f" (source_len={shape.source_len}); `--matching params` counts parameters where there is one"
        )
    if shape.horizon is not None:
        raise ConfigError(
            f"the closed form of {what} is that of an answer to each step: this task asks for a forecast"
            f" (horizon={shape.horizon}); `--matching params` counts parameters of one as well"
        )


def implementation(work: Work) -> str | None:
    """The attention implementation that runs: what `auto` takes on this platform. None for a recurrence.

    Decoding has a form of its own, `next_step`, whatever the config names.
    """
    model = work.config.model
    sizes = work.batch_size, work.steps, work.context
    return record(model).implementation(form(model), *sizes, model.dtype, model.causal)


def refusal(work: Work) -> str | None:
    """Why the implementation that the config names cannot run on this platform; None: it can."""
    model = work.config.model
    sizes = work.batch_size, work.steps, work.context
    return record(model).refusal(form(model), *sizes, model.dtype, model.causal)


def require_runs(config: Config, shape: Shape) -> None:
    """Raises ConfigError where the implementation that the config names cannot run on this platform."""
    if reason := refusal(Work(config, shape)):
        key = "attention" if "attention" in MIXERS[config.model.mixer].reads else "recurrence"
        raise ConfigError(f"model.{key}={getattr(config.model, key)} cannot run here: {reason}")


def _has_cls(model: ModelConfig, shape: Shape) -> bool:
    """A learned step stands before the others."""
    return shape.pooled and model.pooling == "cls"


def _flops(work: Work, level: Level) -> tuple[int, int]:
    """Forward and backward FLOPs of one sequence."""
    model, shape = work.config.model, work.shape
    more = int(level == "model" and _has_cls(model, shape))
    steps = work.steps + more
    op, op_backward = record(model).flops(implementation(work), steps, work.context + more, model.causal)
    if level == "op":
        return op, op_backward
    dense = 2 * steps * (record(model).weights(model.d_model) + 2 * model.d_model * model.mlp_width)
    block, block_backward = op + dense, op_backward + 2 * dense
    if level == "block":
        return block, block_backward
    # a vector's projection has no gradient with respect to its input
    answered = 1 if shape.pooled else min(steps, shape.asked or steps)  # the head reads no other step
    head = 2 * answered * model.d_model * shape.outputs
    vectors = 0 if shape.input_dim is None else 2 * work.steps * shape.input_dim * model.d_model
    return model.num_layers * block + head + vectors, model.num_layers * block_backward + 2 * head + vectors


def sizes(config: Config, shape: Shape) -> dict[str, int]:
    """What a model costs without a clock: `parameters`, matmul FLOPs of a training step (`step_flops`), and what
    decoding keeps of one sequence of `shape.seq_len` steps (`state_bytes`)."""
    model = config.model
    kept = model.num_layers * record(model).remembered(shape.seq_len) * jnp.dtype(model.dtype).itemsize
    return {
        "parameters": num_params(model, shape),
        "step_flops": matmul_flops(Work(config, shape)),
        "state_bytes": kept,
    }


def num_params(model: ModelConfig, shape: Shape, level: Level = "model") -> int:
    """Parameters of the whole model or of one block; the op alone has only a recurrence's own weights."""
    _demand_one_sequence(shape, "parameters")
    own = record(model).num_params
    if level == "op":
        return own
    mixing = own + record(model).weights(model.d_model) + record(model).biases(model.d_model)
    mlp = 2 * model.d_model * model.mlp_width + model.mlp_width + model.d_model
    norms = 0 if model.norm == "none" else 4 * model.d_model
    block = mixing + mlp + norms
    if level == "block":
        return block
    embedding = (shape.vocab_size if shape.input_dim is None else shape.input_dim + 1) * model.d_model
    positions = model.max_len * model.d_model if model.positions == "learned" else 0
    cls = model.d_model * _has_cls(model, shape)
    norm_out = 2 * model.d_model if model.norm == "pre" else 0
    head = 0 if model.tie_embeddings else (model.d_model + 1) * shape.outputs
    return embedding + positions + cls + model.num_layers * block + norm_out + head
