"""Whole networks: `build(config, shape) -> Model`."""

from transformer_jax.config import ModelConfig, Shape
from transformer_jax.models import attentive_rnn, encoder_decoder, forecaster, network, perceptron
from transformer_jax.models.model import Inspection, Model
from transformer_jax.models.network import build_block
from transformer_jax.models.stack import State
from transformer_jax.ops.recurrence import RECURRENCE

__all__ = ["Inspection", "Model", "State", "build", "build_block"]


def build(config: ModelConfig, shape: Shape) -> Model:
    """The network of a config for what a task gives and asks.

    A forecast is `forecaster`'s, and a config may ask for a `perceptron`. Else, without a source, it is `network`; with
    one the mixer decides between two families.

    Raises:
      ConfigError: the model cannot read the shape or answer it.
    """
    if shape.horizon is not None:
        return forecaster.build(config, shape)
    if config.classifier == "perceptron":
        return perceptron.build(config, shape)
    if shape.source_len is None:
        return network.build(config, shape)
    families = {"attention": encoder_decoder.build} | dict.fromkeys(RECURRENCE, attentive_rnn.build)
    return families[config.mixer](config, shape)
