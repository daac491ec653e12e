"""Attention with another score has the parameters and the matrix products that the formulas count."""

import jax
import pytest

from transformer_jax import models
from transformer_jax.config import Config, ModelConfig, Shape, TaskConfig
from transformer_jax.measure import flops, programs
from transformer_jax.measure.closed_form import implementation, matmul_flops, num_params
from transformer_jax.measure.work import Work
from transformer_jax.ops.scores import SCORES

SHAPE = Shape(9, 11, vocab_size=11)


@pytest.mark.parametrize("phase", ["train", "decode"])
@pytest.mark.parametrize("score", SCORES)
def test_parameters_and_matrix_products_are_counted(score, phase):
    sizes = dict(d_model=12, num_heads=4, num_kv_heads=2, head_dim=6, num_layers=3, mlp_dim=10, max_len=16)
    config = Config(ModelConfig(**sizes, score=score), TaskConfig(seq_len=9, batch_size=2))
    model = models.build(config.model, SHAPE)
    params = jax.eval_shape(model.init, jax.random.key(0))
    assert num_params(config.model, SHAPE) == sum(leaf.size for leaf in jax.tree.leaves(params))
    work = Work(config, SHAPE, phase=phase)
    assert implementation(work) == ("next_step" if (score, phase) == ("scaled_dot", "decode") else "reference")
    program = programs.build(work)
    counted = flops.count(program.fn, *jax.eval_shape(program.make_args)).matmul_flops
    assert matmul_flops(work) == counted / program.steps
