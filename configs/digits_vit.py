"""A small vision transformer on 1,797 real 8x8 digits that come with scikit-learn: nothing to download.

    python run.py train digits_vit --out runs/digits
    python run.py evaluate runs/digits --split test

About half a minute on 2 CPU cores. Of the 359 test images 97.8 % are right in the mean of the first four seeds
(`--train.lanes 4`: 96.9, 98.1, 98.6, 97.8).
"""

from transformer_jax.config import Config, ModelConfig, TaskConfig, TrainConfig

CONFIG = Config(
    model=ModelConfig(
        d_model=64,
        num_layers=3,
        num_heads=4,
        position="learned",
        input_dim=4,
        num_classes=10,
        max_len=16,
        dropout_rate=0.1,
        scan_layers=False,
    ),
    task=TaskConfig(name="digits", patch_size=2, seq_len=16, batch_size=64),
    train=TrainConfig(
        num_steps=600,
        peak_lr=2e-3,
        warmup_steps=50,
        schedule="cosine",
        weight_decay=0.05,
        label_smoothing=0.1,
        eval_every=100,
        checkpoint_every=100,
    ),
)
