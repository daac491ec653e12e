"""A small vision transformer on 1,797 real 8x8 digits that come with scikit-learn: nothing to download.

    python run.py train digits_vit --out runs/digits
    python run.py evaluate runs/digits --split test

A minute on 2 CPU cores. Of the 359 test images 98.1 % are right with seed 0, 98.0 % in the mean of the first four seeds
(`--train.seed`: 98.1, 98.9, 97.2, 97.8; one standard deviation 0.7). Dropout and number of steps were chosen by the
validation loss of four seeds; the test split was opened once, for this choice.
"""

from transformer_jax.config import Config, ModelConfig, TaskConfig, TrainConfig

CONFIG = Config(
    model=ModelConfig(
        d_model=64,
        num_layers=3,
        num_heads=4,
        position="learned",
        causal=False,
        max_len=16,
        dropout_rate=0.3,
        scan_layers=False,
    ),
    task=TaskConfig(name="digits", patch_size=2, seq_len=16, batch_size=64),
    train=TrainConfig(
        num_steps=1200,
        peak_lr=2e-3,
        warmup_steps=50,
        schedule="cosine",
        weight_decay=0.05,
        label_smoothing=0.1,
        eval_every=300,
        checkpoint_every=300,
    ),
)
