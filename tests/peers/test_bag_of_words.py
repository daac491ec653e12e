"""A bag of words and of pairs: what it can tell apart, what it cannot, and how large it is."""

import pytest

from transformer_jax.peers import bag_of_words
from transformer_jax.tasks.labelled import Texts


def texts(rule, first=0, count=120):
    """Sentences of film, a number of seven, and an order of two words; labelled by a rule."""
    found = []
    for n in range(first, first + count):
        order = ("not good", "good not")[n % 2]
        found.append((f"Film {n % 7} is {order}", rule(n)))
    return Texts(*map(list, zip(*found, strict=True)))


def test_a_pair_of_neighbours_tells_what_words_alone_cannot():
    fitted = bag_of_words.fit(texts(lambda n: str(n % 2)), texts(lambda n: str(n % 2), first=500))
    assert fitted.accuracy == 1.0
    # film, seven numbers, is, not, good; film and each number, each number and is, is not, is good, not good, good not
    assert fitted.parameters == 11 + 7 + 7 + 4 + 1


def test_what_no_word_says_is_not_learned_and_there_is_no_seed():
    asked = texts(lambda n: str(n // 2 % 2)), texts(lambda n: str(n // 2 % 2), first=1000)
    assert bag_of_words.fit(*asked) == bag_of_words.fit(*asked)
    assert 0.2 < bag_of_words.fit(*asked).accuracy < 0.8


def test_what_it_cannot_learn_from_is_said():
    other = texts(lambda n: str(n % 2))
    with pytest.raises(ValueError, match="at least 2 classes"):
        bag_of_words.fit(texts(lambda n: "1"), other)
    with pytest.raises(ValueError, match="max_df|min_df|no terms remain|empty vocabulary"):
        bag_of_words.fit(Texts([f"word{n}" for n in range(9)], [str(n % 2) for n in range(9)]), other)
