"""Writing as a program is what a model says is likeliest, token by token."""

import jax
import numpy as np
import pytest

from transformer_jax import models
from transformer_jax.config import Config, ModelConfig, TaskConfig, with_overrides
from transformer_jax.measure import generation
from transformer_jax.measure.work import Work, next_token

BASE = Config(ModelConfig(d_model=8, num_heads=2, num_layers=2), TaskConfig(seq_len=6, batch_size=3, vocab_size=9))


@pytest.mark.parametrize("mixer", ["attention", "lstm"])
def test_generation_writes_the_likeliest_token_after_all_that_were_written(mixer):
    written = generation.program(Work(with_overrides(BASE, {"model.mixer": mixer}), next_token(BASE)))
    params, prompt, key = written.make_args()
    apply = jax.jit(models.build(with_overrides(BASE, {"model.mixer": mixer}).model, next_token(BASE)).apply)
    tokens = np.pad(prompt, [(0, 0), (0, written.steps)])  # one program: zeros that no step before them reads
    for n in range(prompt.shape[1], tokens.shape[1]):  # all of them read anew for each
        tokens[:, n] = apply(params, tokens)[:, n - 1].argmax(-1)
    assert written.steps == 6 and np.array_equal(written.fn(params, prompt, key), tokens[:, 1:])
