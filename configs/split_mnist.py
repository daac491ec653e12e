"""Split MNIST, five tasks of two digits, by the network of van de Ven & Tolias 2019 (arXiv 1904.07734).

    python run.py prepare mnist --from FOLDER
    python run.py train split_mnist --continual.scenario task --continual.strength 1e7 --out runs/split
    python run.py evaluate runs/split --split test

Two hidden layers of 400 ReLU, 2,000 steps of Adam a task, 128 images each; the Fisher of the likeliest label over all
training images. Published, with the task known / domain / class: EWC 98.64, 63.95, 20.01 % (strength 1e7, 1e6, 1e8),
elsewhere by the same authors 85.48, 57.80, 19.90 % (arXiv 1809.10635); --continual.method none 87.19, 59.21, 19.90 %.
What differs is said in configs/permuted_mnist.py; also digits come in their order, where theirs was drawn.
"""

from configs import permuted_mnist
from transformer_jax.config import with_overrides

CONFIG = with_overrides(
    permuted_mnist.CONFIG,
    {
        "model.d_model": 400,
        "task.pad": 0,
        "task.seq_len": 28,
        "task.batch_size": 128,
        "train.num_steps": 2000,
        "train.peak_lr": 1e-3,
        "train.eval_every": 500,
        "train.checkpoint_every": 2000,
        "continual.stream": "split",
        "continual.scenario": "task",
        "continual.num_tasks": 5,
        "continual.strength": 1e7,
    },
)
