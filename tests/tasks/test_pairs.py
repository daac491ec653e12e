"""Pairs as batches: teacher forcing, padding, buckets, tokens of a batch, one pass, resumption."""

import json

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer_jax.config import Config, ConfigError, Shape, with_overrides
from transformer_jax.tasks import pairs, translation_quality
from transformer_jax.tasks.symbols import Symbols

SOURCE = Symbols([f"s{i}" for i in range(20)], str.split, " ", "source word")
TARGET = Symbols([f"t{i}" for i in range(11)], str.split, " ", "target word")


def texts(count: int, longest: int, seed: int) -> pairs.Texts:
    """Pairs of 1 to `longest` words a side."""
    random = np.random.default_rng(seed)

    def text(letter, size):
        return " ".join(f"{letter}{i}" for i in random.integers(size, size=random.integers(1, longest + 1)))

    return [(text("s", 20), text("t", 11)) for _ in range(count)]


SPLITS = {"train": texts(150, 12, 0), "validation": texts(23, 9, 1), "test": texts(9, 12, 2)}


def make(read=SPLITS.__getitem__, **overrides):
    flat = {"task.name": "mine", "task.seq_len": 11, "task.batch_size": 4, "task.bucket_lengths": (5, 8)}
    return pairs.build(with_overrides(Config(), flat | overrides), SOURCE, TARGET, read, lambda: {"source": "none"})


def check_rows(batch, split):
    """Each row against the pair that its index names, token by token."""
    length = batch["inputs"].shape[1]
    for row in range(len(batch["index"])):
        if batch["index"][row] < 0:
            assert not batch["weights"][row].any()
            continue
        source, target = split[batch["index"][row]]
        source = [3 + int(word[1:]) for word in source.split()] + [2]
        target = [3 + int(word[1:]) for word in target.split()]
        assert batch["source_lengths"][row] == len(source) and batch["lengths"][row] == len(target) + 1
        assert batch["source"][row].tolist() == source + [0] * (length - len(source))
        blank = [0] * (length - len(target) - 1)
        assert batch["inputs"][row].tolist() == [1, *target, *blank]  # begin, then the right tokens
        assert batch["targets"][row].tolist() == [*target, 2, *blank]
        assert batch["weights"][row].tolist() == [1] * (len(target) + 1) + blank


def needed(batch, split):
    """The longest side of a batch, ends included."""
    return max(max(len(side.split()) + 1 for side in split[i]) for i in batch["index"] if i >= 0)


def test_inputs_are_the_right_tokens_shifted_and_padding_weighs_nothing():
    stream, shapes = make().train(3), set()
    for _ in range(60):
        batch = next(stream)
        check_rows(batch, SPLITS["train"])
        shapes.add(batch["inputs"].shape)
        assert batch["source"].shape == batch["inputs"].shape
        assert {name: array.dtype.name for name, array in batch.items()} == {
            "inputs": "int32", "targets": "int32", "weights": "float32", "lengths": "int32",
            "source": "int32", "source_lengths": "int32", "index": "int32",
        }  # fmt: skip
    assert shapes == {(4, 5), (4, 8), (4, 11)}


def test_a_pair_is_in_the_smallest_bucket_that_holds_both_sides():
    stream = make().train(0)
    for _ in range(60):
        batch = next(stream)
        length = batch["inputs"].shape[1]
        longer = np.maximum(batch["lengths"], batch["source_lengths"])
        assert (longer <= length).all() and (longer > {5: 0, 8: 5, 11: 8}[length]).all()


def test_an_epoch_meets_every_pair_that_fits_but_for_unfilled_batches():
    task = make(**{"task.batch_size": 1})
    fit = [i for i, pair in enumerate(SPLITS["train"]) if max(len(side.split()) for side in pair) <= 10]
    stream = task.train(0)
    assert sorted(int(next(stream)["index"][0]) for _ in range(len(fit))) == fit
    assert task.describe() == {"source": "none", "left_out": 150 - len(fit)} and len(fit) < 150


def test_batches_hold_so_many_tokens():
    stream = make(**{"task.batch_tokens": 40}).train(0)
    assert {next(stream)["inputs"].shape for _ in range(60)} == {(8, 5), (5, 8), (3, 11)}
    stream = make(**{"task.batch_tokens": 7}).train(0)  # a bucket that no such batch holds has one row
    assert {next(stream)["inputs"].shape for _ in range(200)} == {(1, 5), (1, 8), (1, 11)}


def test_batches_are_shared_by_micro_batches_and_processes(monkeypatch):
    split = {"task.batch_tokens": 40, "train.micro_batches": 2, "task.batch_size": 4}
    stream = make(**split).train(0)
    assert {next(stream)["inputs"].shape for _ in range(60)} == {(8, 5), (4, 8), (2, 11)}
    whole, shares = make(**{"task.batch_tokens": 44}), []
    for index in range(2):
        monkeypatch.setattr(jax, "process_index", lambda index=index: index)
        monkeypatch.setattr(jax, "process_count", lambda: 2)
        task = make(**{"task.batch_tokens": 44})
        shares.append((task.train(1), list(task.evaluate("validation")), task.examples()))
    for one, other in zip(shares[0][0], shares[1][0], strict=True):
        assert one["inputs"].shape == other["inputs"].shape and not set(one["index"]) & set(other["index"])
        if one["inputs"].shape[1] == 11:
            break
    met = np.concatenate([batch["index"] for _, batches, _ in shares for batch in batches])
    assert sorted(met[met >= 0]) == list(range(23))
    assert {batch["inputs"].shape for batch in shares[0][2][0]} == {(4, 5), (2, 8), (2, 11)}
    assert whole.describe()["left_out"] > 0


