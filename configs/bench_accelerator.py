"""The model whose cost is measured on a GPU or TPU: d_model 1024, 16 heads of 64, 2 layers, bfloat16, batch 2.

    python run.py experiment attention_cost --config bench_accelerator --dry-run

The size at which an accelerator is not idle. An experiment's lengths follow the config's: attention_cost, whose own
base has 256 steps and which measures 64 to 8192, measures 512 to 65,536 here. Chosen by default where the first device
is no CPU (`--config bench` takes the small one). Nothing of it has been timed on a device.
"""

from transformer_jax.config import Config, MeasureConfig, ModelConfig, TaskConfig

CONFIG = Config(
    model=ModelConfig(d_model=1024, num_heads=16, num_layers=2, dtype="bfloat16"),
    task=TaskConfig(seq_len=2048, batch_size=2, vocab_size=256),
    measure=MeasureConfig(rounds=5),
)
