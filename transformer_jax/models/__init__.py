"""Whole networks: `build(config) -> Model`."""

from transformer_jax.models.network import Model, State, build, build_block

__all__ = ["Model", "State", "build", "build_block"]
