"""Generated tasks against their definitions, read off row by row."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer_jax.config import ConfigError, Shape, TaskConfig
from transformer_jax.tasks import associative_recall, copy_memory, random_tokens, registry

NAMES = ("random_tokens", "copy_memory", "associative_recall")
seeds = st.integers(0, 2**31)


def draw(make_batch, seed, **fields):
    config = TaskConfig(**{"seq_len": 40, "batch_size": 5, "vocab_size": 30, "num_items": 6} | fields)
    return make_batch(np.random.default_rng(seed), config)


def test_random_tokens_are_uniform_and_targets_come_next():
    batch = draw(random_tokens.random_tokens, 0, batch_size=300)
    assert batch["inputs"].shape == batch["targets"].shape == (300, 40)
    np.testing.assert_array_equal(batch["inputs"][:, 1:], batch["targets"][:, :-1])
    counts = np.bincount(batch["inputs"].ravel(), minlength=30)
    assert len(counts) == 30 and abs(counts - 400).max() < 6 * 20  # six deviations of a count of 400


@settings(max_examples=30, deadline=None)
@given(seed=seeds, items=st.integers(1, 9), gap=st.integers(0, 12))
def test_copy_memory(seed, items, gap):
    length = 2 * items + gap
    batch = draw(copy_memory.copy_memory, seed, seq_len=length, num_items=items)
    for inputs, targets, weights in zip(batch["inputs"], batch["targets"], batch["weights"], strict=True):
        symbols = inputs[:items]
        assert symbols.min() >= 2 and symbols.max() < 30
        assert inputs[items:].tolist() == [0] * gap + [1] + [0] * (items - 1)
        assert targets[-items:].tolist() == symbols.tolist()
        assert weights.tolist() == [0] * (length - items) + [1] * items


@settings(max_examples=30, deadline=None)
@given(seed=seeds, items=st.integers(1, 9), extra=st.integers(0, 30))
def test_associative_recall(seed, items, extra):
    length = 4 * items + extra
    batch = draw(associative_recall.associative_recall, seed, seq_len=length, num_items=items)
    for inputs, targets, weights in zip(batch["inputs"], batch["targets"], batch["weights"], strict=True):
        pairs = dict(zip(inputs[0 : 2 * items : 2].tolist(), inputs[1 : 2 * items : 2].tolist(), strict=True))
        assert len(pairs) == len(set(pairs.values())) == items
        assert max(pairs) < 15 <= min(pairs.values())
        asked = np.flatnonzero(weights)
        assert asked.min() >= 2 * items
        assert sorted(inputs[asked]) == sorted(pairs)  # every key once
        assert [pairs[key] for key in inputs[asked].tolist()] == targets[asked].tolist()


def test_recall_asks_near_more_often_than_far():
    batch = draw(associative_recall.associative_recall, 0, seq_len=412, num_items=6, batch_size=400)
    places = (np.nonzero(batch["weights"])[1] - 12) // 2
    # Place 1 is drawn first with probability 1 / sum(k^-0.99, k=1..200): nearly every row asks there.
    assert np.mean(places == 0) > 5 * np.mean(places == 20) > 0


@pytest.mark.parametrize("name", NAMES)
def test_batches_are_a_function_of_seed_split_and_step(name, config_of):
    config = config_of(name, seq_len=40, vocab_size=30, batch_size=5)
    one, two = registry.build(config), registry.build(config)
    first, again, other = one.train(4), two.train(4), one.train(5)
    steps = [next(first)["inputs"].tobytes() for _ in range(4)]
    assert steps == [next(again)["inputs"].tobytes() for _ in range(4)]
    splits = [[batch["inputs"].tobytes() for batch in one.evaluate(s)] for s in ("train", "validation", "test")]
    everything = steps + [next(other)["inputs"].tobytes()] + sum(splits, [])
    assert len(set(everything)) == len(everything)
    assert splits[1] == [batch["inputs"].tobytes() for batch in two.evaluate("validation")]


@pytest.mark.parametrize("name", NAMES)
def test_a_generated_task_describes_itself(name, config_of):
    task = registry.build(config_of(name, seq_len=40, vocab_size=30, batch_size=5))
    batch = next(task.train(0))
    assert task.shape == Shape(40, 30, vocab_size=30) and task.describe()["generated"] is True
    assert {k: (v.shape, v.dtype.name) for k, v in batch.items()} == {
        "inputs": ((5, 40), "int32"),
        "targets": ((5, 40), "int32"),
        "weights": ((5, 40), "float32"),
    }
    assert batch["inputs"].max() < 30 and batch["targets"].max() < 30


@pytest.mark.parametrize(
    "name, fields, message",
    [
        ("copy_memory", {"seq_len": 15}, "task.seq_len=15"),
        ("copy_memory", {"vocab_size": 3}, "task.vocab_size=3"),
        ("associative_recall", {"seq_len": 31}, "task.seq_len=31"),
        ("associative_recall", {"vocab_size": 14}, "task.vocab_size=14"),
    ],
)
def test_sizes_that_cannot_be_are_refused_at_once(name, fields, message, config_of):
    with pytest.raises(ConfigError, match=message):
        registry.build(config_of(name, **fields))
