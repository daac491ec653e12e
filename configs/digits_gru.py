"""A GRU over the same patches of the same digits as digits_vit; all else is equal.

    python run.py train digits_gru --out runs/digits_gru

A minute on 2 CPU cores. Of the test images 98.2 % are right in the mean of the first four seeds (`--train.lanes
4`: 98.1, 98.9, 98.3, 97.5; seed 0 trained alone, which rounds otherwise, 96.9). Of two recipes this one, that of
digits_vit, has the lower validation loss here as well: 0.103 against 0.121.
"""

from configs import digits_vit
from transformer_jax.config import with_overrides

CONFIG = with_overrides(digits_vit.CONFIG, {"model.mixer": "gru"})
