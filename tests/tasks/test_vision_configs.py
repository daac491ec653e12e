"""The configs on MNIST: their models fit what they read, and the LSTM has the parameters of the transformer."""

import pytest

from configs import mnist_lstm_rows, mnist_vit, mnist_vit_permuted, permuted_mnist, split_mnist
from transformer_jax.config import flatten
from transformer_jax.measure.closed_form import num_params
from transformer_jax.tasks import registry

CONFIGS = {"patches": mnist_vit, "permuted": mnist_vit_permuted, "rows": mnist_lstm_rows, "tasks": permuted_mnist,
           "split": split_mnist}  # fmt: skip


def shape_of(config):
    return registry.entry(config.task).outline(config).shape


@pytest.mark.parametrize("name", CONFIGS)
def test_nothing_in_a_config_keeps_its_model_from_its_task(name):
    config = CONFIGS[name].CONFIG
    assert registry.needs(config) == []
    assert config.task.seq_len == shape_of(config).seq_len <= config.model.max_len


def test_the_permuted_config_differs_in_the_order_alone():
    one, other = (flatten(module.CONFIG) for module in (mnist_vit, mnist_vit_permuted))
    assert {key for key in one if one[key] != other[key]} == {"task.permute_patches"}


def test_the_lstm_has_the_parameters_of_the_transformer():
    vit, lstm = (num_params(module.CONFIG.model, shape_of(module.CONFIG)) for module in (mnist_vit, mnist_lstm_rows))
    assert abs(lstm / vit - 1) < 0.02
