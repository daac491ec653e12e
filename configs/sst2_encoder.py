"""The encoder of imdb_encoder on single sentences of film reviews (SST-2), whole.

    python run.py prepare sst2 --from FOLDER
    python run.py train sst2_encoder --out runs/sst2

Ten epochs at most; a sentence is cut after 64 words, which none exceeds. Validation accuracy 0.800 (one seed), in 90
seconds on one CPU core; a bag of pairs of words reaches 0.798.
"""

from configs import imdb_encoder
from transformer_jax.config import with_overrides

CONFIG = with_overrides(
    imdb_encoder.CONFIG,
    {
        "task.name": "sst2",
        "task.seq_len": 64,
        "task.bucket_lengths": (12, 20, 28),
        "train.num_steps": 2160,  # ten epochs
        "train.eval_every": 216,
        "train.checkpoint_every": 216,
    },
)
