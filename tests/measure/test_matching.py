"""A recurrent decoder with attention beside the encoder and decoder it is matched to; who refuses two sequences."""

import jax
import numpy as np
import pytest

from transformer_jax import models
from transformer_jax.config import Config, ConfigError, ModelConfig, Shape, with_overrides
from transformer_jax.measure import closed_form
from transformer_jax.measure.matching import TOLERANCE, matched
from transformer_jax.measure.work import Work

SHAPE = Shape(seq_len=12, outputs=90, vocab_size=90, source_len=14, source_vocab_size=70)
BASE = Config(ModelConfig(mixer="gru", d_model=48, num_heads=3, num_layers=2, encoder_layers=1))


def count(config):
    """From the arrays themselves."""
    params = jax.eval_shape(models.build(config.model, SHAPE).init, jax.random.key(0))
    return sum(np.zeros(leaf.shape, bool).size for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize(
    "override",
    [
        {},
        {"model.mixer": "lstm", "model.score": "dot"},
        {"model.mixer": "min_gru", "model.score": "general", "model.recurrence": "chunked"},
        {"model.tie_embeddings": True, "model.encoder_layers": None},
    ],
)
def test_a_recurrent_twin_of_as_many_parameters(override):
    config = with_overrides(BASE, override)
    found = matched(config, SHAPE, "params")
    assert with_overrides(found, {"model.recurrent_dim": None}) == config
    twin = with_overrides(config, {"model.mixer": "attention", "model.score": "auto", "model.recurrence": "auto"})
    assert abs(count(found) / count(twin) - 1) <= TOLERANCE["params"]


def test_width_and_attention_are_left_alone():
    assert matched(BASE, SHAPE, "width") == BASE
    attention = with_overrides(BASE, {"model.mixer": "attention"})
    assert matched(attention, SHAPE, "params") == attention


def test_closed_forms_of_one_sequence_refuse_two():
    refused = pytest.raises(ConfigError, match=r"one sequence: this task has a source as well \(source_len=14\)")
    with refused:
        matched(BASE, SHAPE, "flops")
    with refused:
        closed_form.matmul_flops(Work(BASE, SHAPE))
    with refused:
        closed_form.num_params(BASE.model, SHAPE)
