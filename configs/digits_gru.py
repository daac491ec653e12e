"""A GRU over the same patches of the same digits as digits_vit; all else is equal.

    python run.py train digits_gru --out runs/digits_gru

A minute on 2 CPU cores. Of the test images 96.9 % are right with seed 0 and 98.9 % with seed 1; the recipe was
chosen for digits_vit.
"""

from configs import digits_vit
from transformer_jax.config import with_overrides

CONFIG = with_overrides(digits_vit.CONFIG, {"model.mixer": "gru"})
