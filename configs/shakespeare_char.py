"""Characters of Shakespeare at nanoGPT's CPU setting, which reports a validation loss of 1.88.

    python run.py prepare tiny_shakespeare --from FOLDER
    python run.py train shakespeare_char --out runs/s
    python run.py generate runs/s --prompt "ROMEO:"

4 layers, 4 heads, d_model 128, 64 characters, batch 12, 2,000 steps, no dropout, the usual 90/10 split.
"""

from transformer_jax.config import Config, ModelConfig, TaskConfig, TrainConfig

CONFIG = Config(
    model=ModelConfig(
        d_model=128,
        num_layers=4,
        num_heads=4,
        max_len=64,
        position="rotary",
        scan_layers=False,  # on a CPU a step then takes three quarters of the time
    ),
    task=TaskConfig(name="shakespeare_char", seq_len=64, batch_size=12),
    train=TrainConfig(
        num_steps=2000,
        peak_lr=2e-3,
        warmup_steps=100,
        schedule="cosine",
        final_lr_fraction=0.1,
        beta2=0.99,
        weight_decay=0.1,
        eval_every=500,
        checkpoint_every=500,
    ),
)
