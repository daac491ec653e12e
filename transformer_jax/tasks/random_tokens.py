"""Random tokens: nothing can be learnt, so that a measurement knows what it is given."""

from functools import partial

import numpy as np

from transformer_jax.config import TaskConfig
from transformer_jax.tasks import generated
from transformer_jax.tasks.task import Batch


def random_tokens(random: np.random.Generator, config: TaskConfig) -> Batch:
    """Uniform tokens and the next one as target: nothing can be learnt, the best loss is log(vocab_size)."""
    tokens_BxT1 = random.integers(0, config.vocab_size, (config.batch_size, config.seq_len + 1), np.int32)
    weights_BxT = np.ones((config.batch_size, config.seq_len), np.float32)
    return {"inputs": tokens_BxT1[:, :-1], "targets": tokens_BxT1[:, 1:], "weights": weights_BxT}


KIND = generated.Kind(random_tokens, sizes=("seq_len", "vocab_size"), next_token=True)
build = partial(generated.build, KIND)
