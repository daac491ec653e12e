"""Flax's dense layers, on the products of `ops/products.py`."""

from functools import partial

import flax.linen as nn

from transformer_jax.ops import products

Dense = partial(nn.Dense, dot_general=products.flat)
DenseGeneral = partial(nn.DenseGeneral, dot_general=products.flat)
