"""The encoder of imdb_encoder without positions: it does not know in which order the words stand.

    python run.py train imdb_encoder_unordered --out runs/imdb_unordered
    python run.py compare runs/imdb runs/imdb_unordered

All else is imdb_encoder's.
"""

from configs import imdb_encoder
from transformer_jax.config import with_overrides

CONFIG = with_overrides(imdb_encoder.CONFIG, {"model.position": "none"})
