"""The vision transformer of mnist_vit, which reads the patches of every image in one fixed random order.

    python run.py train mnist_vit_permuted --out runs/mnist_permuted
    python run.py evaluate runs/mnist_permuted --split test

The control for what positions give: nothing in this model but its learned positions knows where a patch was, so that
it should lose next to nothing against mnist_vit.
"""

from configs import mnist_vit
from transformer_jax.config import with_overrides

CONFIG = with_overrides(mnist_vit.CONFIG, {"task.permute_patches": 0})
