"""Blocks one on another, scanned over depth or unrolled, and what they remember of a sequence: of every network."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from transformer_jax.config import ModelConfig
from transformer_jax.layers.attention import KVCache
from transformer_jax.layers.block import Block, Context
from transformer_jax.layers.mlp import MLP
from transformer_jax.layers.norm import LayerNorm
from transformer_jax.models.model import Inspection

# B batch, L time steps, D d_model


class State(NamedTuple):
    """How much was read, and by name what every sublayer remembers of it (stacked over depth)."""

    index: jax.Array
    blocks: Any

    def emptied(self) -> "State":
        """The state with room for nothing in its key-value caches: what continues it sees itself alone."""
        caches = {name: one.emptied() if isinstance(one, KVCache) else one for name, one in self.blocks.items()}
        return self._replace(blocks=caches)

    def advanced(self, added: dict[str, Any], steps: int) -> "State":
        """The state after so many steps more: caches extended, carries replaced, what was not given back kept.

        Caches pass the layers unchanged and are written here, all at once: in place if their owner lets them go.
        """
        after = {
            name: self.blocks[name].extended(one, self.index) if isinstance(self.blocks[name], KVCache) else one
            for name, one in added.items()
        }
        return State(self.index + steps, self.blocks | after)


def make_block(config: ModelConfig, mixer: Callable[..., nn.Module], *others: tuple[str, Callable[..., nn.Module]]):
    """The constructor of one block: mixer, other named sublayers, MLP; `train=` and `name=` are left to the caller."""
    dtype = jnp.dtype(config.dtype)
    mlp = partial(MLP, config.mlp_width, config.activation, dtype)
    sublayers = (("mixer", mixer), *others, ("mlp", mlp))
    fields = {"norm": config.norm, "residual": config.residual, "dropout_rate": config.dropout_rate}
    return partial(Block, sublayers=sublayers, **fields, dtype=dtype)


def stack(config: ModelConfig, block: partial, num_layers: int, x_BxLxD, context: Context, states=None, *, train=False):
    """x_BxLxD after so many blocks and, where they are pre-norm, a last norm; and what they give back of their states.

    For compact methods, whose module owns the parameters: `blocks`, stacked over depth, or unrolled `block_0`, ...;
    `norm_out`.

    Args:
      block: of `make_block`.
      num_layers: 0: only the last norm, where there is one.
      states: by name, stacked over depth; None for a whole sequence.
    """
    # nn.scan and nn.remat transform a class; the partial's fields are given when it is called
    module = nn.remat(block.func, prevent_cse=not config.scan_layers) if config.remat else block.func
    if not num_layers:
        added = None if states is None else {}
    elif config.scan_layers:
        scanned = nn.scan(
            module,
            variable_axes={"params": 0, "intermediates": 0},
            split_rngs={"params": True, "dropout": True},
            in_axes=(nn.broadcast, 0),
            length=num_layers,
        )
        x_BxLxD, added = scanned(**block.keywords, train=train, name="blocks")(x_BxLxD, context, states)
    else:
        layers = []
        for i in range(num_layers):
            layer = module(**block.keywords, train=train, name=f"block_{i}")
            before = None if states is None else jax.tree.map(lambda s, i=i: s[i], states)
            x_BxLxD, one = layer(x_BxLxD, context, before)
            layers.append(one)
        added = None if states is None else over_depth(layers)
    if config.norm == "pre":
        x_BxLxD = LayerNorm(jnp.dtype(config.dtype), name="norm_out")(x_BxLxD)
    return x_BxLxD, added


def of_layers(config: ModelConfig, num_layers: int, tree: dict[str, Any]) -> Any:
    """What a module with a `stack` has of its blocks in a collection, stacked over depth."""
    return tree["blocks"] if config.scan_layers else over_depth([tree[f"block_{i}"] for i in range(num_layers)])


def inspection(config: ModelConfig, num_layers: int, embedded_BxLxD, kept: dict[str, Any]) -> Inspection:
    """What a stack of so many blocks kept in the collection "intermediates"; embedded: what the first one read."""
    if not num_layers:
        return Inspection(embedded_BxLxD[None], None)
    layers = of_layers(config, num_layers, kept)
    (after_NxBxLxD,) = layers["vectors"]
    weights = layers.get("mixer", {}).get("weights")
    vectors_NxBxLxD = jnp.concatenate([embedded_BxLxD[None].astype(after_NxBxLxD.dtype), after_NxBxLxD])
    return Inspection(vectors_NxBxLxD, None if weights is None else weights[0].swapaxes(1, 2))


def over_depth(layers: list[Any]) -> Any:
    """One tree of arrays with a leading axis over the layers' trees."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)


def check_length(length: int, config: ModelConfig) -> None:
    """Raises ValueError for a sequence that the model cannot address."""
    if not 1 <= length <= config.max_len:
        raise ValueError(f"a sequence of {length} steps: model.max_len={config.max_len} allows 1 to {config.max_len}")
