"""The heads of a network's attention, one by one: what each adds, and the network without one of them."""

from typing import Any

import jax

from transformer_jax.config import MIXERS, ModelConfig, Shape
from transformer_jax.models.network import Network
from transformer_jax.models.stack import of_layers

# N layers, B batch, L time steps, H heads, Dh head_dim, D d_model


def outputs(config: ModelConfig, shape: Shape, params: Any, inputs) -> jax.Array:
    """What each head of each layer gives before the heads are projected and added: float (N, B, L, H, Dh).

    Args:
      params, inputs: of the network that `network.build` makes of config and shape; every step of inputs is real.

    Raises:
      ValueError: the network's mixer has no heads.
    """
    _demand_heads(config)
    _, kept = Network(config, shape).apply({"params": params}, inputs, mutable=["intermediates"])
    (heads_NxBxLxHxDh,) = of_layers(config, config.num_layers, kept["intermediates"])["mixer"]["heads"]
    return heads_NxBxLxHxDh


def without(config: ModelConfig, params: Any, layer: int, head: int) -> Any:
    """The parameters of the same network in which one head of one layer adds nothing; `params` stay as they are.

    The head's rows of the projection after attention, out = sum over heads of o_h W_h + b, are zero.

    Raises:
      ValueError: the network's mixer has no heads.
      IndexError: it has no such layer or head.
    """
    _demand_heads(config)
    if not (0 <= layer < config.num_layers and 0 <= head < config.num_heads):
        raise IndexError(f"layer {layer}, head {head}: there are {config.num_layers} and {config.num_heads}, from 0")
    name, at = ("blocks", (layer, head)) if config.scan_layers else (f"block_{layer}", head)
    mixer = params[name]["mixer"]
    out = mixer["out"] | {"kernel": mixer["out"]["kernel"].at[at].set(0)}
    return params | {name: params[name] | {"mixer": mixer | {"out": out}}}


def _demand_heads(config: ModelConfig) -> None:
    if "num_heads" not in MIXERS[config.mixer].reads:
        raise ValueError(f"model.mixer={config.mixer} has no heads")
