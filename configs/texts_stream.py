"""Numbers in English words, then in French ones, letter by letter: what of the English is forgotten.

    python run.py train texts_stream --out runs/texts
    python run.py evaluate runs/texts

Nothing to download; two minutes on 2 busy CPU cores. Three seeds side by side. Accuracy on validation letters, mean
over seeds (2026-11-30): English 0.85 after it alone; after the French too, English 0.71 and French 0.51, with
`--continual.method none` 0.21 and 0.84. The strength is one of many between the two; which is best, `experiment
forgetting` asks. `--task.name ONE --continual.texts OTHER` takes two texts of your own
(`prepare text`).
"""

from transformer_jax.config import ModelConfig, TaskConfig, TrainConfig
from transformer_jax.config.continual import ContinualConfig, StreamConfig

CONFIG = StreamConfig(
    model=ModelConfig(
        d_model=32, num_layers=2, num_heads=2, mlp_dim=64, position="learned", max_len=32, scan_layers=False
    ),
    task=TaskConfig(name="number_words", seq_len=32, batch_size=32),
    train=TrainConfig(
        num_steps=600, peak_lr=2e-3, warmup_steps=10, weight_decay=0.0, lanes=3, eval_every=200, checkpoint_every=200
    ),
    continual=ContinualConfig(
        stream="texts", scenario="domain", num_tasks=2, texts=("number_words_fr",), fisher="sampled",
        fisher_examples=200, strength=10.0,
    ),
)  # fmt: skip
