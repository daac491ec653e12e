"""The vision transformer of mnist_vit, which reads the patches of every image in one fixed random order.

    python run.py train mnist_vit_permuted --out runs/mnist_permuted
    python run.py evaluate runs/mnist_permuted --split test

By symmetry it should lose nothing against mnist_vit: learned positions do not know which patches are neighbours. What
positions give is told by mnist_vit with --model.position none. 98.42 % of the test images
(one seed), as many as mnist_vit.
"""

from configs import mnist_vit
from transformer_jax.config import with_overrides

CONFIG = with_overrides(mnist_vit.CONFIG, {"task.permute_patches": 0})
