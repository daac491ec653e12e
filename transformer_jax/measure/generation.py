"""Writing with the whole model as a program: one token after another, each the likeliest."""

import jax
import jax.numpy as jnp

from transformer_jax import models
from transformer_jax.measure.programs import Program
from transformer_jax.measure.work import Work
from transformer_jax.train.generate import generate


def program(work: Work) -> Program:
    """The whole model writing `shape.seq_len` tokens after a prompt of one, each the likeliest after those before."""
    model, length = models.build(work.config.model, work.shape), work.context

    def make_args():
        key = jax.random.key(work.config.train.seed)
        return model.init(key), jnp.zeros((work.batch_size, 1), jnp.int32), key

    def write(params, prompt_Bx1, key):
        return generate(model, params, prompt_Bx1, length, key=key, max_len=length + 1, temperature=0.0)

    return Program(jax.jit(write), make_args, work.batch_size, length)
