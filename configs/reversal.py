"""Up to 12 letters, written from the last to the first: the smallest task whose alignment is known.

    python run.py train reversal --out runs/reversal
    python run.py generate runs/reversal --text "a b c d" --alignment alignment.png

A few minutes on 2 CPU cores. The one head of the one decoder layer looks at the letter that it writes: the
anti-diagonal.
"""

from transformer_jax.config import Config, ModelConfig, TaskConfig, TrainConfig

CONFIG = Config(
    model=ModelConfig(d_model=64, num_layers=1, encoder_layers=1, num_heads=1, max_len=16, scan_layers=False),
    task=TaskConfig(name="reversal", seq_len=13, vocab_size=29, batch_size=128),
    train=TrainConfig(
        num_steps=2000,
        peak_lr=3e-3,
        warmup_steps=100,
        schedule="cosine",
        beta2=0.98,
        weight_decay=0.01,
        eval_every=250,
        checkpoint_every=250,
        best="exact",
    ),
)
