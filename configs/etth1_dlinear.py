"""DLinear on ETTh1: two linear layers, one of the trend and one of the rest (Zeng et al. 2023).

    python run.py prepare ett_h1 --from FOLDER
    python run.py train etth1_dlinear --out runs/ett_dlinear
    python run.py evaluate runs/ett_dlinear --split test

Ten seconds on one CPU core. Test MSE 0.378, MAE 0.402 (step 1560); published 0.375 and 0.399. Of the learning rates
5e-3, 1e-3 and 3e-4 this one has the lowest validation MSE: 0.651, 0.642 and 0.649.
"""

from configs import etth1_patch
from transformer_jax.config import with_overrides

CONFIG = with_overrides(
    etth1_patch.CONFIG,
    {
        "model.forecaster": "dlinear",
        "task.batch_size": 32,
        "train.num_steps": 2600,
        "train.peak_lr": 1e-3,
        "train.warmup_steps": 0,
        "train.weight_decay": 0.0,
        "train.eval_every": 260,
        "train.checkpoint_every": 260,
    },
)
