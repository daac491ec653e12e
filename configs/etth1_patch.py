"""PatchTST on ETTh1: 96 hours of seven channels from the 336 before, by attention over patches.

    python run.py prepare ett_h1 --from FOLDER
    python run.py train etth1_patch --out runs/ett
    python run.py evaluate runs/ett --split test

The sizes that Nie et al. 2023 (arXiv 2211.14730) give for this set: 3 layers, 4 heads, d_model 16, dropout 0.3.
Eleven minutes on one CPU core; test MSE 0.380, MAE 0.399 (published 0.370, from 512 hours in the place of 336).
"""

from transformer_jax.config import Config, ModelConfig, TaskConfig, TrainConfig

CONFIG = Config(
    model=ModelConfig(
        d_model=16,
        num_layers=3,
        num_heads=4,
        mlp_dim=128,
        position="learned",
        causal=False,
        dropout_rate=0.3,
        scan_layers=False,
    ),
    task=TaskConfig(name="ett_h1", seq_len=336, horizon=96, batch_size=128),
    train=TrainConfig(
        num_steps=1300,
        peak_lr=1e-3,
        warmup_steps=65,
        schedule="cosine",
        weight_decay=0.01,
        eval_every=65,  # an epoch
        checkpoint_every=65,
    ),
)
