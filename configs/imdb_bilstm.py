"""A bidirectional LSTM in the place of imdb_encoder's attention, with as many parameters.

    python run.py train imdb_bilstm --out runs/imdb_bilstm
    python run.py compare runs/imdb runs/imdb_bilstm

A state of 160 each way: 5,754,146 parameters; the encoder has 5,795,362, of which 131,072 are its positions.
Validation accuracy 0.906 (one seed), in 33 minutes on one CPU core.
"""

from configs import imdb_encoder
from transformer_jax.config import with_overrides

CONFIG = with_overrides(
    imdb_encoder.CONFIG,
    {"model.mixer": "lstm", "model.bidirectional": True, "model.recurrent_dim": 160, "model.position": "none"},
)
