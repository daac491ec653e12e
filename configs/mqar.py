"""Associative recall at the published setting: 4 pairs in 64 tokens of a vocabulary of 8,192, two layers of width 64.

    python run.py train mqar --out runs/mqar
    python run.py evaluate runs/mqar --split test

The smallest setting of Zoology (Arora et al. 2023, arXiv 2312.04927). Every key, value and query is one of thousands
of tokens, so that what is seen in training is seldom seen again in the test: the way to look up has to be learned.
Answers are computed at the four queries alone, as the head over 8,192 tokens is most of the work elsewhere.
99.78 % of the test's queries (one seed), in six and a half minutes on one CPU core.
"""

from transformer_jax.config import Config, ModelConfig, TaskConfig, TrainConfig

CONFIG = Config(
    model=ModelConfig(
        d_model=64, num_layers=2, num_heads=2, mlp_dim=256, max_len=64, position="learned", scan_layers=False
    ),
    task=TaskConfig(name="associative_recall", vocab_size=8192, num_items=4, seq_len=64, batch_size=64),
    train=TrainConfig(
        num_steps=2000,
        peak_lr=3e-3,
        warmup_steps=100,
        beta2=0.98,
        weight_decay=0.01,
        eval_every=200,
        checkpoint_every=200,
    ),
)
