"""Reversal: every target is its source from the last symbol to the first, and what is held out is new."""

import numpy as np
import pytest

from transformer_jax.config import ConfigError
from transformer_jax.tasks import registry, reversal


@pytest.fixture
def task(config_of, monkeypatch):
    monkeypatch.setattr(reversal, "COUNTS", {"train": 3000, "validation": 200, "test": 100})
    return registry.build(config_of("reversal", seq_len=9, vocab_size=33, batch_size=64))


def test_targets_are_sources_reversed(task):
    batch = next(task.train(0))
    for row in range(64):
        length = batch["lengths"][row]
        assert 2 <= length == batch["source_lengths"][row] <= 9
        assert batch["source"][row, : length - 1].tolist() == batch["targets"][row, : length - 1][::-1].tolist()
        assert 3 <= batch["source"][row, : length - 1].min() and batch["source"][row].max() < 33


def test_lengths_and_symbols_are_uniform(task):
    rows = [source.split() for source, _ in task.translation.pairs("train")]
    counts = np.bincount([len(row) for row in rows], minlength=9)
    assert len(rows) == 3000 and counts[0] == 0 and (abs(counts[1:] - 375) < 6 * 19).all()
    symbols = np.unique([symbol for row in rows for symbol in row], return_counts=True)
    assert len(symbols[0]) == 30 and {"a", "z", "aa", "ad"} < set(symbols[0])
    assert (abs(symbols[1] - symbols[1].mean()) < 6 * symbols[1].mean() ** 0.5).all()


def test_what_is_held_out_is_new(task):
    seen = set(task.translation.pairs("train"))
    for split, count in (("validation", 200), ("test", 100)):
        pairs = task.translation.pairs(split)
        assert len(pairs) == count and not seen & set(pairs)
        seen |= set(pairs)


def test_it_is_known_before_it_is_made_and_named_with_its_sizes(task, config_of):
    config = config_of("reversal", seq_len=9, vocab_size=33)
    assert registry.TASKS["reversal"].outline(config) == (task.shape, True, ())
    assert registry.identity(config.task) == "reversal (seq_len 9, vocab_size 33)"
    assert task.translation.encode_source("a c ad").tolist() == [3, 5, 32, 2]


@pytest.mark.parametrize("fields, message", [({"vocab_size": 4}, "task.vocab_size=4"), ({"seq_len": 2}, "too few")])
def test_sizes_that_cannot_be(fields, message, config_of):
    with pytest.raises(ConfigError, match=message):
        registry.build(config_of("reversal", **{"seq_len": 9, "vocab_size": 33} | fields))


def test_equal_sizes_share_one_objective(config_of):
    """Programs are compiled once for each."""
    one, again = (registry.build(config_of("reversal", seq_len=9, vocab_size=33)).objective for _ in range(2))
    assert one is again is not registry.build(config_of("reversal", seq_len=9, vocab_size=34)).objective
