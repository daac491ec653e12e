"""Five tasks of two digits each, one after another, by a small transformer: what is forgotten, and what EWC keeps.

    python run.py train digits_stream --continual.method ewc --continual.strength 100 --out runs/stream
    python run.py evaluate runs/stream

Nothing to download; some minutes on 2 CPU cores. Three seeds side by side. The accuracies come out, by task after each
task, and their average, forgetting and transfer. `--continual.scenario class` and `--continual.stream permuted` are
harder streams.
"""

from transformer_jax.config import ModelConfig, TaskConfig, TrainConfig
from transformer_jax.config.continual import ContinualConfig, StreamConfig

CONFIG = StreamConfig(
    model=ModelConfig(
        d_model=32, num_layers=2, num_heads=2, mlp_dim=64, position="learned", causal=False, max_len=8,
        scan_layers=False,
    ),
    task=TaskConfig(name="digits", patch_rows=1, seq_len=8, batch_size=32),
    train=TrainConfig(
        num_steps=200, peak_lr=2e-3, warmup_steps=10, weight_decay=0.0, lanes=3, eval_every=50, checkpoint_every=50
    ),
    continual=ContinualConfig(scenario="task", fisher_examples=200),
)  # fmt: skip
