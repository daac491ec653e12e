"""Whole networks: `build(config, shape) -> Model`."""

from transformer_jax.models.model import Model
from transformer_jax.models.network import State, build, build_block

__all__ = ["Model", "State", "build", "build_block"]
