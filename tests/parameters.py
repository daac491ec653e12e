"""Random parameters, for tests in which their values do not matter: nothing is compiled to draw them.

No bias is 0 and no norm's scale 1, which would hide a missing one.
"""

from functools import partial

import jax
import numpy as np


def drawn(model, scale=0.3):
    """Of a model, or of what is initialised as one: init(key) -> params."""
    return _like(jax.eval_shape(model.init, jax.random.key(0)), scale)


def of_module(module, *inputs, scale=0.3, **options):
    """Of a Linen module that reads such inputs."""
    return _like(jax.eval_shape(partial(module.init, **options), jax.random.key(0), *inputs)["params"], scale)


def _like(shapes, scale):
    random = np.random.default_rng(5)
    return jax.tree.map(lambda leaf: random.normal(size=leaf.shape, scale=scale).astype(np.float32), shapes)
