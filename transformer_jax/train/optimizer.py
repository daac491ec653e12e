"""The optimizer of a config."""

import jax
import optax

from transformer_jax.config import TrainConfig


def make_optimizer(config: TrainConfig) -> optax.GradientTransformation:
    """AdamW (Loshchilov & Hutter 2019) behind clipping by the global norm; matrices decay, biases and norms do not."""
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.adamw(config.peak_lr, weight_decay=config.weight_decay, mask=_decays),
    )


def _decays(params):
    # by name, not by rank: a bias stacked over scanned layers has two axes as well
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key in ("kernel", "embedding"), params)
