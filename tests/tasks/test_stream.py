"""Order, shares and resumption of batches."""

import json
from collections import Counter
from functools import partial

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer_jax.config import ConfigError
from transformer_jax.tasks import stream


def gather(chosen):
    return {"inputs": chosen, "weights": np.ones(len(chosen), np.float32)}


def as_process(monkeypatch, index, count):
    monkeypatch.setattr(jax, "process_index", lambda: index)
    monkeypatch.setattr(jax, "process_count", lambda: count)


@settings(max_examples=30)
@given(length=st.integers(1, 40), batch_size=st.integers(1, 50), seed=st.integers(0, 2**31))
def test_every_epoch_holds_every_example_once(length, batch_size, seed):
    steps = -(-3 * length // batch_size)
    walked = np.concatenate([stream.shuffled_indices(length, batch_size, seed, s) for s in range(steps)])
    for epoch in range(3):
        assert sorted(walked[epoch * length : (epoch + 1) * length]) == list(range(length))


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = {tuple(stream.shuffled_indices(50, 50, seed, step)) for seed in (0, 1, 2) for step in (0, 1, 2)}
    assert len(orders) == 9  # also: seed 0's second epoch is not seed 1's first


def test_state_resumes_in_the_middle_of_an_epoch():
    whole = stream.shuffled(17, gather, 4, seed=3)
    expected = [next(whole)["inputs"].tolist() for _ in range(12)]
    half = stream.shuffled(17, gather, 4, seed=3)
    for _ in range(6):
        next(half)
    state = json.loads(json.dumps(half.get_state()))
    fresh = stream.shuffled(17, gather, 4, seed=3)
    fresh.set_state(state)
    assert [next(fresh)["inputs"].tolist() for _ in range(6)] == expected[6:]


def test_processes_share_each_batch_without_overlap(monkeypatch):
    alone = stream.shuffled(18, gather, 6, seed=1)
    shares = []
    for index in range(3):
        as_process(monkeypatch, index, 3)
        shares.append(stream.shuffled(18, gather, 6, seed=1))
    for _ in range(5):
        together = [next(share)["inputs"].tolist() for share in shares]
        assert [len(rows) for rows in together] == [2, 2, 2]
        assert sorted(sum(together, [])) == sorted(next(alone)["inputs"].tolist())


def test_processes_share_one_pass(monkeypatch):
    seen = []
    for index in range(2):
        as_process(monkeypatch, index, 2)
        for batch in stream.one_pass(7, gather, 4):
            assert batch["inputs"].shape == (2,)
            seen += batch["inputs"][batch["weights"] > 0].tolist()
    assert sorted(seen) == list(range(7))


def test_processes_that_cannot_share_a_batch_are_refused(monkeypatch):
    as_process(monkeypatch, 0, 4)
    with pytest.raises(ConfigError, match="task.batch_size=6: 4 processes"):
        stream.shuffled(18, gather, 6, seed=1)


@given(length=st.integers(1, 30), batch_size=st.integers(1, 11))
def test_one_pass_meets_each_example_once_in_order(length, batch_size):
    batches = list(stream.one_pass(length, gather, batch_size))
    assert {len(batch["inputs"]) for batch in batches} == {batch_size}
    kept = np.concatenate([batch["inputs"][batch["weights"] > 0] for batch in batches])
    assert kept.tolist() == list(range(length))


@given(st.lists(st.integers(0, 43), max_size=50))
def test_each_text_is_in_the_smallest_bucket_that_holds_it(lengths):
    bounds = [10, 20, 40]
    buckets = stream.by_length(lengths, bounds)
    assert sorted(np.concatenate(buckets).tolist()) == [i for i, length in enumerate(lengths) if length <= 40]
    for low, bound, bucket in zip([-1, 10, 20], bounds, buckets, strict=True):
        assert all(low < lengths[i] <= bound for i in bucket)


def test_a_bucketed_epoch_meets_no_example_twice_and_one_bucket_a_batch():
    buckets = [np.arange(0, 11), np.arange(11, 13), np.arange(13, 33)]
    gathers = [partial(lambda number, chosen: gather(chosen) | {"bucket": number}, i) for i in range(3)]
    batches = stream.bucketed(buckets, gathers, batch_size=4, seed=7)
    epochs = [[next(batches) for _ in range(2 + 0 + 5)] for _ in range(3)]
    for epoch in epochs:
        assert Counter(batch["bucket"] for batch in epoch) == {0: 2, 2: 5}
        for batch in epoch:
            assert set(batch["inputs"]) <= set(buckets[batch["bucket"]])
        met = np.concatenate([batch["inputs"] for batch in epoch])
        assert len(set(met)) == len(met) == 28
    assert len({tuple(batch["bucket"] for batch in epoch) for epoch in epochs}) > 1
    left_out = [set(buckets[0]) - {i for b in epoch for i in b["inputs"]} for epoch in epochs]
    assert len(set(map(frozenset, left_out))) > 1


def test_processes_meet_the_same_bucket(monkeypatch):
    def of(index):
        as_process(monkeypatch, index, 2)
        gathers = [lambda c: gather(c) | {"bucket": 0}, lambda c: gather(c) | {"bucket": 1}]
        return stream.bucketed([np.arange(8), np.arange(8, 24)], gathers, batch_size=4, seed=0)

    for _, a, b in zip(range(12), of(0), of(1), strict=False):
        assert a["bucket"] == b["bucket"]
        assert not set(a["inputs"]) & set(b["inputs"])


def test_a_batch_has_the_size_of_its_bucket():
    buckets, sizes = [np.arange(0, 11), np.arange(11, 33)], (5, 2)
    gathers = [partial(lambda number, chosen: gather(chosen) | {"bucket": number}, i) for i in range(2)]
    batches = stream.bucketed(buckets, gathers, sizes, seed=7)
    epoch = [next(batches) for _ in range(2 + 11)]
    assert Counter(batch["bucket"] for batch in epoch) == {0: 2, 1: 11}
    for batch in epoch:
        assert len(set(batch["inputs"]) & set(buckets[batch["bucket"]])) == sizes[batch["bucket"]]


def test_seeds_meet_other_examples_of_the_same_bucket():
    """Lanes, which have a seed each, are one compiled step: their batches must be of one shape."""
    gathers = [lambda c: gather(c) | {"bucket": 0}, lambda c: gather(c) | {"bucket": 1}]
    one, other = (stream.bucketed([np.arange(8), np.arange(8, 24)], gathers, (4, 2), seed) for seed in (0, 5))
    drawn = [(next(one), next(other)) for _ in range(30)]
    assert all(a["bucket"] == b["bucket"] for a, b in drawn)
    assert any(set(a["inputs"]) != set(b["inputs"]) for a, b in drawn)


def test_buckets_too_small_for_any_batch_are_refused():
    with pytest.raises(ConfigError, match="task.batch_size=5"):
        stream.bucketed([np.arange(3), np.arange(3, 7)], [gather, gather], batch_size=5, seed=0)


@pytest.mark.slow
def test_two_workers_give_the_order_of_none():
    def taken(workers, state=None):
        batches = stream.shuffled(17, gather, 4, seed=3, workers=workers)
        if state:
            batches.set_state(state)
        return [next(batches)["inputs"].tolist() for _ in range(7)], batches.get_state()

    alone, _ = taken(0)
    shared, state = taken(2)
    assert shared == alone
    again, _ = taken(2, state)
    straight = stream.shuffled(17, gather, 4, seed=3)
    assert again == [next(straight)["inputs"].tolist() for _ in range(14)][7:]
