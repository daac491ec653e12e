"""What is measured computes what it says, reads everything as arguments, and costs what it should."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from transformer_jax import models
from transformer_jax.config import Config, ModelConfig, TaskConfig, with_overrides
from transformer_jax.measure import flops, programs
from transformer_jax.measure.work import NO_STEP_READS, Work, next_token
from transformer_jax.tasks import keys
from transformer_jax.train.state import TrainState

BASE = Config(ModelConfig(d_model=8, num_heads=2, num_layers=2), TaskConfig(seq_len=6, batch_size=3, vocab_size=9))


def work(level="model", phase="train", **overrides):
    config = with_overrides(BASE, {key.replace("__", "."): value for key, value in overrides.items()})
    return Work(config, next_token(config), level, phase)


def run(*what, **overrides):
    program = programs.build(work(*what, **overrides))
    args = program.make_args()
    return program, args, program.fn(*args)


def norm(tree):
    return float(sum(jnp.sum(jnp.abs(leaf)) for leaf in jax.tree.leaves(tree)))


OTHER = {
    "task.name": "parity",
    "task.batch_size": 6, "task.num_items": 3, "task.patch_size": 2, "task.bucket_lengths": (2, 3),
    "task.permute_patches": 1, "task.data_dir": "x", "task.workers": 2, "task.vectors": "x",
    "task.freeze_vectors": False, "train.num_steps": 7, "train.label_smoothing": 0.5,
    "train.micro_batches": 2, "train.lanes": 3,
    "train.lane_lrs": (0.1, 0.2, 0.3), "train.same_seed": True, "train.chunk_steps": 3, "train.eval_every": 5,
    "train.checkpoint_every": 5,
    "train.nan_policy": "skip", "train.keep_last": 3, "train.best": "accuracy", "task.batch_tokens": 7,
    "model.encoder_layers": 3, "task.horizon": 7, "model.patch_len": 5, "model.patch_stride": 3,
    "task.pad": 2, "task.pixels": "unit", "train.patience": 2, "task.tokens": "subwords", "task.min_len": 2,
}  # fmt: skip


@pytest.mark.parametrize("what", [("op", "train"), ("block", "train"), ("model", "train"), ("model", "decode")])
def test_what_no_step_reads_changes_neither_program_nor_arguments(what):
    compiled, arguments = [], []
    # the batch must be even for micro-batches; patches are squares or rows, one of them
    known = {f"task.{field.name}" for field in dataclasses.fields(TaskConfig)}
    read = {"task.seq_len", "task.vocab_size"}  # by random_tokens, the task of a cost measurement
    assert {*OTHER, "task.patch_rows"} == {*NO_STEP_READS, *keys.FORECAST} | (known - read)
    for values in (OTHER, {"task.batch_size": 6}, {"task.batch_size": 6, "train.seed": 1}):
        program = programs.build(work(*what, **{key.replace(".", "__"): value for key, value in values.items()}))
        arguments.append(program.make_args())
        lowered = jax.jit(program.fn).lower(*arguments[-1])
        compiled.append(lowered.compile().cost_analysis() | {"text": lowered.as_text()})
    leaves = [[np.asarray(jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x)
               for x in jax.tree.leaves(args)] for args in arguments]  # fmt: skip
    assert all(np.array_equal(a, b) for a, b in zip(leaves[0], leaves[1], strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(leaves[0], leaves[2], strict=True))
    assert compiled[0] == compiled[1]


@pytest.mark.parametrize("mixer", ["attention", "lstm"])
def test_training_the_model_moves_every_parameter(mixer):
    program, (state, tokens), (after, metrics) = run(model__mixer=mixer)
    assert program.tokens == 18 and tokens.shape == (3, 7)
    assert isinstance(after, TrainState) and int(after.step) == 1
    assert set(metrics) == {"loss", "grad_norm"}  # what training logs beside them would be work of its own
    loss_sum, weight = metrics["loss"]
    assert float(weight) == 18 and float(loss_sum / weight) == pytest.approx(np.log(9), rel=0.5)
    for before, moved in zip(jax.tree.leaves(state.params), jax.tree.leaves(after.params), strict=True):
        assert not np.array_equal(before, moved)


@pytest.mark.parametrize("mixer", ["attention", "gru"])
def test_training_a_block_has_the_gradient_of_its_input(mixer):
    _, (state, x, weight), (value, grad_x, after) = run("block", model__mixer=mixer)
    assert grad_x.shape == x.shape == (3, 6, 8) and norm(grad_x) > 0 and np.isfinite(value)
    assert norm(jax.tree.map(jnp.subtract, state.params, after.params)) > 0


@pytest.mark.parametrize("mixer", ["attention", "rnn", "gru", "lstm", "min_gru"])
def test_the_op_alone(mixer):
    _, (inputs, weight), out = run("op", "forward", model__mixer=mixer)
    assert out.shape == weight.shape
    _, (inputs, _), (value, grads) = run("op", model__mixer=mixer)
    assert jax.tree.structure(grads) == jax.tree.structure(inputs)
    np.testing.assert_allclose(value, jnp.sum(out * weight), rtol=1e-4)
    assert norm(grads[0]) > 0


@pytest.mark.parametrize("mixer", ["attention", "lstm"])
def test_decoding_reads_one_token_with_the_context_behind_it(mixer):
    program, (params, tokens, state), ((last, after), logits) = run("model", "decode", model__mixer=mixer)
    assert program.tokens == 3 and tokens.shape == (3, 1) and logits.shape == (program.steps, 3, 9)
    assert int(state.index) == 5 and int(after.index) == 6
    np.testing.assert_array_equal(last[:, 0], logits[-1].argmax(-1))


@pytest.mark.parametrize("level", ["op", "block", "model"])
def test_nothing_measured_is_a_constant(level):
    """An input that the program closed over would be folded: then not the work is timed but a load."""
    program, args, _ = run(level)
    for constant in jax.make_jaxpr(program.fn)(*args).consts:
        assert np.size(constant) <= 64


@pytest.mark.parametrize("mixer", ["rnn", "gru", "lstm", "min_gru"])
@pytest.mark.parametrize("num_layers", [1, 3])
def test_the_critical_path_of_a_model_is_one_loop_for_each_layer_and_direction(mixer, num_layers):
    program = programs.build(work(model__mixer=mixer, model__num_layers=num_layers))
    assert flops.count(program.fn, *program.make_args()).sequential_depth == 2 * num_layers * BASE.task.seq_len


def test_the_loss_measured_is_the_loss_trained_on():
    """Cross-entropy of every next token, written out in NumPy."""
    _, (state, tokens), (_, metrics) = run()
    logits = np.asarray(models.build(BASE.model, next_token(BASE)).apply(state.params, tokens[:, :-1]), np.float64)
    chances = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = -np.log(np.take_along_axis(chances, np.asarray(tokens)[:, 1:, None], -1)).sum()
    np.testing.assert_allclose(metrics["loss"][0], expected, rtol=1e-5)


def test_attention_that_looks_ahead_is_measured_as_such():
    """By gradient of the op: the first output depends on the last value."""
    for causal in (True, False):
        program, ((q, k, v), weight), _ = run("op", "forward", model__causal=causal)
        _, pullback = jax.vjp(lambda v, fn=program.fn, q=q, k=k, weight=weight: fn((q, k, v), weight), v)
        (slope,) = pullback(jnp.zeros_like(weight).at[0, 0].set(1))
        assert np.any(np.asarray(slope)[0, -1]) == (not causal)
