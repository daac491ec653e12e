"""Permuted MNIST, ten tasks, by the network of van de Ven & Tolias 2019 (arXiv 1904.07734): figures to compare with.

    python run.py prepare mnist --from FOLDER
    python run.py train permuted_mnist --continual.scenario domain --continual.strength 500 --out runs/permuted
    python run.py evaluate runs/permuted --split test

Two hidden layers of 1,000 ReLU, images padded to 32x32, 5,000 steps of Adam a task, 256 images each; the Fisher of the
likeliest label over all training images. Published, with the task known / domain / class: EWC 94.74, 94.31, 25.04 %
(strength 500, 500, 1), --continual.method none 81.79, 78.51, 17.26 %. As there, Adam keeps its moments from task to
task, and with class one chooses among the answers of the tasks so far. 55,000 images train and 5,000 validate, where
theirs are 60,000. A scenario takes 25 to 45 minutes of one shared core.
"""

from transformer_jax.config import ModelConfig, TaskConfig, TrainConfig
from transformer_jax.config.continual import ContinualConfig, StreamConfig

CONFIG = StreamConfig(
    model=ModelConfig(classifier="perceptron", num_layers=2, d_model=1000, activation="relu", max_len=32),
    task=TaskConfig(name="mnist", pad=2, pixels="unit", patch_rows=1, seq_len=32, batch_size=256),
    train=TrainConfig(
        num_steps=5000, peak_lr=1e-4, weight_decay=0.0, clip_norm=1e9, chunk_steps=50, eval_every=1000,
        checkpoint_every=5000,
    ),
    continual=ContinualConfig(
        stream="permuted", scenario="domain", answers="seen", num_tasks=10, method="ewc", strength=500.0,
        fisher="likeliest", keep_optimizer=True,
    ),
)  # fmt: skip
