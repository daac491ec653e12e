"""Words, vocabulary, buckets, and reviews that never straddle two splits."""

import numpy as np
import pytest

from transformer_jax.config import ConfigError, Shape
from transformer_jax.tasks import imdb, labelled, registry, sets


def test_words():
    assert labelled.split_words("It's GOOD!<br /><br />Très_bien, 7/10?") == [
        "it's",
        "good",
        "!",
        "très",
        "bien",
        "7",
        "10",
        "?",
    ]


def test_a_vocabulary_is_of_the_most_frequent_words_and_full_at_its_size():
    vocabulary = labelled.Vocabulary.of(["b a b c", "c b d"], size=4)
    assert vocabulary.symbols == ["<pad>", "<unknown>", "b", "c"]
    assert vocabulary.encode("c d B").tolist() == [3, 1, 2]
    assert vocabulary.encode("...").tolist() == [1]
    assert vocabulary.decode([3, 1, 2, 0, 0]) == "c <unknown> b"


@pytest.fixture
def task(made, imdb_files, config_of):
    made("imdb_reviews", imdb_files, train=70)
    return registry.build(config_of("imdb", seq_len=12, batch_size=4, vocab_size=60, bucket_lengths=(7, 9)))


def test_what_was_known_of_it_before_its_data_were_read(task, config_of):
    shape, next_token, problems = registry.TASKS[task.name].outline(config_of(task.name, seq_len=12))
    assert (shape.seq_len, shape.pooled, next_token, problems) == (12, task.shape.pooled, task.next_token, ())


def test_batches_are_padded_to_their_bucket(task):
    stream = task.train(0)
    shapes = set()
    for _ in range(40):
        batch = next(stream)
        shapes.add(batch["inputs"].shape)
        for row, length, label in zip(batch["inputs"], batch["lengths"], batch["targets"], strict=True):
            assert (row[:length] > 0).all() and not row[length:].any()
            text = task.decode(row)
            assert ("good" in text) == label and ("bad" in text) == (not label)
    assert shapes == {(4, 7), (4, 9), (4, 12)}


def test_state_resumes_exactly(task):
    stream, again = task.train(2), task.train(2)
    for _ in range(7):
        next(stream)
    again.set_state(stream.get_state())
    for _ in range(9):
        np.testing.assert_array_equal(next(stream)["inputs"], next(again)["inputs"])


def test_equal_reviews_fall_on_one_side(made, imdb_files):
    builder = sets.open_set("imdb_reviews", made("imdb_reviews", imdb_files, train=70))
    everything = labelled.texts_of(builder, "train")
    train, validation = imdb.split_by_content(everything)
    assert len(train.texts) + len(validation.texts) == len(train.labels) + len(validation.labels) == 70
    assert len(set(everything.texts)) == 60 and validation.texts
    assert not set(train.texts) & set(validation.texts)


def test_a_review_sent_in_twice_with_changes_falls_on_one_side():
    texts = [f"Number {n}: " + "so it goes on and on " * 5 for n in range(200)]
    again = [text.upper().replace("!", "") + f" Changed, {n}." for n, text in enumerate(texts)]
    train, validation = imdb.split_by_content(labelled.Texts(texts + again, ["neg"] * 400))
    sides = [{text.lower()[:12] for text in side.texts} for side in (train, validation)]
    assert not sides[0] & sides[1] and len(train.texts) > 300 and len(validation.texts) > 10


def test_the_vocabulary_comes_from_the_training_split(task, made, imdb_files):
    builder = sets.open_set("imdb_reviews", made("imdb_reviews", imdb_files, train=70))
    train, validation = imdb.split_by_content(labelled.texts_of(builder, "train"))
    numbers = {word for text in validation.texts for word in labelled.split_words(text) if word.isdigit()}
    big = labelled.Vocabulary.of(train.texts, 10_000)
    assert task.shape == Shape(12, 2, vocab_size=min(60, len(big.symbols)), pooled=True)
    assert numbers and not numbers & set(big.symbols)


def test_evaluation_meets_every_validation_review_once(task):
    batches = list(task.evaluate("validation"))
    assert sum(b["weights"].sum() for b in batches) == task.describe()["counts"]["validation"]
    for batch in batches:
        width = batch["inputs"].shape[1]
        fits = [min(bound for bound in (7, 9, 12) if bound >= length) for length in batch["lengths"]]
        assert batch["inputs"].shape[0] == 4 and fits == [width] * 4
    assert len({b["inputs"].shape for b in batches}) > 1


def test_a_set_without_a_test_split_says_so(task):
    with pytest.raises(sets.MissingData, match="prepared without the test split"):
        list(task.evaluate("test"))


@pytest.mark.parametrize("lengths", [(9, 7), (7, 7), (0, 7), (7, 12)])
def test_buckets_that_do_not_rise_below_seq_len_are_refused(lengths, config_of):
    with pytest.raises(ConfigError, match="task.bucket_lengths"):
        config_of("imdb", seq_len=12, bucket_lengths=lengths)


@pytest.mark.slow
def test_the_real_reviews(made, real, config_of, digests):
    made("imdb_reviews", real("imdb"))
    task = registry.build(config_of("imdb", seq_len=256, batch_size=32, vocab_size=20_000, bucket_lengths=(64, 128)))
    assert task.shape.vocab_size == 20_000
    counts = task.describe()["counts"]
    assert sum(counts.values()) == 25_000 and 0.08 < counts["validation"] / 25_000 < 0.12
    assert not digests(task.evaluate("train")) & digests(task.evaluate("validation"))
