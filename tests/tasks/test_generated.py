"""Generated tasks: the copies and the recall, read off row by row, and what all of them share."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer_jax import models
from transformer_jax.config import MIXERS, ConfigError, Shape, TaskConfig, with_overrides
from transformer_jax.tasks import associative_recall, copy_memory, generated, random_tokens, registry, selective_copying
from transformer_jax.tasks.task import SPLITS
from transformer_jax.train.step import make_loss

NAMES = tuple(registry.GENERATED)
APART = [name for name, kind in registry.GENERATED.items() if kind.apart_from]
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


@settings(max_examples=30)
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


@settings(max_examples=30)
@given(seed=seeds, items=st.integers(2, 9), gap=st.integers(0, 12))
def test_selective_copying(seed, items, gap):
    length = 2 * items + gap
    batch = draw(selective_copying.selective_copying, seed, seq_len=length, num_items=items, vocab_size=50)
    for inputs, targets, weights in zip(batch["inputs"], batch["targets"], batch["weights"], strict=True):
        symbols = [symbol for symbol in inputs[:-items].tolist() if symbol]
        assert len(symbols) == items and min(symbols) >= 2 and max(symbols) < 50
        assert inputs[-items:].tolist() == [1] + [0] * (items - 1)
        assert targets[-items:].tolist() == symbols
        assert weights.tolist() == [0] * (length - items) + [1] * items


def test_what_is_to_be_copied_may_stand_anywhere():
    batch = draw(selective_copying.selective_copying, 0, seq_len=16, num_items=6, batch_size=6000)
    counts = (batch["inputs"][:, :10] > 0).sum(0)
    assert (abs(counts - 3600) < 6 * 38).all()
    assert len(np.unique(batch["inputs"][:, :10] > 0, axis=0)) == 210  # all ways to choose 6 places of 10


@settings(max_examples=30)
@given(seed=seeds, items=st.integers(1, 9), extra=st.integers(0, 30))
def test_associative_recall(seed, items, extra):
    length = 4 * items + extra
    batch = draw(associative_recall.associative_recall, seed, seq_len=length, num_items=items)
    assert (batch["weights"] == 1).all()
    for inputs, asked, targets, _, distances in zip(*batch.values(), strict=True):
        pairs = dict(zip(inputs[0 : 2 * items : 2].tolist(), inputs[1 : 2 * items : 2].tolist(), strict=True))
        assert len(pairs) == len(set(pairs.values())) == items
        assert max(pairs) < 15 <= min(pairs.values())
        assert asked.min() >= 2 * items
        assert sorted(inputs[asked]) == sorted(pairs)  # every key once
        assert [pairs[key] for key in inputs[asked].tolist()] == targets.tolist()
        first = {key: inputs.tolist().index(key) for key in pairs}
        assert distances.tolist() == [place - first[inputs[place]] for place in asked.tolist()]
        assert 2 <= distances.min() and distances.max() < length


def test_recall_asks_near_more_often_than_far():
    batch = draw(associative_recall.associative_recall, 0, seq_len=412, num_items=6, batch_size=400)
    places = (batch["asked"] - 12) // 2
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


def contents(batch):
    """The tokens of each row up to its end."""
    ends = batch.get("lengths", [batch["inputs"].shape[1]] * len(batch["inputs"]))
    return [tuple(row[:end].tolist()) for row, end in zip(batch["inputs"], ends, strict=True)]


@pytest.mark.parametrize("name", APART)
def test_no_row_is_in_two_splits_wherever_it_is_padded(name, config_of):
    """The fewest tokens that can be held out: few enough rows that each would come in every split."""
    least = registry.GENERATED[name].apart_from
    seen = {}
    for seq_len in (least, least + 2):
        task = registry.build(config_of(name, seq_len=seq_len, min_len=least, batch_size=80))
        for split in SPLITS:
            batches = list(task.evaluate(split))
            assert all(len(batch["inputs"]) == 80 and min(batch["lengths"]) >= least for batch in batches)
            seen.setdefault(split, set()).update(row for batch in batches for row in contents(batch))
        assert task.describe()["apart_from"] == least
    assert not seen["train"] & seen["validation"] | seen["train"] & seen["test"] | seen["validation"] & seen["test"]
    batch = next(registry.build(config_of(name, seq_len=least, min_len=least, batch_size=80)).train(7))
    assert not set(contents(batch)) & (seen["validation"] | seen["test"])


def test_short_rows_are_in_all_splits_and_lengths_stay_uniform(config_of):
    task = registry.build(config_of("parity", seq_len=14, min_len=3, batch_size=250))
    assert registry.GENERATED["parity"].apart_from == 10
    for split in SPLITS:
        rows = [row for batch in task.evaluate(split) for row in contents(batch)]
        counts = np.bincount([len(row) for row in rows])[3:]
        assert len(counts) == 12 and (abs(counts - 4000 / 12) < 6 * (4000 / 12) ** 0.5).all()
        assert len({row for row in rows if len(row) == 3}) == 8


def test_a_hash_is_of_the_tokens_before_the_end_alone():
    random = np.random.default_rng(0)
    rows, ends = random.integers(0, 3, (6000, 9)), random.integers(7, 10, 6000)
    found = generated.hashes(rows, ends)
    padded = np.where(np.arange(11) < ends[:, None], np.pad(rows, ((0, 0), (0, 2))), 2)
    np.testing.assert_array_equal(found, generated.hashes(padded, ends))
    assert (abs(np.histogram(found, 8, (0, 1))[0] - 750) < 6 * 27).all()
    by_content = {(tuple(row[:end]), place) for row, end, place in zip(rows.tolist(), ends, found, strict=True)}
    assert len(by_content) == len({content for content, _ in by_content}) == len({place for _, place in by_content})


KINDS = {
    "associative_recall": {"num_items": 2},
    "adding": {},
    "parity": {"min_len": 3},
    "shapes_1d": {},
}


@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("name", KINDS)
def test_every_mixer_can_be_trained_on_every_kind_of_row(name, mixer, config_of):
    config = config_of(name, seq_len=12, vocab_size=10, batch_size=3, **KINDS[name])
    config = with_overrides(config, {"model.mixer": mixer, "model.d_model": 8, "model.num_layers": 1})
    assert registry.needs(config) == []
    task = registry.build(config)
    model = models.build(config.model, task.shape)
    params = jax.eval_shape(model.init, jax.random.key(0))
    grad = jax.grad(make_loss(model, task.objective.minimised), has_aux=True)
    grads, metrics = jax.eval_shape(grad, params, next(task.train(0)), None)
    assert jax.tree.structure(grads) == jax.tree.structure(params) and "loss" in metrics


@pytest.mark.parametrize("name", ["random_tokens", "copy_memory", "selective_copying"])
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
        ("selective_copying", {"seq_len": 15}, "task.seq_len=15: copying task.num_items=8 symbols takes at least 16"),
        ("selective_copying", {"vocab_size": 3}, "task.vocab_size=3"),
        ("selective_copying", {"seq_len": 4, "num_items": 1, "vocab_size": 9}, "are 21 such sequences, too few"),
        ("adding", {"seq_len": 1}, "task.seq_len=1: two numbers"),
        ("even_pairs", {"seq_len": 1}, "task.seq_len=1: the shortest sequence of even_pairs has 2 tokens"),
        ("even_pairs", {"min_len": 1}, "task.min_len=1: the shortest sequence of even_pairs has 2 tokens"),
        ("cycle_navigation", {"min_len": 1}, "task.min_len=1: the shortest sequence of cycle_navigation has 2"),
        ("listops", {"seq_len": 3}, "task.seq_len=3: the shortest sequence of listops has 4 tokens"),
        ("parity", {"seq_len": 8, "min_len": 9}, "task.min_len=9 is more than task.seq_len=8"),
        ("parity", {"min_len": 0}, "task.min_len=0: must be at least 1"),
        *(
            (name, {"min_len": 9}, f"task.min_len=9: {name} draws no lengths; these tasks do: parity, ")
            for name in ("random_tokens", "copy_memory", "associative_recall", "adding", "shapes_1d", "reversal")
        ),
    ],
)
def test_sizes_that_cannot_be_are_refused_at_once(name, fields, message, config_of):
    with pytest.raises(ConfigError, match=message):
        registry.build(config_of(name, **fields))
