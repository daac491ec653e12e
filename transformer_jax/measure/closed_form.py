"""Matrix-multiplication FLOPs and parameter counts written from the formulas, without running or tracing anything.

A multiply-add is two FLOPs; element-wise work (softmax, gates, norms) is not counted here. One block over T steps of
width D with an MLP of 4 D costs 24 T D^2 + 4 T^2 D forward (Kaplan et al. 2020, arXiv 2001.08361, with attention's
own term kept), an LSTM layer 16 T D^2 where attention has 8 T D^2 + 4 T^2 D.
"""

import math

import jax

from transformer_jax.config import Config, ModelConfig
from transformer_jax.ops.attention import choose
from transformer_jax.ops.blockwise import visited_scores
from transformer_jax.ops.recurrence import RECURRENCE


def matmul_flops(config: Config) -> int:
    """FLOPs of one step of `config.measure` (its level and phase) over the whole batch.

    Training counts the backward pass: twice the forward of every matmul, plus what the attention implementation
    recomputes. A decoding step reads one token with `task.seq_len` steps of context.
    """
    level, phase = config.measure.level, config.measure.phase
    forward, backward = _flops(config, level)
    total = forward + (backward if phase == "train" else 0)
    if phase == "train" and config.model.remat and level == "model":
        # a block's last matmul is not needed to differentiate it, so it is not recomputed
        last = 2 * config.task.seq_len * config.model.d_model * config.model.mlp_width
        total += config.model.num_layers * (_flops(config, "block")[0] - last)
    return total * config.task.batch_size


def implementation(config: Config) -> str | None:
    """The attention implementation that runs: what `auto` takes on this platform. None for a recurrence.

    Decoding has a form of its own, `next_step`, whatever the config names.
    """
    model, (steps, context) = config.model, _lengths(config)
    if model.mixer == "attention" and config.measure.phase == "decode":
        return "next_step"
    if model.mixer != "attention" or model.attention != "auto":
        return model.attention if model.mixer == "attention" else None
    dtype = jax.numpy.dtype(model.dtype)
    q = jax.ShapeDtypeStruct((config.task.batch_size, steps, model.num_heads, model.width_per_head), dtype)
    k = jax.ShapeDtypeStruct((config.task.batch_size, context, model.kv_heads, model.width_per_head), dtype)
    return choose(q, k, causal=steps > 1)


def _lengths(config: Config) -> tuple[int, int]:
    """Steps that are computed, and steps that they may look at."""
    return (1 if config.measure.phase == "decode" else config.task.seq_len), config.task.seq_len


def _flops(config: Config, level: str) -> tuple[int, int]:
    """Forward and backward FLOPs of one sequence."""
    model, (steps, _) = config.model, _lengths(config)
    op, op_backward = _mixer_op(config)
    if level == "op":
        return op, op_backward
    dense = 2 * steps * (_projection_weights(model) + 2 * model.d_model * model.mlp_width)
    block, block_backward = op + dense, op_backward + 2 * dense
    if level == "block":
        return block, block_backward
    # a pooled head answers once a sequence; a vector's projection has no gradient with respect to its input
    answers, outputs = (steps, model.vocab_size) if model.num_classes is None else (1, model.num_classes)
    head = 2 * answers * model.d_model * outputs
    vectors = 0 if model.input_dim is None else 2 * steps * model.input_dim * model.d_model
    return model.num_layers * block + head + vectors, model.num_layers * block_backward + 2 * head + vectors


def _mixer_op(config: Config) -> tuple[int, int]:
    """What touches more than one time step: QKᵀ and PV, or the recurrent matmul of every step."""
    model, (steps, context) = config.model, _lengths(config)
    if model.mixer == "attention":
        one_pass = 2 * model.num_heads * model.width_per_head  # one matmul, per score
        # forward are QKᵀ and PV; backward dP, dQ, dK and dV, and blockwise QKᵀ once more
        if implementation(config) == "blockwise":
            group = model.num_heads // model.kv_heads
            scores = visited_scores(steps, context, causal=steps > 1, group=group)  # decoding masks the cache instead
            return 2 * one_pass * scores, 5 * one_pass * scores
        return 2 * one_pass * steps * context, 4 * one_pass * steps * context
    recurrence = RECURRENCE[model.mixer]
    matrices = [shape for shape in recurrence.weights(model.state_width).values() if len(shape) == 2]
    recurrent = 2 * steps * sum(map(math.prod, matrices))
    return recurrent, 2 * recurrent + recurrence.recomputed_gates * 2 * steps * model.state_width**2


def _projection_weights(model: ModelConfig) -> int:
    """Entries of the matrices that a mixer applies to each step alone."""
    if model.mixer == "attention":
        queries_and_output = 2 * model.d_model * model.num_heads * model.width_per_head
        return queries_and_output + 2 * model.d_model * model.kv_heads * model.width_per_head
    out = 0 if model.recurrent_dim is None else model.state_width * model.d_model
    return model.d_model * RECURRENCE[model.mixer].num_gates * model.state_width + out


def num_params(model: ModelConfig, level: str = "model") -> int:
    """Parameters of the whole model or of one block; the op alone has only a recurrence's own weights."""
    recurrent = _recurrent_params(model)
    if level == "op":
        return recurrent
    if model.mixer == "attention":
        biases = (model.num_heads + 2 * model.kv_heads) * model.width_per_head + model.d_model
    else:
        out_bias = 0 if model.recurrent_dim is None else model.d_model
        biases = RECURRENCE[model.mixer].num_gates * model.state_width + out_bias
    mlp = 2 * model.d_model * model.mlp_width + model.mlp_width + model.d_model
    norms = 4 * model.d_model
    block = _projection_weights(model) + biases + recurrent + mlp + norms
    if level == "block":
        return block
    embedding = (model.vocab_size if model.input_dim is None else model.input_dim + 1) * model.d_model
    outputs = model.vocab_size if model.num_classes is None else model.num_classes
    positions = model.max_len * model.d_model if model.position == "learned" else 0
    norm_out = 2 * model.d_model if model.norm == "pre" else 0
    tied = model.tie_embeddings and model.num_classes is None
    head = 0 if tied else (model.d_model + 1) * outputs
    return embedding + positions + model.num_layers * block + norm_out + head


def _recurrent_params(model: ModelConfig) -> int:
    if model.mixer == "attention":
        return 0
    return sum(map(math.prod, RECURRENCE[model.mixer].weights(model.state_width).values()))
