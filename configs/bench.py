"""The model whose cost is measured: d_model 64, 4 heads, 2 layers, batch 2, on random tokens.

Small enough that a 2-core CPU reaches T = 4096 with an implementation that stores every attention score.
Used by `python run.py experiment attention_cost`, whose studies set the sequence length, heads and depth.
"""

from transformer_jax.config import Config, MeasureConfig, ModelConfig, TaskConfig

CONFIG = Config(
    model=ModelConfig(d_model=64, num_heads=4, num_layers=2),
    task=TaskConfig(seq_len=256, batch_size=2, vocab_size=256),
    measure=MeasureConfig(rounds=5),
)
