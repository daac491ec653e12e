"""The text of number_words in French: another domain of the same kind, most of whose letters are the same."""

from functools import partial

import numpy as np

from transformer_jax.config import TaskConfig
from transformer_jax.tasks import generated, number_words
from transformer_jax.tasks.task import Batch


def number_words_fr(random: np.random.Generator, config: TaskConfig) -> Batch:
    """Numbers in French words, letter by letter: 0 to 999,999 alike, one a line, as num2words writes them."""
    return number_words.draw(random, config, "fr")


KIND = number_words.kind(number_words_fr, "fr")
build = partial(generated.build, KIND)
