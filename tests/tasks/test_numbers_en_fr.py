"""Numbers in words against num2words, what is held out of them, and how they are cut into tokens."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from num2words import num2words

from transformer_jax.config import Shape
from transformer_jax.tasks import numbers_en_fr, registry


@settings(max_examples=60)
@given(st.integers(0, 999_999))
def test_words_are_those_of_num2words(n):
    assert numbers_en_fr.english(n) == num2words(n)
    assert numbers_en_fr.french(n) == num2words(n, lang="fr")


@pytest.mark.parametrize("thousands", [1, 2, 80, 200, 280, 283, 300, 303, 380, 403, 999])
def test_words_of_numbers_where_french_is_irregular(thousands):
    for n in (thousands * 1000 + rest for rest in (0, 1, 3, 71, 80, 81, 97, 100, 200, 280)):
        assert (numbers_en_fr.english(n), numbers_en_fr.french(n)) == (num2words(n), num2words(n, lang="fr"))


@pytest.mark.slow
def test_all_words_below_and_of_all_thousands():
    """A number is its thousands and the rest, each on its own: with every one of both all are tested."""
    for n in (*range(3000), *range(0, 1_000_000, 1000)):
        assert (numbers_en_fr.english(n), numbers_en_fr.french(n)) == (num2words(n), num2words(n, lang="fr"))


def test_what_is_held_out_is_never_trained_on_and_has_all_sizes():
    train, validation, test = (numbers_en_fr.numbers(split).tolist() for split in ("train", "validation", "test"))
    assert not set(train) & set(validation) | set(train) & set(test) | set(validation) & set(test)
    for held_out in (validation, test):
        assert 900 < len(set(held_out)) == len(held_out) < 1100
        sizes = np.bincount([len(str(n)) for n in held_out])
        assert sizes[:3].sum() == 0 and (abs(sizes[3:] - [90, 300, 300, 300]) < 60).all()
    sizes = np.bincount([len(str(n)) for n in train])
    assert sizes[1] + sizes[2] == 20_000 and (sizes[3:] == 20_000).all()
    assert set(range(100)) < set(train)


def test_the_hash_is_splitmix64():
    def by_hand(x):
        x = (x + 0x9E3779B97F4A7C15) % 2**64
        x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ x >> 27) * 0x94D049BB133111EB % 2**64
        return (x ^ x >> 31) / 2**64

    ns = [0, 1, 97, 999_999]
    assert numbers_en_fr.uniform(np.array(ns)).tolist() == [by_hand(n) for n in ns]
    assert by_hand(0) == 0xE220A8397B1DCDAF / 2**64  # published: the first number of seed 0


@pytest.fixture(scope="module")
def build():
    from transformer_jax.config import Config, with_overrides

    def of(**fields):
        flat = {"task.name": "numbers_en_fr", "task.seq_len": 14, "task.batch_size": 32}
        return registry.build(with_overrides(Config(), flat | fields))

    return of


def test_texts_come_back_from_their_tokens(build):
    translation = build().translation
    for n in (0, 1, 71, 97, 100, 281, 1000, 1001, 80_080, 200_000, 297_297, 999_999):
        for language, text in (("en", num2words(n)), ("fr", num2words(n, lang="fr"))):
            codec = numbers_en_fr.codec(language)
            assert codec.decode(codec.encode(text)) == text == "".join(codec.tokens(codec.encode(text)))
    assert translation.target_tokens(numbers_en_fr.codec("fr").encode("quatre-vingt-dix-sept")) == [
        "quatre", "-vingt", "-dix", "-sept",
    ]  # fmt: skip
    assert len(numbers_en_fr.codec("fr").encode(num2words(297_297, lang="fr"))) + 1 == numbers_en_fr.LONGEST == 14


def test_every_number_has_tokens_and_none_has_more_than_said():
    """Tokens are counted by thousands and rest: the longest number is the longest of both."""
    for language, write in (("en", numbers_en_fr.english), ("fr", numbers_en_fr.french)):
        codec = numbers_en_fr.codec(language)
        heads = max(len(codec.encode(write(n))) for n in range(1000, 1_000_000, 1000))
        tails = max(len(codec.encode(write(n))) for n in range(1001, 2000)) - len(codec.encode(write(1000)))
        assert heads + tails + 1 <= numbers_en_fr.LONGEST


def test_a_batch_reads_as_numbers(build, monkeypatch):
    few = {split: numbers_en_fr.numbers(split)[::50] for split in ("train", "validation", "test")}
    monkeypatch.setattr(numbers_en_fr, "numbers", few.__getitem__)
    task = build()
    batch = next(task.train(0))
    pairs = task.translation.pairs("train")
    for row in range(32):
        english, french = pairs[batch["index"][row]]
        assert (
            "".join(task.translation.source_tokens(batch["source"][row, : batch["source_lengths"][row] - 1])) == english
        )
        assert task.translation.decode_target(batch["targets"][row]) == french
    assert task.shape == Shape(14, 70, vocab_size=70, source_len=14, source_vocab_size=79)
    assert task.describe()["generated"] and task.describe()["left_out"] == 0


@pytest.mark.parametrize(
    "text, message",
    [
        ("ninety-sevn", "'-sevn' is no word of an English number; did you mean seven"),
        ("one!", "'one!' is no word"),
        ("Two", "'Two' is no word"),
    ],
)
def test_words_that_are_no_number_are_named(build, text, message):
    with pytest.raises(ValueError, match=message):
        build().translation.encode_source(text)


def test_it_is_refused_where_it_does_not_fit(build):
    with pytest.raises(ValueError, match="task.seq_len=13: numbers_en_fr takes 14 tokens"):
        build(**{"task.seq_len": 13})
