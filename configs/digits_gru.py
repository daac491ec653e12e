"""A GRU over the same patches of the same digits as digits_vit; all else is equal.

    python run.py train digits_gru --out runs/digits_gru

About half a minute on 2 CPU cores; at least 97 % of the test images right.
"""

from configs import digits_vit
from transformer_jax.config import with_overrides

CONFIG = with_overrides(digits_vit.CONFIG, {"model.mixer": "gru"})