def test_few_pairs_make_small_batches_of_their_own():
    """Else the longest sentences, of which there are few, would never be trained on."""
    few = [("s1", "t1")] * 30 + [("s1 " * 9, "t1 t2")] * 2
    task = make({"train": few, "validation": few}.__getitem__, **{"task.batch_size": 6})
    stream = task.train(0)
    assert {next(stream)["inputs"].shape for _ in range(30)} == {(6, 5), (2, 11)}
    assert {batch["inputs"].shape for batch in task.evaluate("validation")} == {(6, 5), (6, 11)}


@settings(max_examples=20)
@given(count=st.integers(0, 23), batch_size=st.integers(1, 9), buckets=st.sampled_from([(), (3,), (4, 7)]))
def test_evaluation_meets_every_pair_once(count, batch_size, buckets):
    split = SPLITS["validation"][:count]
    task = make(lambda _: split, **{"task.batch_size": batch_size, "task.bucket_lengths": buckets})
    batches = list(task.evaluate("validation"))
    for batch in batches:
        check_rows(batch, split)
        smallest = min(length for length in (*buckets, 11) if length >= needed(batch, split))
        assert batch["inputs"].shape == (batch_size, smallest)
    met = [int(i) for batch in batches for i in batch["index"] if i >= 0]
    assert sorted(met) == list(range(count))
    longer = [max(len(side.split()) for side in split[i]) for i in met]
    assert longer == sorted(longer)


def test_examples_have_every_shape_of_training_and_of_evaluation():
    task = make(**{"task.batch_tokens": 40})
    trained, evaluated = task.examples()
    stream = task.train(0)

    def shapes(batches):
        return {tuple((name, a.shape, a.dtype.name) for name, a in sorted(batch.items())) for batch in batches}

    assert shapes(trained) == shapes(next(stream) for _ in range(60)) and len(trained) == 3
    assert shapes(evaluated) == shapes(task.evaluate("validation"))


def test_the_state_resumes_exactly():
    stream, again = make().train(2), make().train(2)
    for _ in range(7):
        next(stream)
    again.set_state(json.loads(json.dumps(stream.get_state())))
    for _ in range(9):
        one, other = next(stream), next(again)
        assert one.keys() == other.keys() and all((one[name] == other[name]).all() for name in one)


def test_a_pair_that_evaluation_would_cut_is_named():
    with pytest.raises(ConfigError) as error:
        list(make().evaluate("test"))
    longest = max(max(len(side.split()) + 1 for side in pair) for pair in SPLITS["test"])
    assert longest > 11
    worst = [max(len(side.split()) + 1 for side in pair) for pair in SPLITS["test"]].index(longest)
    for part in ("task.seq_len=11: mine has", f"test pairs that are longer; pair {worst + 1} has {longest} tokens",
                 SPLITS["test"][worst][0][:20], f"--task.seq-len {longest} or more"):  # fmt: skip
        assert part in str(error.value)
    assert list(make(**{"task.seq_len": 13}).evaluate("test"))


def test_pairs_of_which_none_fits_are_refused():
    with pytest.raises(ConfigError, match="task.seq_len=1: none of the 150 training pairs"):
        make(**{"task.seq_len": 1, "task.bucket_lengths": ()}).train(0)


def test_an_unused_split_is_not_read_and_an_unknown_one_is_named():
    asked = []
    task = make(lambda split: asked.append(split) or SPLITS[split])
    next(task.train(0)), task.examples(), list(task.evaluate("validation"))
    assert sorted(asked) == ["train", "validation"]
    with pytest.raises(ValueError, match="no split 'dev'; it has: train, validation, test"):
        task.translation.pairs("dev")


def test_the_task_says_what_a_model_must_be():
    task = make()
    assert task.shape == Shape(11, 14, vocab_size=14, source_len=11, source_vocab_size=23) and task.next_token
    assert task.objective.decoding == (1, 2, 11, (0, 1)) and task.objective.best == ("loss", "min")
    assert set(task.objective.choices) == {("loss", "min"), ("accuracy", "max"), ("bleu", "max"), ("exact", "max")}
    assert task.objective.signature == translation_quality.signature()
    assert task.objective is make().objective is not make(**{"train.label_smoothing": 0.1}).objective
    assert make(**{"train.label_smoothing": 0.1}).objective.trained is not None


def test_who_writes_the_right_answers_is_judged_perfect():
    task = make()
    batches = list(task.evaluate("validation"))
    metrics = task.objective.judge(lambda batch: np.where(batch["targets"] == 0, 2, batch["targets"]), batches)
    assert metrics["exact"] == metrics["free_accuracy"] == 1 and metrics["bleu"] == pytest.approx(100)
    silent = task.objective.judge(lambda batch: np.full((len(batch["index"]), 3), 2), batches)
    assert silent["exact"] == 0 and silent["bleu"] == 0


def test_texts_to_ids_and_back():
    translation = make().translation
    assert translation.encode_source("s4 s0").tolist() == [7, 3, 2]
    assert translation.encode_source(" s4 s0\n").tolist() == [7, 3, 2]
    assert translation.decode_target([7, 3, 2, 5]) == "t4 t0"
    assert translation.source_tokens([7, 3, 2]) == ["s4", "s0", "<end>"]
    assert translation.target_tokens([1, 7]) == ["<begin>", "t4"]
    assert translation.pairs("test") == SPLITS["test"]


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "the text is empty"),
        (" \n", "the text is empty"),
        ("s4 t4", "'t4' is no source word"),
        ("s1 " * 11, "12 tokens, its end included: more than the 11 .*task.seq_len=11.*'s1 s1"),
    ],
)
def test_texts_that_cannot_be_translated(text, message):
    with pytest.raises(ValueError, match=message):
        make().translation.encode_source(text)
