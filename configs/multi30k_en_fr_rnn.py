"""The same sentences as multi30k_en_fr by a GRU with additive attention (Bahdanau et al. 2015), as many parameters.

    python run.py train multi30k_en_fr_rnn --out runs/enfr_rnn
    python run.py compare runs/enfr runs/enfr_rnn

Task and training are those of multi30k_en_fr. With a state of 267 it has 2,624,142 parameters,
the transformer 2,619,904. BLEU on test_2016 56.4 [54.6, 58.2] (average of the last five checkpoints, beam 5).
"""

from configs import multi30k_en_fr
from transformer_jax.config import with_overrides

CONFIG = with_overrides(
    multi30k_en_fr.CONFIG,
    {"model.mixer": "gru", "model.score": "additive", "model.num_layers": 1, "model.recurrent_dim": 267},
)
