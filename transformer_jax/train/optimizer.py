"""The optimizer of a config and its learning rate."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import optax

from transformer_jax.config import TrainConfig
from transformer_jax.train.leaves import name

WITHOUT_END = {"constant": "is constant", "inverse_sqrt": "does not depend on their number"}
"""The schedules of which a longer run begins with the steps of a shorter one, and why."""

RMSPROP_EPSILON = 1e-7  # under the root, as in Keras, whose recipes name RMSprop


def learning_rate(
    config: TrainConfig, peak_lr: float | jax.Array | None = None, num_steps: int | jax.Array | None = None
) -> optax.Schedule:
    """step -> learning rate: linear warm-up to the peak, then the config's schedule until `num_steps`.

    inverse_sqrt is peak * min(n / warmup_steps, sqrt(warmup_steps / n)) at the n-th step, however many there are
    (Vaswani et al. 2017, section 5.3, whose peak is (d_model * warmup_steps) ** -0.5).
    `peak_lr` and `num_steps` take the place of the config's and may be traced: lanes can differ in the rate, and runs
    that differ in them alone are one program.
    """
    peak_lr = config.peak_lr if peak_lr is None else peak_lr
    num_steps = config.num_steps if num_steps is None else num_steps
    last = config.final_lr_fraction

    def at(step):
        # step 0 already moves: a warm-up of n steps takes the rates 1/n, 2/n, ..., 1
        warm = (step + 1) / config.warmup_steps if config.warmup_steps else 1.0
        left = 1 - (step - config.warmup_steps) / (num_steps - config.warmup_steps)
        left = jnp.clip(left, 0, 1)
        shape = {
            "constant": 1.0,
            "linear": last + (1 - last) * left,
            "cosine": last + (1 - last) * (1 - jnp.cos(jnp.pi * left)) / 2,
            "inverse_sqrt": jnp.sqrt(config.warmup_steps / (step + 1)),
        }[config.schedule]
        return peak_lr * jnp.minimum(warm, shape) if config.warmup_steps else peak_lr * shape

    return at


def extension(config: TrainConfig, step: int, before: int) -> str:
    """What happens to the learning rate where a run of `before` steps goes on from `step` as one of `num_steps`."""
    done = f"extended from {before} to {config.num_steps} steps"
    if config.schedule in WITHOUT_END:
        return (
            f"{done}: the learning rate {WITHOUT_END[config.schedule]}, so that these are the steps of an unbroken run"
        )
    old, new = (
        float(learning_rate(dataclasses.replace(config, num_steps=steps), 1.0)(step))
        for steps in (before, config.num_steps)
    )
    return (
        f"{done}: steps up to {step} were trained under the {config.schedule} schedule of {before} steps, the later"
        f" ones under that of {config.num_steps}, which at step {step} is at {new:.0%} of the peak learning rate where"
        f" the old one was at {old:.0%}; an unbroken run of {config.num_steps} steps gives other numbers"
    )


def make_optimizer(
    config: TrainConfig,
    peak_lr: float | jax.Array | None = None,
    frozen: tuple[str, ...] = (),
    num_steps: int | jax.Array | None = None,
) -> optax.GradientTransformation:
    """AdamW (Loshchilov & Hutter 2019), or RMSprop (Tieleman & Hinton 2012), behind clipping by the global norm.

    Matrices decay, biases and norms do not. `peak_lr` and `num_steps` as in `learning_rate`. The leaves that `frozen`
    names get no update and no state, and do not count in the norm.
    """
    rate = learning_rate(config, peak_lr, num_steps)
    if config.optimizer == "adamw":
        update = optax.adamw(rate, b2=config.beta2, weight_decay=config.weight_decay, mask=_decays)
    else:
        update = optax.chain(
            optax.scale_by_rms(decay=config.beta2, eps=RMSPROP_EPSILON),
            optax.add_decayed_weights(config.weight_decay, mask=_decays),
            optax.scale_by_learning_rate(rate),
        )
    tx = optax.chain(optax.clip_by_global_norm(config.clip_norm), update)
    if not frozen:
        return tx
    label = partial(jax.tree_util.tree_map_with_path, lambda path, _: "frozen" if name(path) in frozen else "trained")
    return optax.partition({"trained": tx, "frozen": optax.set_to_zero()}, label)


def _decays(params):
    # by name, not by rank: a bias stacked over scanned layers has two axes as well
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key in ("kernel", "embedding"), params)
