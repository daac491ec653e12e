"""What is measured computes what it says, reads everything as arguments, and costs what it should."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from transformer_jax.config import Config, ModelConfig, TaskConfig, with_overrides
from transformer_jax.measure import flops, programs
from transformer_jax.train.state import TrainState

BASE = Config(ModelConfig(d_model=8, num_heads=2, num_layers=2, vocab_size=9), TaskConfig(seq_len=6, batch_size=3))


def run(**overrides):
    config = with_overrides(BASE, {key.replace("__", "."): value for key, value in overrides.items()})
    program = programs.build(config)
    args = program.make_args()
    return program, args, program.fn(*args)


def norm(tree):
    return float(sum(jnp.sum(jnp.abs(leaf)) for leaf in jax.tree.leaves(tree)))


@pytest.mark.parametrize("mixer", ["attention", "lstm"])
def test_training_the_model_moves_every_parameter(mixer):
    program, (state, tokens), (after, metrics) = run(model__mixer=mixer)
    assert program.tokens == 18 and tokens.shape == (3, 7)
    assert isinstance(after, TrainState) and int(after.step) == 1
    loss_sum, weight = metrics["loss"]
    assert float(weight) == 18 and float(loss_sum / weight) == pytest.approx(np.log(9), rel=0.5)
    for before, moved in zip(jax.tree.leaves(state.params), jax.tree.leaves(after.params), strict=True):
        assert not np.array_equal(before, moved)


@pytest.mark.parametrize("mixer", ["attention", "gru"])
def test_training_a_block_has_the_gradient_of_its_input(mixer):
    _, (state, x, weight), (value, grad_x, after) = run(model__mixer=mixer, measure__level="block")
    assert grad_x.shape == x.shape == (3, 6, 8) and norm(grad_x) > 0 and np.isfinite(value)
    assert norm(jax.tree.map(jnp.subtract, state.params, after.params)) > 0


@pytest.mark.parametrize("mixer", ["attention", "rnn", "gru", "lstm", "min_gru"])
def test_the_op_alone(mixer):
    _, (inputs, weight), out = run(model__mixer=mixer, measure__level="op", measure__phase="forward")
    assert out.shape == weight.shape
    _, (inputs, _), (value, grads) = run(model__mixer=mixer, measure__level="op")
    assert jax.tree.structure(grads) == jax.tree.structure(inputs)
    np.testing.assert_allclose(value, jnp.sum(out * weight), rtol=1e-4)
    assert norm(grads[0]) > 0


@pytest.mark.parametrize("mixer", ["attention", "lstm"])
def test_decoding_reads_one_token_with_the_context_behind_it(mixer):
    program, (params, tokens, state), ((last, after), logits) = run(model__mixer=mixer, measure__phase="decode")
    assert program.tokens == 3 and tokens.shape == (3, 1) and logits.shape == (program.steps, 3, 9)
    assert int(state.index) == 5 and int(after.index) == 6
    np.testing.assert_array_equal(last[:, 0], logits[-1].argmax(-1))


@pytest.mark.parametrize("level", ["op", "block", "model"])
def test_nothing_measured_is_a_constant(level):
    """An input that the program closed over would be folded: then not the work is timed but a load."""
    program, args, _ = run(measure__level=level)
    for constant in jax.make_jaxpr(program.fn)(*args).consts:
        assert np.size(constant) <= 64


@pytest.mark.parametrize("mixer", ["rnn", "gru", "lstm", "min_gru"])
@pytest.mark.parametrize("num_layers", [1, 3])
def test_the_critical_path_of_a_model_is_one_loop_for_each_layer_and_direction(mixer, num_layers):
    config = with_overrides(BASE, {"model.mixer": mixer, "model.num_layers": num_layers})
    program = programs.build(config)
    assert flops.count(program.fn, *program.make_args()).sequential_depth == 2 * num_layers * config.task.seq_len
