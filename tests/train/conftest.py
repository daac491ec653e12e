"""A task of 23 short sequences, shuffled anew each epoch, and a model of one table: it compiles in no time."""

from functools import cache
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from transformer_jax import models
from transformer_jax.config import Config, ModelConfig, Shape, TaskConfig, TrainConfig, with_overrides
from transformer_jax.models import Model
from transformer_jax.tasks import objectives

CONFIG = Config(
    model=ModelConfig(d_model=8, num_heads=2, num_layers=1, mlp_dim=12, max_len=16, dropout_rate=0.2),
    task=TaskConfig(seq_len=5, batch_size=4),
    train=TrainConfig(num_steps=12, peak_lr=1e-2, chunk_steps=2, eval_every=4, checkpoint_every=4, seed=5),
)
SHAPE = Shape(5, 7, vocab_size=7)


class Stream:
    """Batches as a function of (seed, step); steps in `poisoned` have a weight that is not a number."""

    def __init__(self, tokens_NxT, batch_size, seed, poisoned):
        self.tokens, self.batch_size, self.seed, self.poisoned, self.step = (
            tokens_NxT,
            batch_size,
            seed,
            poisoned,
            0,
        )

    def __next__(self):
        epoch, place = divmod(self.step, len(self.tokens) // self.batch_size)
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.tokens))
        rows = self.tokens[order[place * self.batch_size : (place + 1) * self.batch_size]]
        batch = as_batch(rows)
        if self.step in self.poisoned:
            batch["weights"][0, 0] = np.nan
        self.step += 1
        return batch

    def get_state(self):
        return {"step": self.step}

    def set_state(self, state):
        self.step = state["step"]


def as_batch(rows):
    return {
        "inputs": rows[:, :-1],
        "targets": rows[:, 1:],
        "weights": np.ones(rows[:, 1:].shape, np.float32),
    }


def make_task(config, poisoned=()):
    generator = np.random.default_rng(0)
    train, held_out = (generator.integers(0, 7, (n, 6)).astype(np.int32) for n in (23, 6))

    def evaluate(split):
        assert split == "validation", "training must not open the test split"
        for start in (0, 4):
            batch = as_batch(held_out[np.arange(start, start + 4) % 6])
            batch["weights"][6 - start :] = 0
            yield batch

    def stream(seed):
        return Stream(train, config.task.batch_size, seed, set(poisoned))

    return SimpleNamespace(
        shape=SHAPE,
        objective=objectives.cross_entropy(config.train.label_smoothing),
        train=stream,
        evaluate=evaluate,
        describe=lambda: {"source": "test"},
        vectors=None,
        files={},
        examples=None,
    )


def init(key):
    return {"kernel": jax.random.normal(key, (7, 7))}


def apply(params, inputs, *, lengths=None, train, key):
    logits = params["kernel"][inputs]
    return logits * jax.random.bernoulli(key, 0.8, logits.shape) if train else logits


BIGRAMS = Model(init, apply, None, None)
"""Predicts the next token from this one alone, with dropout: what the loop does is the same for every model."""

build_model = cache(models.build)  # so that what is compiled for a model is compiled once


@pytest.fixture
def parts():
    """(model, task, config) with overrides; `real`: the config's own model in place of BIGRAMS."""

    def make(overrides=None, poisoned=(), real=False):
        config = with_overrides(CONFIG, overrides or {})
        return build_model(config.model, SHAPE) if real else BIGRAMS, make_task(config, poisoned), config

    return make
