"""The last hour repeated, on ETTh1: what a forecast must beat. It has nothing to train; one step makes a run of it.

    python run.py prepare ett_h1 --from FOLDER
    python run.py train etth1_repeat_last --out runs/ett_repeat
    python run.py evaluate runs/ett_repeat --split test

Test MSE 1.294, MAE 0.713.
"""

from configs import etth1_patch
from transformer_jax.config import with_overrides

CONFIG = with_overrides(
    etth1_patch.CONFIG,
    {
        "model.forecaster": "repeat_last",
        "train.num_steps": 1,
        "train.warmup_steps": 0,
        "train.eval_every": 1,
        "train.checkpoint_every": 1,
    },
)
